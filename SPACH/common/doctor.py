"""Versions of everything that matters here, what is missing, and the command that fixes it.

    python3 -m common.doctor        (needs Python alone; run in a model folder or the repository)
"""
from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import re
import shutil
import sys
from pathlib import Path

from common import cli
from common.ascend import chip, errors, toolkit
from common.speed.bench import cpu_name

SECONDS = 10  # a broken driver leaves npu-smi hanging
UNFINISHED = {".part", ".lock", ".json", ".md5", ".sha256", ".txt"}


def get_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="ascend" if toolkit.loaded() else "a CPU engine",
                        help="what make would use (default: by the environment)")
    return parser.parse_args(argv)


def version_of(*command):
    """First line of what a command prints; None when it is not there or fails."""
    out, _ = toolkit.call(list(command), SECONDS) if shutil.which(command[0]) else (None, None)
    return (out or "").strip().split("\n")[0] or None


class Report:
    """Prints a line for each thing looked at; `problems` counts those that need fixing."""

    def __init__(self):
        self.problems = 0

    def say(self, good, what, found, todo=""):
        """good: True, False (a problem), or None (absent, which may be right)."""
        self.problems += good is False
        mark = {True: "✓", False: "✗", None: "·"}[good]
        rest = f" — {todo}" if todo and not good else ""
        print(f" {mark} {what:24} {found or 'not found'}{rest}")


def host(report):
    """System, processor, Python, make, git, disk."""
    print("Host")
    report.say(True, "system", f"{platform.platform()}, {platform.machine()}")
    report.say(True, "processor", f"{cpu_name()}, {cli.cores()} cores")
    wanted = (3, 8) if toolkit.loaded() else (3, 11)
    report.say(sys.version_info >= wanted, "python",
               f"{platform.python_version()} ({sys.executable})",
               f"install Python {wanted[0]}.{wanted[1]} or newer")
    make, git = version_of("make", "--version"), version_of("git", "--version")
    numbers = re.search(r"GNU Make (\d+)\.(\d+)", make or "")
    new = bool(numbers) and tuple(map(int, numbers.groups())) >= (4, 2)
    report.say(new, "make", make, "install GNU Make 4.2 or newer (macOS: it is called gmake)")
    report.say(bool(git), "git", git, "install git (only make source needs it)")
    free = shutil.disk_usage(".").free / 1e9
    report.say(free > 10, "disk", f"{free:.0f} GB free here",
               "the environment takes 6 GB, ImageNet's bins 30 GB")


def packages(report):
    """The pinned packages; one problem at most, because one command installs them all."""
    print("Packages")
    files = [path for path in (Path("requirements.txt"), Path("../requirements.txt"))
             if path.exists()]
    lines = files[0].read_text().splitlines() if files else []
    pinned = dict(line.split(";")[0].strip().split("==") for line in lines if "==" in line)
    missing = []
    for name, wanted in pinned.items():
        try:
            found = importlib.metadata.version(name)
            other = "" if found == wanted else f" (pinned: {wanted})"
            report.say(True, name, found + other)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        absent = f"{len(missing)} of {len(pinned)} not installed"
        # An NPU host needs few of them, and may bring them itself.
        report.say(None if toolkit.loaded() else False, "packages",
                   f"{absent}: {cli.some(missing)}", "make setup")


def ascend(report):
    """CANN, atc, the chip, ais_bench: problems where CANN is there or loaded, else not needed."""
    print("Ascend (only on a host with an NPU)")
    there, folder = toolkit.installed(), toolkit.loaded()
    if not (there or folder or shutil.which("npu-smi")):
        report.say(None, "CANN", "", "not needed for the CPU engines")
        return
    if folder:
        report.say(True, "CANN", f"{toolkit.release(folder)} in {folder}")
    elif there:
        where = Path(there[0]).parent
        release = toolkit.release(where, where / "latest")
        report.say(False, "CANN", f"{release} in {where}, not loaded", f"source {there[0]}")
    else:
        report.say(None, "CANN", "", "install it, or use a CPU engine")
    atc = shutil.which("atc")
    if atc and "common/cpu" not in atc:
        _, problem = toolkit.call([atc, "--help"], SECONDS)
        report.say(not problem, "atc", problem or atc, errors.explain(problem or "", 1)[1])
    elif folder:
        report.say(None, "atc", "", "nnrt has none; .om files made elsewhere run: OM=")
    try:
        name, source = chip.find(seconds=SECONDS)
        report.say(True, "chip", f"{name} (from {source})")
    except cli.Failure as e:
        found, _, todo = str(e).partition(" — ")
        # A host that only compiles has neither; a driver that is there and fails is a problem.
        report.say(False if shutil.which("npu-smi") else None, "chip", found, todo)
    usable, what, todo = toolkit.ais_bench(SECONDS)
    report.say(usable or (False if folder else None), "ais_bench", what, todo)


def checkpoints(folder):
    """Files of `folder` that can be weights: neither empty nor a download's part, lock or hash."""
    files = [path for path in sorted(folder.glob("[!.]*")) if path.suffix not in UNFINISHED]
    return [path for path in files if path.is_file() and path.stat().st_size]


def weights(report):
    """The checkpoint of each model folder; without one, the demo's weights are used."""
    print("Inputs")
    for folder in [path.parent for path in sorted(Path().glob("*/published.json"))] or [Path()]:
        published = folder / "published.json"
        known = json.loads(published.read_text()) if published.exists() else {}
        official = known.get("weights", {}).get("file", "")
        files = sorted(checkpoints(folder / "weights"), key=lambda path: path.name != official)
        where = "" if folder == Path() else f"-C {folder} "
        report.say(True if files else None, f"{folder.resolve().name} weights",
                   files[0] if files else None,
                   f"make {where}weights; until then the demo's are used")


def main():
    args = get_args()
    report = Report()
    for part in (host, packages, ascend, weights):
        part(report)
    count = report.problems
    print(f"{count} thing{'' if count == 1 else 's'} to fix; engine: {args.engine}")
    sys.exit(1 if count else 0)


if __name__ == "__main__":
    cli.run(main)
