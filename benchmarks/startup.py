"""How long a command takes to say anything: make with nothing to do, make help, and --help of every script.

    python3 -m benchmarks.startup --json build/benchmarks/startup.json

Each figure is the median of several runs with a warm disk cache, and 0.3 s over that for the target. `make om` is brought up
to date first, with the demo's weights.
"""
import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import measure

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 0.3  # seconds
BUILT = ["make", "-C", "ShiftViT", "om", "WEIGHTS=demo"]
MAKE = {"make": ["make"], "make help": ["make", "help"], "make -C ShiftViT": ["make", "-C", "ShiftViT"],
        "make -C ShiftViT om, up to date": BUILT}
IMPORTS = ["pass", "import numpy", "from common.data import preprocess", "from common.score import metrics"]


def get_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="runs of each command (default: %(default)s)")
    parser.add_argument("--json", metavar="FILE", help="write the figures there")
    return parser.parse_args(argv)


def helps():
    """{name: (command, folder)}: --help of every script, called as people call it."""
    commands = {}
    for path in [*ROOT.glob("*/*.py"), *ROOT.glob("common/cpu/*.py")]:
        text, name = path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix()
        if path.parent.name == "tests" or "ArgumentParser(" not in text or 'if __name__ == "__main__"' not in text:
            continue
        if path.parent.name == "common" or f"-m {path.parent.name}.{path.stem}" in text:
            commands[f"{name} --help"] = ([sys.executable, "-m", f"{path.parent.name}.{path.stem}", "--help"], ROOT)
        else:
            commands[f"{name} --help"] = ([sys.executable, str(path), "--help"], path.parent)
    return dict(sorted(commands.items()))


def seconds(command, folder, rounds):
    """Median wall clock of `rounds` runs after one that is not counted."""
    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, check=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def main():
    args = get_args()
    measure.outside_make()
    subprocess.run(BUILT, cwd=ROOT, check=True)
    commands = {**{name: (words, ROOT) for name, words in MAKE.items()}, **helps()}
    took = {name: seconds(*command, args.rounds) for name, command in commands.items()}
    imports = {f"python3 -c '{code}'": seconds([sys.executable, "-c", code], ROOT, args.rounds) for code in IMPORTS}
    slowest = max((name for name in took if name not in MAKE), key=took.get)
    targets = [(f"{name}: {LIMIT} s over its time", LIMIT / took[name], 1) for name in [*MAKE, slowest]]
    measure.finish(args, "Start-up", ["command", "seconds"], [[n, f"{t:.2f}"] for n, t in {**took, **imports}.items()], targets,
                   [f"The slowest --help is that of {slowest.split()[0]}."])


if __name__ == "__main__":
    main()
