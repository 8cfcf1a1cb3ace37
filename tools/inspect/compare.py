"""Where torch and the offline model differ, on the very bins that both get. Run from a model's
folder (make compare):

    python3 -m tools.inspect.compare --weights w.pth --bins build/prep --model build/m_bs8.blob \
        --result build/result/bs8_openvino --onnx build/m.onnx --json build/compare.json [--layers]

Images whose Top-1 differs are named with both answers; the differences of all logits are
counted by size. --layers goes through the ONNX and the offline model module by module: that says
which of them is to blame, and for which layer (see by_layer.py).
"""
import argparse
from pathlib import Path

import numpy as np

from common import cli, provenance, published
from common.data import manifest as manifests
from common.score import origin, results
from common.speed import online
from common.speed.table import table
from tools.inspect import class_names, predict

NAMED = 20  # images whose answers are shown; the JSON has them all
LOOKED_AT = 2  # images that --layers computes: those with the largest differences


def get_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True, help="checkpoint that torch computes with")
    parser.add_argument("--net", choices=("bundled", "upstream"), default="bundled",
                        help="whose network code")
    parser.add_argument("--bins", required=True, help="folder that the preprocessing step wrote")
    parser.add_argument("--result", required=True, help="folder that the inference tool wrote")
    parser.add_argument("--model", required=True, help="offline model that it ran")
    parser.add_argument("--onnx", required=True, help="ONNX that this was made from")
    parser.add_argument("--json", required=True, help="file for all that is found")
    parser.add_argument("--layers", action="store_true",
                        help="compare the ONNX and the offline model with torch layer by layer")
    parser.add_argument("--device", default="0",
                        help="NPU that --layers uses (default: %(default)s)")
    return parser.parse_args(argv)


def histogram(differences):
    """[(text of a range, count)] of absolute differences: exactly 0, then two ranges for each
    power of ten."""
    some = differences[differences > 0]
    rows = [("0", len(differences) - len(some))]
    if not len(some):
        return rows
    halves = np.floor(2 * np.log10(some)).astype(int)
    for half in range(halves.min(), halves.max() + 1):
        text = f"{10 ** (half / 2):.0e} … {10 ** ((half + 1) / 2):.0e}"
        rows.append((text, int((halves == half).sum())))
    return rows


def origins(weights, onnx, model):
    """Sentences about these three files where one was not made from the other, so that a
    difference means something else than it seems to."""
    facts, said = provenance.read(model) or {}, []
    there = Path(onnx).exists()
    made_from = facts.get("onnx") or {}
    if made_from and there and made_from.get("sha256") != cli.sha256(onnx):
        said.append(f"{model} was made from another ONNX than {onnx} is now: make om")
    exported = (provenance.read(onnx) if there else None) or made_from
    if exported.get("weights_sha256") not in (None, cli.sha256(weights)):
        said.append(f"{onnx} was exported from other weights ({exported.get('weights')}) than "
                    f"{weights}, which torch loads: make onnx")
    if not facts:
        said.append(f"{model} has no record, so it is not known which ONNX it was made from")
    return said


def results_of(folder, model, bins):
    """Notes on where the results in `folder` come from; Failure when they are of another offline
    model or of other bins."""
    came = origin.of(folder, bins)
    if came.model_path and came.chain[str(came.model_path)] != cli.sha256(model):
        raise cli.Failure(f"{folder} holds results of another model than {model} (of "
                          f"{came.model_path})", "make infer, or give that model")
    return came.notes


def answer(logits, names):
    """The Top-1 of one image as {"class", "name", "share"}."""
    index, share = predict.top(logits)[0]
    return {"class": index, "name": names[index], "share": share}


