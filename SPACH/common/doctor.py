"""Versions of everything that matters here, what is missing, and the command that fixes it.

    python3 -m common.doctor        (needs Python alone; run in a model folder or the repository)
"""
from __future__ import annotations

import argparse
import importlib.metadata
import platform
import shutil
import sys
from pathlib import Path

from common import cli, published
from common.ascend import chip, errors, toolkit
from common.speed.measure import cpu_name

SECONDS = 10  # a broken driver leaves npu-smi hanging
problems = []


def get_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="ascend" if toolkit.loaded() else "a CPU engine",
                        help="what make would use (default: by the environment)")
    return parser.parse_args(argv)


def say(good, what, found, todo=""):
    """Print a line; `good`: True, False (a problem), or None (absent, which may be right)."""
    if good is False:
        problems.append(what)
    mark = {True: "✓", False: "✗", None: "·"}[good]
    print(f" {mark} {what:24} {found or 'not found'}{f' — {todo}' if todo and not good else ''}")


def version_of(*command):
    """First line of what a command prints; None when it is not there or fails."""
    out, _ = toolkit.call(list(command), SECONDS)
    return (out or "").strip().partition("\n")[0] or None


def host():
    """System, processor, Python, make, git, disk."""
    print("Host")
    say(True, "system", f"{platform.platform()}, {platform.machine()}")
    say(True, "processor", f"{cpu_name()}, {cli.cores()} cores")
    wanted = (3, 8) if toolkit.loaded() else (3, 11)
    say(sys.version_info >= wanted, "python", f"{platform.python_version()} ({sys.executable})",
        f"install Python 3.{wanted[1]} or newer")
    make, git = version_of("make", "--version"), version_of("git", "--version")
    say(bool(make), "make", make, "install GNU Make 4.2 or newer")  # an older one says so itself
    say(bool(git), "git", git, "install git (only make source needs it)")
    free = shutil.disk_usage(".").free / 1e9  # little of it may be enough: the demo takes 0.1 GB
    say(True if free > 40 else None if free > 1 else False, "disk", f"{free:.0f} GB free here",
        "the environment takes 6 GB, ImageNet's bins 30 GB")


def packages():
    """The pinned packages; one problem at most, because one command installs them all."""
    print("Packages")
    files = [path for path in map(Path, ("requirements.txt", "../requirements.txt"))
             if path.exists()]
    lines = files[0].read_text().splitlines() if files else []
    pinned = dict(line.split(";")[0].strip().split("==") for line in lines if "==" in line)
    missing = []
    for name, wanted in pinned.items():
        try:
            found = importlib.metadata.version(name)
            say(True, name, found if found == wanted else f"{found} (pinned: {wanted})")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:  # an NPU host needs few of them, and may bring them itself
        say(None if toolkit.loaded() else False, "packages",
            f"{len(missing)} of {len(pinned)} not installed: {cli.some(missing)}", "make setup")


def ascend():
    """CANN, atc, the chip, ais_bench: problems where CANN is there or loaded, else not needed."""
    print("Ascend (only on a host with an NPU)")
    there, folder, npu_smi = toolkit.installed(), toolkit.loaded(), shutil.which("npu-smi")
    if not (there or folder or npu_smi):
        return say(None, "CANN", "", "not needed for the CPU engines")
    if folder:
        say(True, "CANN", f"{toolkit.release(folder)} in {folder}")
    elif there:
        where = Path(there[0]).parent
        release = toolkit.release(where, where / "latest")
        say(False, "CANN", f"{release} in {where}, not loaded", f"source {there[0]}")
    else:
        say(None, "CANN", "", "install it, or use a CPU engine")
    atc = shutil.which("atc")
    if atc and "common/cpu" not in atc:
        _, problem = toolkit.call([atc, "--help"], SECONDS)
        say(not problem, "atc", problem or atc, errors.explain(problem or "", 1)[1])
    elif folder:
        say(None, "atc", "", "nnrt has none; .om files made elsewhere run: OM=")
    try:
        name, source = chip.find(seconds=SECONDS)
        say(True, "chip", f"{name} (from {source})")
    except cli.Failure as e:
        found, _, todo = str(e).partition(" — ")
        # A host that only compiles has neither; a driver that is there and fails is a problem.
        say(False if npu_smi else None, "chip", found, todo)
    usable, what, todo = toolkit.ais_bench(SECONDS)
    say(usable or (False if folder else None), "ais_bench", what, todo)


def weights():
    """The checkpoint of each model folder that make takes; without it, the demo's are used."""
    print("Inputs")
    for folder in [path.parent for path in sorted(Path().glob("*/published.json"))] or [Path()]:
        file = (published.load(folder).get("weights") or {}).get("file", "")
        path = folder / "weights" / file
        where = "" if folder == Path() else f"-C {folder} "
        say(path.is_file() or None, f"{folder.resolve().name} weights",
            path if path.is_file() else "", f"make {where}weights; until then the demo's are used")


def main():
    args = get_args()
    for part in (host, packages, ascend, weights):
        part()
    count = len(problems)
    print(f"{count} thing{'' if count == 1 else 's'} to fix; engine: {args.engine}")
    sys.exit(1 if count else 0)


if __name__ == "__main__":
    cli.run(main)
