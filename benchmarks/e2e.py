"""A folder of JPEGs to Top-1, each as a user runs it: `make eval` beside timm's way of validation
in torch.

    python3 -m benchmarks.e2e --json build/benchmarks/e2e.json

Ours has its offline model already, as the peer has its checkpoint; both pay for their start,
reading, preprocessing, inference and score, and both must count the same Top-1. Images and weights
are the demo's, the images repeated as often as needed; the first run makes them and the offline
models in the models' build/e2e.
"""
import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import measure

ROOT = Path(__file__).resolve().parent.parent
OUT = "build/e2e"
# Model: images, batch of our offline model, batch of the peer, wanted ratio.
MODELS = {"spnasnet": (960, 8, 32, 4), "ShiftViT": (480, 8, 32, None), "Convmixer": (40, 8, 8, 1.5)}


def get_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS),
                        help="(default: all of them)")
    parser.add_argument("--images", type=int, help="images for each model (default: "
                        + ", ".join(f"{name} {m[0]}" for name, m in MODELS.items()) + ")")
    parser.add_argument("--engine", default="auto",
                        help="ours: openvino, onnxruntime or auto (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=os.cpu_count(),
                        help="the peer's processes; ours are as many threads as there are cores "
                             "(default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument("--json", metavar="FILE", help="write the figures there")
    return parser.parse_args(argv)


def call(command, cwd, **environment):
    """Run a command; its Top-1 count and number of images, from the last score that it prints."""
    done = subprocess.run(command, cwd=cwd, env={**os.environ, **environment},
                          capture_output=True, text=True)
    found = re.findall(r"good=(\d+) total=(\d+)", done.stdout)
    if done.returncode or not found:
        raise SystemExit(f"{' '.join(command)} in {cwd}: exit status {done.returncode}\n"
                         f"{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return tuple(map(int, found[-1]))


def repeat(source, target, count):
    """Fill target/val/<class>/ with `count` of the images in source/<class>/, over and over under
    new names."""
    paths = sorted(source.glob("*/*.JPEG"), key=lambda p: p.name)
    for i in range(count):
        path = paths[i % len(paths)]
        folder = target / "val" / path.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / f"{path.stem}_{i // len(paths)}.JPEG")


def forget(demo):
    """Delete all that `make eval` makes in the folder `demo`; the offline model stays."""
    for path in [demo / "result", *demo.glob("prep*"), *demo.glob("eval*")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def measured(name, args, temp):
    """{side: [seconds]} for one model, and (good, total)."""
    folder, (images, bs, peer_bs, _) = ROOT / name, MODELS[name]
    demo, images = folder / OUT / "demo", args.images or images
    make = ["make", "--no-print-directory", f"BS={bs}", f"ENGINE={args.engine}", f"OUT={OUT}",
            f"PYTHON={sys.executable}", "WEIGHTS=demo"]
    subprocess.run([*make, "om"], cwd=folder, check=True, stdout=sys.stderr)
    repeat(demo / "data/val", temp / name, images)
    weights, = demo.glob("*_demo.pth")
    peer = [sys.executable, "-m", "benchmarks.validate", "--data", str(temp / name), "--weights",
            str(weights), "--batch-size", str(peer_bs), "--workers", str(args.workers)]
    commands = {"ours": lambda: call([*make, "eval", f"DATA={temp / name}"], folder),
                "torch": lambda: call(peer, folder, PYTHONPATH=f"{folder}:{ROOT}")}
    counts = {}

    def turn(side):
        counts[side] = commands[side]()

    sides = {side: lambda side=side: turn(side) for side in commands}
    times = measure.interleave(sides, args.rounds, warm=0, before=lambda side: forget(demo))
    if counts["ours"] != counts["torch"] or counts["ours"][1] != images:
        raise SystemExit(f"{name}: not the same Top-1: {counts}")
    return times, counts["ours"]


def main():
    args = get_args()
    measure.outside_make()
    rows, targets = [], []
    for name in args.models:
        with tempfile.TemporaryDirectory() as temp:
            times, (good, total) = measured(name, args, Path(temp))
        ratio, wanted = measure.ratio(times, "torch", "ours"), MODELS[name][3]
        seconds = [f"{statistics.median(times[side]):.1f}" for side in ("torch", "ours")]
        rows.append([name, str(total), f"{good / total:.2%}", *seconds, measure.shown(ratio)])
        if wanted:
            targets.append((f"{name}: JPEG folder to Top-1, beside torch with timm's transforms",
                            ratio[0], wanted))
    head = ["model", "images", "Top-1, both (demo weights)", "torch, s", "ours, s", "ratio"]
    measure.finish(args, "JPEG folder to Top-1", head, rows, targets, [
        "Ours: `make eval` with its offline model there already. Peer: torch eager, timm's "
        f"transforms, a DataLoader of {args.workers} processes, as timm's validate.py. Both from "
        "the start of their process to the printed score."])


if __name__ == "__main__":
    main()
