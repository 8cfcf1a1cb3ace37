"""Put the packages of a lock file into a virtual environment; make one where there is none.

    python3 -m common.install .venv requirements.lock          (make setup)

By uv where it is installed, else by pip. Every file is compared with the hashes of the lock, and
only wheels are taken: nothing is compiled for an hour, or run while it is installed. What failed is
one line. Needs Python alone.
"""
from __future__ import annotations

import argparse
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

from common import cli

OLDEST = (3, 11)
AGAIN = "run the same command again"
LARGE = r"Downloading \S+ \(\d{3,}\.\d ?Mi?B\)|Downloading .*Gi?B\)"
# (pattern in what pip or uv print, what it means, what to do). The first that is found counts. A
# network that fails ends in «no matching distribution» too, so it comes before.
MEANINGS = [
    (r"No space left|ENOSPC|Errno 28", "the disk is full",
     f"make room (7 GB here, 4 GB in TMPDIR), then {AGAIN}"),
    (r"DO NOT MATCH THE HASHES.*\n +(\S+)|[Hh]ash mismatch for `([^`]+)",
     "what came for {name} is another file than the lock's hash says",
     f"take another mirror or proxy, then {AGAIN}"),
    (r"--require-hashes mode,.*\n +(\S+)|(?:none were provided for|but found): (\S+)",
     "the lock has no version and hash of {name}", "restore it, or make lock in the repository"),
    (r"CERTIFICATE_VERIFY_FAILED|SSLError|UnknownIssuer|invalid peer certificate",
     "the certificate of the package index is not trusted",
     f"name your proxy's: PIP_CERT=/path (uv: SSL_CERT_FILE) in the environment, then {AGAIN}"),
    (r"NewConnectionError|ConnectTimeout|ReadTimeout|ProxyError|Connection (?:refused|reset)|"
     r"name resolution|error sending request|dns error|Failed to fetch|timed out|"
     r"from versions: none|was not found in the",
     "no package index could be reached, or it lacks these packages",
     "look at network and proxy (HTTPS_PROXY), or name a mirror: "
     f"PIP_INDEX_URL (uv: UV_DEFAULT_INDEX) in the environment, then {AGAIN}"),
    (r"[Nn]o matching distribution found for (\S+)|Because (\S+) has no |no versions? of (\S+)",
     "there is no build of {name} for {here}", "take Python 3.11 to 3.14 on Linux (x86_64: glibc "
     "2.28, aarch64: 2.35) or macOS 14 (arm64), or use your own: PYTHON=/path/to/python"),
    (r"Permission denied|Errno 13|Read-only file", "it may not write there",
     f"give yourself the right to write, then {AGAIN}"),
]


def get_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("venv", type=Path, help="folder of the virtual environment")
    parser.add_argument("lock", type=Path, help="requirements with hashes")
    return parser.parse_args(argv)


def create(venv):
    """Make the virtual environment `venv` with this Python, unless it is there."""
    if (venv / "bin/python").exists():
        return
    here = f"{sys.executable} is Python {platform.python_version()}"
    if sys.version_info < OLDEST:
        raise cli.Failure(f"{here}, and the packages need 3.11 to 3.14",
                          f"call a newer one: python3.12 -m venv {venv}, then {AGAIN}")
    before = venv.exists()
    status, log = run([sys.executable, "-m", "venv", str(venv)])
    if status:
        if not before:
            shutil.rmtree(venv, ignore_errors=True)
        why = "it has no venv" if re.search("ensurepip|No module named", log) else last_line(log)
        raise cli.Failure(f"no virtual environment could be made: {here}, {why}",
                          f"install it (Debian: apt-get install python3-venv), then {AGAIN}")


def run(command):
    """Run `command`; show which large files are being downloaded; return (status, its output)."""
    return cli.tee(command, stdin=subprocess.DEVNULL, shown=LARGE)


def last_line(log):
    """The last line of `log` that says something, errors first."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    told = [line for line in lines if line.lower().startswith("error")] or lines
    return cli.short(told[-1]) if told else "it says nothing"


def explain(log, status):
    """(what was lacking, what to do) of a pip or uv that ended with `status` and printed `log`."""
    if status in (-9, 137):
        return "the system ended it for lack of memory", f"end other programs, then {AGAIN}"
    for pattern, meaning, todo in MEANINGS:
        found = re.search(pattern, log)
        if found:
            name = next(filter(None, found.groups()), "")
            here = f"Python {platform.python_version()} on {platform.machine()}"
            return meaning.format(name=name, here=here), todo
    return last_line(log), AGAIN


def installers(venv, lock):
    """[(name, command)]: those to try, in order. uv does not read pip's configuration, where
    somebody's mirror may be; so pip is tried after it."""
    flags = ["--require-hashes", "--only-binary", ":all:", "-r", str(lock)]
    python = str(venv / "bin/python")
    uv = shutil.which("uv")
    found = [("uv", [uv, "pip", "install", "--python", python, *flags])] if uv else []
    # Bytecode is made when a module is first imported: half of the time of an installation.
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--no-compile", *flags]
    return [*found, ("pip", pip)]


def main():
    args = get_args()
    create(args.venv)
    count = sum("==" in line for line in args.lock.read_text(encoding="utf-8").splitlines())
    for name, command in installers(args.venv, args.lock):
        print(f"{name}: up to {count} packages of {args.lock} into {args.venv}", flush=True)
        status, log = run(command)
        if not status:
            return
        why, todo = explain(log, status)
        if "hash" in why:  # pip would fetch it all again to say the same
            break
        if name == "uv":
            print(f"note: uv: {why}; pip is tried")
    raise cli.Failure(f"{name} could not install {args.lock}: {why}", todo)


if __name__ == "__main__":
    cli.run(main)