def disagreements(ours, theirs, manifest, names):
    """The images whose Top-1 differs, that with the largest difference of a logit first."""
    gap = np.abs(ours - theirs).max(1)
    found = []
    for i in np.argsort(-gap, kind="stable"):
        if ours[i].argmax() != theirs[i].argmax():
            row = manifest.rows[i]
            found.append({"image": row.image, "label": row.label, "difference": float(gap[i]),
                          "torch": answer(ours[i], names), "offline": answer(theirs[i], names)})
    return found


def show_images(differ, file):
    """Print the first of disagreements()."""
    rows = []
    for d in differ[:NAMED]:
        sides = [d["torch"], d["offline"]]
        cells = [text for s in sides for text in (s["name"][:32], f"{100 * s['share']:.1f}%")]
        rows.append([d["image"], str(d["label"]), *cells, f"{d['difference']:.1e}"])
    print(f"\n{len(differ)} images with another Top-1:")
    table(["image", "label", "torch", "", "offline", "", "largest difference"], rows)
    if len(differ) > NAMED:
        print(f"… and {len(differ) - NAMED} more, in {file}")


def show_histogram(rows, scale):
    """Print what histogram() gave, as bars."""
    total, most = sum(count for _, count in rows), max(count for _, count in rows)
    print(f"\nabsolute differences of {total} logits (the largest logit is {scale:.1f}):")
    for text, count in rows:
        bar = "█" * round(40 * count / most) or ("▏" if count else "")
        print(f"  {text:>15}  {100 * count / total:6.2f}%  {bar}")


def main():
    args = get_args()
    import torch  # after the arguments: it takes seconds

    from common.model import checkpoint

    manifest = manifests.Manifest.load(args.bins)
    manifest.check_bins(args.bins)
    about_results = results_of(args.result, args.model, args.bins)
    classes = published.load().classes
    got = results.read(args.result, manifest, classes)
    if got.missing or got.broken:
        raise cli.Failure(f"no result for {cli.some([*got.missing, *got.broken])}", "make infer")
    exported = provenance.read(args.onnx) or {}
    raw = exported.get("weights_key") in checkpoint.RAW
    module, known, _ = online.network(args.weights, args.net, ema=not raw)
    is_demo = known["demo"]
    ours, theirs = online.answers(module, manifest, args.bins)[0], got.logits
    differences, scale = np.abs(ours - theirs), max(float(np.abs(ours).max()), 1e-30)
    differ = disagreements(ours, theirs, manifest, class_names.load(is_demo, classes))
    notes = [*origins(args.weights, args.onnx, args.model), *about_results]
    rows = histogram(differences.ravel())

    facts = provenance.read(args.model) or {}
    engine = (facts.get("engine", "offline model"), facts.get("engine_version"),
              facts.get("precision"))
    print(f"torch {torch.__version__} f32 with {args.weights} beside "
          f"{' '.join(filter(None, engine))}, {args.model}{', demo weights' if is_demo else ''}")
    for line in notes:
        print(f"note: {line}")
    if differ:
        show_images(differ, args.json)
    show_histogram(rows, scale)
    content = {}
    if args.layers:
        from tools.inspect import by_layer

        largest = np.argsort(-differences.max(1), kind="stable")[:LOOKED_AT]
        content = by_layer.look(args, module, manifest, sorted(largest.tolist()), theirs)
    same, most = len(ours) - len(differ), float(differences.max())
    cli.write_json(args.json, {
        "images": len(ours), "same_top1": same, "largest_difference": most,
        "mean_difference": float(differences.mean()), "largest_logit": scale,
        "histogram": rows, "disagree": differ, "notes": notes, "demo": is_demo,
        "weights": args.weights, "model": facts, **content})
    print(f"\nwrote {args.json}" + ("" if args.layers else "; LAYERS=1 goes through the layers"))
    print(f"same Top-1 for {same} of {len(ours)} images, largest difference of a logit "
          f"{most:.1e} ({most / scale:.1e} of the largest logit)")
    if args.layers:
        print(content["finding"])


if __name__ == "__main__":
    cli.run(main)
