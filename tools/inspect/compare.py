"""Where torch and the offline model disagree, on the very bins that both get. Run from a model's folder (make compare):

    python3 -m tools.inspect.compare --weights w.pth --bins build/prep --result build/result/bs8_openvino --model build/m_bs8.blob \
        --onnx build/m.onnx --json build/compare.json [--layers]

torch computes with the checkpoint, the offline model is the one that lies in the build folder. Images whose Top-1 differs are
named with both answers; the differences of all logits are counted by size. --layers goes through the ONNX module by module, to
the first whose error jumps: that says whether the export or the offline model is to blame, and which layer.
"""
import argparse
import dataclasses
from pathlib import Path

import numpy as np

from common import cli
from common.data import dataset
from common.score import results
from common.speed import online, table
from tools.inspect import class_names, predict

NAMED = 20  # images whose answers are shown; the JSON has them all
LOOKED_AT = 2  # images that --layers computes: those with the largest differences


def get_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True, help="checkpoint")
    parser.add_argument("--net", choices=("bundled", "upstream"), default="bundled", help="whose network code")
    parser.add_argument("--bins", required=True, help="folder that the preprocessing step wrote")
    parser.add_argument("--result", required=True, help="folder that the inference tool wrote")
    parser.add_argument("--model", required=True, help="offline model that it ran; what its .json says is shown")
    parser.add_argument("--onnx", required=True, help="ONNX that the offline model was made from")
    parser.add_argument("--json", required=True, help="file for what is found")
    parser.add_argument("--layers", action="store_true", help="compare the ONNX with torch layer by layer")
    return parser.parse_args(argv)


def histogram(differences):
    """[(text of a range, count)] of absolute differences: exactly 0, then two ranges for each power of ten."""
    some = differences[differences > 0]
    rows = [("0", len(differences) - len(some))]
    if len(some):
        first, last = (int(np.floor(2 * np.log10(v))) for v in (some.min(), some.max()))
        counts = np.bincount(np.clip(np.floor(2 * np.log10(some)).astype(int), first, last) - first, minlength=last - first + 1)
        rows += [(f"{10 ** (k / 2):.0e} … {10 ** ((k + 1) / 2):.0e}", int(n)) for k, n in zip(range(first, last + 1), counts)]
    return rows


def origins(args, meta):
    """What makes a comparison of other things than it seems to: sentences about files that do not belong together."""
    made_from, said = meta.get("onnx", {}), []
    if Path(args.onnx).exists() and made_from and made_from.get("sha256") != cli.sha256(args.onnx):
        said.append(f"{args.model} was made from another ONNX than {args.onnx} is now: make om")
    exported = made_from.get("metadata", {}).get("weights_sha256")
    if exported and exported != cli.sha256(args.weights):
        said.append(f"{args.model} was exported from other weights ({made_from['metadata'].get('weights')}) than "
                    f"{args.weights}, which torch loads")
    return said


def disagreements(ours, theirs, manifest, names):
    """The images whose Top-1 differs, largest difference of a logit first: dicts of names, probabilities and labels."""
    def said(row):
        index, share = predict.top(row)[0]
        return {"class": index, "name": names[index], "share": share}

    gap = np.abs(ours - theirs).max(1)
    rows = [i for i in np.argsort(-gap, kind="stable") if ours[i].argmax() != theirs[i].argmax()]
    return [{"image": manifest.rows[i].image, "label": manifest.rows[i].label, "torch": said(ours[i]),
             "offline": said(theirs[i]), "difference": float(gap[i])} for i in rows]


