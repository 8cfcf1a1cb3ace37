"""Versions of everything that matters here, what is missing, and the command that mends it.

    python3 -m common.doctor        (needs nothing but Python itself; run in a model folder or the repository)
"""
import argparse
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path


def get_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="openvino", help="engine that would be used (default: %(default)s)")
    return parser.parse_args(argv)


def cpu_name():
    """The processor's name as the system gives it."""
    try:
        return re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())[1]
    except (OSError, TypeError):
        return platform.processor() or platform.machine()


def version_of(*command):
    """First line that a command prints, or None when it is not there."""
    if not shutil.which(command[0]):
        return None
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    return (done.stdout or done.stderr).strip().split("\n")[0]


def main():
    args = get_args()
    missing = 0

    def say(good, what, found, todo=""):
        nonlocal missing
        missing += good is False
        mark = "✓" if good else "✗" if good is False else "·"
        print(f" {mark} {what:24} {found or 'not found'}{' — ' + todo if todo and not good else ''}")

    print("Host")
    say(True, "system", f"{platform.platform()}, {platform.machine()}")
    say(True, "processor", f"{cpu_name()}, {os.cpu_count()} cores")
    say(sys.version_info >= (3, 11), "python", f"{platform.python_version()} ({sys.executable})",
        "install Python 3.11 or newer")
    say(bool(shutil.which("make")), "make", version_of("make", "--version"), "install GNU Make 4.2 or newer")
    say(bool(shutil.which("git")), "git", version_of("git", "--version"), "install git (only `make source` needs it)")
    free = shutil.disk_usage(".").free / 1e9
    say(free > 10, "disk", f"{free:.0f} GB free here", "the environment takes 6 GB, ImageNet's bins 30 GB")
    print("Packages")
    requirements = next((p for p in (Path("requirements.txt"), Path("../requirements.txt")) if p.exists()), None)
    for line in requirements.read_text().splitlines() if requirements else []:
        name, _, wanted = line.partition("==")
        if not wanted:
            continue
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found = None
        say(bool(found), name, found and found + ("" if found == wanted else f" (pinned: {wanted})"), "make setup")
    print("Ascend (only on a host with an NPU)")
    for tool, command in {"atc": ["atc", "--help"], "npu-smi": ["npu-smi", "-v"]}.items():
        say(True if shutil.which(tool) else None, tool, version_of(*command),
            "not needed for the CPU engines; on an Ascend host: source …/ascend-toolkit/set_env.sh")
    print("Inputs")
    for folder in [p.parent for p in sorted(Path().glob("*/published.json"))] or [Path()]:
        weights = next((w for w in sorted((folder / "weights").glob("*.pth*")) if w.suffix not in (".part", ".sha256")), None)
        say(True if weights else None, f"{folder.resolve().name} weights", weights,
            f"make {'-C ' + str(folder) + ' ' if str(folder) != '.' else ''}weights; until then the demo's are used")
    print(f"{missing} thing{'s' if missing != 1 else ''} to mend; engine: {args.engine}")
    sys.exit(1 if missing else 0)


if __name__ == "__main__":
    main()
