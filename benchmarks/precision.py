"""bf16 and int8 against f32 on this CPU: speed, and what they cost on the demo images.

    python3 -m benchmarks.precision                          five models, batch 8; int8 for all, its target is ShiftViT's
    python3 -m benchmarks.precision --models ShiftViT

Accuracy is what `make eval PRECISION=…` finds and judges. The demo's weights are generated: how much a real checkpoint loses,
only its own evaluation tells.
"""
import argparse
import functools
import json
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import measure

ROOT = Path(__file__).resolve().parent.parent
MODELS = ("spnasnet", "ShiftViT", "SPACH", "Twins-SVT-L", "Convmixer")


def get_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=64, help="demo images of the accuracy (default: %(default)s)")
    parser.add_argument("--json", help="file for the result")
    return parser.parse_args(argv)


def evaluate(folder, precision, args):
    """Run `make eval` as a user would; return (path of the offline model, content of the result's JSON, what it said) or
    None and the line that says why it cannot be had. A refused precision has no JSON, its figures are in what it said."""
    done = subprocess.run(["make", "--no-print-directory", "-C", str(ROOT / folder), "eval", f"BS={args.batch}", "WEIGHTS=demo",
                           "DATA=demo", f"LIMIT={args.images}", "OUT=build/precision", f"PYTHON={sys.executable}",
                           "ENGINE=openvino", f"PRECISION={precision}"], capture_output=True, text=True)
    build = ROOT / folder / "build/precision/demo"
    lower = "" if precision == "f32" else f"_{precision}"
    result = build / f"eval_bs{args.batch}_openvino{lower}.json"
    refused = next((line for line in done.stderr.splitlines() if line.startswith("error: ")), "error: make eval failed")
    offline = next((p for p in build.glob(f"*[_s]{args.batch}{lower}.blob")), None)
    return offline, json.loads(result.read_text()) if done.returncode == 0 else None, refused


def repeat(model, x, runs):
    for _ in range(runs):
        model.run([x])


def main():
    args = get_args()
    measure.outside_make()
    import numpy as np

    from common.cpu import engine

    rows, targets = [], []
    x = np.random.default_rng(0).standard_normal((args.batch, 3, 224, 224), dtype=np.float32)
    for folder in args.models:
        found = {p: evaluate(folder, p, args) for p in ("f32", "bf16", "int8")}
        models = {p: engine.load(offline) for p, (offline, _, _) in found.items() if offline}
        start = time.perf_counter()
        models["f32"].run([x])
        runs = max(1, round(0.5 / (time.perf_counter() - start)))
        times = measure.interleave({p: functools.partial(repeat, m, x, runs) for p, m in models.items()}, args.rounds)
        for precision, (offline, result, why) in found.items():
            if not offline:
                rows.append([folder, precision, "-", "-", "-", "-", why.removeprefix("error: ")[:90]])
                continue
            fps = args.batch * runs / sorted(times[precision])[len(times[precision]) // 2]
            ratio = measure.ratio(times, "f32", precision)
            against = result and result.get("against_f32")
            same = f"{100 * against['same'] / against['images']:.1f} %" if against else "-"
            verdict = against["verdict"] if against else why.removeprefix("error: ")[:90]
            rows.append([folder, precision, f"{fps:.2f}", "-" if precision == "f32" else measure.shown(ratio),
                         f"{result['top1']:.2f} %" if result else "refused", same,
                         "reference" if precision == "f32" else verdict])
            if precision == "bf16":
                targets.append((f"{folder}: bf16 over f32", ratio[0], 1.6))
            elif precision == "int8" and folder == "ShiftViT":
                targets.append((f"{folder}: int8 over f32", ratio[0], 2.8))
    head = ["model", "precision", "images/s", "over f32", "Top-1 (demo)", "same Top-1 as f32", "verdict"]
    measure.finish(args, f"bf16 and int8, OpenVINO, batch {args.batch}", head, rows, targets,
                   [f"Accuracy on {args.images} generated images with generated weights: it shows that the chain computes the "
                    "same thing, not what a real checkpoint loses."])


if __name__ == "__main__":
    main()
