"""How long a command takes to say anything: make with nothing to do, and --help of every script.

    python3 -m benchmarks.startup --json build/benchmarks/startup.json

Each figure is the median of several runs with a warm disk cache; the target is 0.3 s over that.
`make om` is brought up to date first, with the demo's weights.
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
SHOWN = 5  # slowest --help
BUILT = ["make", "-C", "ShiftViT", "om", "WEIGHTS=demo"]
MAKE = {"make": ["make"], "make -C ShiftViT": ["make", "-C", "ShiftViT"],
        "make -C ShiftViT om, up to date": BUILT}
IMPORTS = ("pass", "import numpy", "from common.data import preprocess",
           "from common.score import metrics")


def get_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5,
                        help="runs of each command (default: %(default)s)")
    parser.add_argument("--json", metavar="FILE", help="write the figures there")
    return parser.parse_args(argv)


def helps():
    """{name: (command, folder)}: --help of every script, called as people call it."""
    commands = {}
    rooms = [*ROOT.glob("common/*/*.py"), *ROOT.glob("tools/*/*.py"), *ROOT.glob("benchmarks/*.py")]
    for path in [*rooms, *ROOT.glob("*/*.py")]:
        text, name = path.read_text(encoding="utf-8"), path.relative_to(ROOT)
        if "ArgumentParser(" not in text or 'if __name__ == "__main__"' not in text:
            continue
        module = ".".join(name.with_suffix("").parts)
        as_module = [sys.executable, "-m", module, "--help"], ROOT
        as_file = [sys.executable, path.name, "--help"], path.parent
        commands[f"{name} --help"] = as_module if f"-m {module}" in text else as_file
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
    took = {name: seconds(words, ROOT, args.rounds) for name, words in MAKE.items()}
    scripts = {name: seconds(*command, args.rounds) for name, command in helps().items()}
    slowest = sorted(scripts, key=scripts.get, reverse=True)[:SHOWN]
    took.update((name, scripts[name]) for name in slowest)
    targets = [(f"{name}: {LIMIT} s over its time", LIMIT / took[name], 1)
               for name in [*MAKE, slowest[0]]]
    for code in IMPORTS:
        command = [sys.executable, "-c", code]
        took[f"python3 -c '{code}'"] = seconds(command, ROOT, args.rounds)
    measure.finish(args, "Start-up", ["command", "seconds"],
                   [[name, f"{t:.2f}"] for name, t in took.items()], targets,
                   [f"Of {len(scripts)} scripts the {SHOWN} with the slowest --help are shown."])


if __name__ == "__main__":
    main()
