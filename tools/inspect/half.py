"""What float16 on an NPU may cost, layer by layer: an estimate, on any CPU. Run from a model's
folder (make half):

    python3 -m tools.inspect.half --onnx build/m.onnx --bins build/prep --json build/half.json

A few images go through the ONNX twice, in float32 and rounded to float16 as common/cpu/half.py
does it. For each module of the torch network: its largest |x|, which float16 holds up to 65504, and
its error, the Euclidean distance to float32 relative to float32's length. Those that do not fit and
the worst ten are named, with what to tell atc. Where there are GroupNorms, they are also computed
as a kernel might that fuses them.
"""
import argparse
from pathlib import Path

from common import cli
from common.data import manifest as manifests
from common.score import against_onnx
from common.speed.table import table

IMAGES = 4  # spread over the set
WORST = 10  # modules that are shown


def get_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--onnx", required=True, help="the ONNX that atc gets")
    parser.add_argument("--bins", required=True, help="folder that the preprocessing step wrote")
    parser.add_argument("--json", required=True, help="file for all that is found")
    return parser.parse_args(argv)


def show(modules):
    """Print the modules that do not fit, and the worst ten."""
    over = [m for m in modules if m["over"]]
    worst = sorted(modules, key=lambda m: -m["error"])[:WORST]
    shown = [m for m in modules if m in over or m in worst]
    print(f"\nmodules of torch that do not fit ({len(over)}), and the worst {len(worst)} of "
          f"{len(modules)}, in the order of computation:")
    table(["module", "largest |x|", "error", ""], [
        [m["module"] or "(the network itself)", f"{m['peak']:.4g}", f"{m['error']:.1e}",
         " ".join(filter(None, ["over 65504" if m in over else "", "jumps" if m["jump"] else ""]))]
        for m in shown])


def main():
    args = get_args()
    import numpy as np  # --help does without them

    from common.cpu import graph, half
    from common.model import facts
    from tools.inspect import half_layers as layers

    model = graph.read(args.onnx)
    demo = bool(facts.read(model).get("demo"))
    weights = " with demo weights" if demo else ""
    manifest = manifests.Manifest.load(args.bins)
    manifest.check_bins(args.bins)
    chosen = np.unique(np.linspace(0, len(manifest.rows) - 1, IMAGES).astype(int))
    images = np.stack([against_onnx.read_bin(args.bins, manifest.rows[i], manifest.info)
                       for i in chosen]).astype(np.float32)
    print(f"{half.ESTIMATE}; {args.onnx}{weights} on {len(images)} images")
    rows = layers.measure(model, images)
    modules = layers.by_module(rows)
    said = layers.advice(rows, modules)
    show(modules)
    wanted = layers.logits(model, images)
    forms = layers.norm_forms(model, images, wanted)
    if forms:
        print("\nGroupNorms in float16, if a kernel computes them so:")
        table(["how", "error of the logits", "same Top-1"],
              [[layers.FORMS[form], f"{found['error']:.1e}", f"{found['same']} of {len(images)}"]
               for form, found in forms.items()])
    for line in said:
        print(f"to do: {line}")
    over = [m["module"] for m in modules if m["over"]]
    cli.write_json(args.json, {
        "estimate": half.ESTIMATE, "demo": demo,
        "onnx": {"file": Path(args.onnx).name, "sha256": cli.sha256(args.onnx)},
        "images": [manifest.rows[i].image for i in chosen], "modules": modules, "tensors": rows,
        "norms": forms, "over": over, "advice": said})
    last, most = rows[-1], max(rows, key=lambda row: row["peak"])
    print(f"\nwrote {args.json}")
    fits = (f"{len(over)} modules do not fit: {cli.some(over)}" if over
            else f"all values fit, the largest |x| is {most['peak']:.4g} ({most['name']})")
    print(f"an estimate{weights}: float16 changes {last['tensor']} by {last['error']:.1e} of its "
          f"length; {fits}")


if __name__ == "__main__":
    cli.run(main)
