"""bf16 and int8 beside f32 on this CPU: speed, and what they cost on the demo images.

    python3 -m benchmarks.precision                          five models, batch 8
    python3 -m benchmarks.precision --models ShiftViT

Accuracy is what `make eval PRECISION=…` finds and judges. The demo's weights are generated: how
much a real checkpoint loses, only its own evaluation tells.
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
PRECISIONS = ("f32", "bf16", "int8")
OUT = "build/precision"
TURN = 0.5  # seconds that a turn lasts at least


def get_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=64,
                        help="demo images of the accuracy (default: %(default)s)")
    parser.add_argument("--json", help="file for the result")
    return parser.parse_args(argv)


def evaluate(folder, precision, args):
    """Run `make eval` as a user would: (path of the offline model or None, content of the
    result's JSON or None, the line that says why there is none)."""
    done = subprocess.run(
        ["make", "--no-print-directory", "-C", str(ROOT / folder), "eval", f"BS={args.batch}",
         "WEIGHTS=demo", f"LIMIT={args.images}", f"OUT={OUT}", f"PYTHON={sys.executable}",
         "ENGINE=openvino", f"PRECISION={precision}"], capture_output=True, text=True)
    build, lower = ROOT / folder / OUT / "demo", "" if precision == "f32" else f"_{precision}"
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    why = lines[0].removeprefix("error: ")[:90] if lines else "make eval failed"
    offline = next(build.glob(f"*[_s]{args.batch}{lower}.blob"), None)
    if done.returncode:
        return offline, None, why
    result = build / f"eval_bs{args.batch}_openvino{lower}.json"
    return offline, json.loads(result.read_text(encoding="utf-8")), why


def repeat(model, x, runs):
    """Run `model` so many times."""
    for _ in range(runs):
        model.run([x])


def timed(models, args):
    """({precision: [seconds of a turn]}, runs per turn) of {precision: Model}."""
    import numpy as np

    shape = (args.batch, 3, 224, 224)
    x = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    models["f32"].run([x])
    start = time.perf_counter()
    models["f32"].run([x])
    runs = max(1, round(TURN / (time.perf_counter() - start)))
    sides = {p: functools.partial(repeat, m, x, runs) for p, m in models.items()}
    return measure.interleave(sides, args.rounds), runs


def rows_of(folder, found, times, images):
    """A row per precision of one model; `images` are those of a turn."""
    for precision, (offline, result, why) in found.items():
        if not offline:
            yield [folder, precision, "-", "-", "-", "-", why]
            continue
        beside = "-"
        if precision != "f32":
            beside = measure.shown(measure.ratio(times, "f32", precision))
        against = (result or {}).get("against_f32")
        same = f"{100 * against['same'] / against['images']:.1f} %" if against else "-"
        verdict = (against["verdict"] or "none, few images") if against else why
        verdict = "reference" if precision == "f32" else verdict
        yield [folder, precision, f"{measure.per_second(times[precision], images):.2f}", beside,
               f"{result['top1']:.2f} %" if result else "refused", same, verdict]


def main():
    args = get_args()
    measure.outside_make()
    from common.cpu import engine

    rows, targets = [], []
    for folder in args.models:
        found = {p: evaluate(folder, p, args) for p in PRECISIONS}
        models = {p: engine.load(offline) for p, (offline, _, _) in found.items() if offline}
        times, runs = timed(models, args)
        rows += rows_of(folder, found, times, args.batch * runs)
        for precision, wanted in (("bf16", 1.6), ("int8", 2.8)):
            if precision in times and (precision == "bf16" or folder == "ShiftViT"):
                ratio = measure.ratio(times, "f32", precision)
                targets.append((f"{folder}: f32's time over {precision}'s", ratio[0], wanted))
    head = ["model", "precision", "images/s", "over f32", "Top-1 (demo)", "same Top-1 as f32",
            "verdict"]
    measure.finish(args, f"bf16 and int8, OpenVINO, batch {args.batch}", head, rows, targets, [
        f"Accuracy on {args.images} generated images with generated weights: it shows that the "
        "chain computes the same thing, not what a real checkpoint loses."])


if __name__ == "__main__":
    main()