def by_layer(args, module, manifest, chosen):
    """Print the table of layers for the rows `chosen` of the manifest. Returns what belongs into the JSON, the finding too."""
    from tools.inspect import layers

    images = {i: image for index, batch in online.batches(manifest, args.bins) for i, image in zip(index, batch) if i in chosen}
    found, model = layers.compare(module, args.onnx, [images[i] for i in chosen])
    at = layers.jump(found)
    shown = found if at is None else found[:at + 4]
    print(f"\nmodules of torch and the tensors of {args.onnx} that stand for them, "
          f"on {', '.join(manifest.rows[i].image for i in chosen)}:")
    table.table(["module", "max abs error", "relative", ""],
                [[x.module, f"{x.error:.1e}", f"{x.relative:.1e}", "first jump" if i == at else ""]
                 for i, x in enumerate(shown)])
    if len(shown) < len(found):
        print(f"… and {len(found) - len(shown)} modules behind, which inherit the error")
    content = {"layers": [dataclasses.asdict(x) for x in found], "first_jump": None if at is None else found[at].module}
    worst = max(x.relative for x in found)
    if at is not None:
        operators, weights = layers.between(model, found, at)
        content.update(operators=operators, weights=weights)
        before = f"{found[at - 1].relative:.1e} before it" if at else "it is the first"
        print(f"between it and what still agrees the ONNX has {dataset.some(operators, 8)}"
              + (f", with the weights {dataset.some(weights, 8)}" if weights else ""))
        finding = f"the first layer whose error jumps: {found[at].module} ({found[at].relative:.1e}, {before})"
    elif worst <= layers.TOLERANCE:
        finding = f"no layer of the ONNX differs from torch (largest relative error {worst:.1e}); what differs in the logits " \
                  "comes from the offline model itself"
    else:
        finding = f"the error of the ONNX grows to {worst:.1e} without a jump"
    return {**content, "finding": finding}


def main():
    args = get_args()
    import torch  # after the arguments: it takes seconds

    manifest = dataset.Manifest.load(args.bins)
    manifest.check_bins(args.bins)
    sidecar = Path(f"{args.model}.json")
    meta = cli.read_json(sidecar, "make om") if sidecar.exists() else {}
    got = results.read(args.result, manifest)
    if got.missing or got.broken:
        raise cli.Failure(f"no result for {dataset.some([*got.missing, *got.broken])}", "make infer again")
    module, is_demo = online.network(args.weights, args.net)
    ours, theirs = online.answers(module, manifest, args.bins)[0], got.logits
    differences, scale = np.abs(ours - theirs), max(float(np.abs(ours).max()), 1e-30)
    differ = disagreements(ours, theirs, manifest, class_names.load(is_demo))

    what = f"{meta.get('engine', 'offline model')} {meta.get('engine_version', '')} {meta.get('precision', '')}".strip()
    print(f"torch {torch.__version__} f32 with {args.weights} against {what}, {args.model}"
          + (", demo weights" if is_demo else ""))
    notes = origins(args, meta)
    for line in notes:
        print(f"note: {line}")
    if differ:
        print(f"\n{len(differ)} images with another Top-1:")
        table.table(["image", "label", "torch", "", "offline", "", "largest difference"], [
            [d["image"], str(d["label"]), *(v for side in ("torch", "offline") for v in (
                d[side]["name"][:32], f"{100 * d[side]['share']:.1f}%")), f"{d['difference']:.1e}"] for d in differ[:NAMED]])
        if len(differ) > NAMED:
            print(f"… and {len(differ) - NAMED} more, in {args.json}")
    print(f"\nabsolute differences of {differences.size} logits (the largest logit is {scale:.1f}):")
    rows = histogram(differences.ravel())
    most = max(n for _, n in rows)
    for text, count in rows:
        bar = "█" * round(40 * count / most) or ("▏" if count else "")
        print(f"  {text:>15}  {100 * count / differences.size:6.2f}%  {bar}")

    content = {}
    if args.layers:
        chosen = [int(i) for i in np.argsort(-differences.max(1), kind="stable")[:LOOKED_AT]]
        content = by_layer(args, module, manifest, chosen)
    cli.write_json(args.json, {
        "images": len(ours), "same_top1": len(ours) - len(differ), "largest_difference": float(differences.max()),
        "mean_difference": float(differences.mean()), "largest_logit": scale, "histogram": rows, "disagree": differ,
        "notes": notes, "demo": is_demo, "weights": args.weights, "model": meta, **content})
    print(f"\nwrote {args.json}" + ("" if args.layers else "; LAYERS=1 goes through the layers"))
    print(f"same Top-1 for {len(ours) - len(differ)} of {len(ours)} images, largest difference of a logit "
          f"{differences.max():.1e} ({differences.max() / scale:.1e} of the largest logit)")
    if args.layers:
        print(content["finding"])


if __name__ == "__main__":
    cli.run(main)
