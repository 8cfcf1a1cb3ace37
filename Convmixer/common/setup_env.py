"""Make a virtual environment with pinned requirements, once, however many callers ask at the same time.

    python3 common/setup_env.py .venv requirements.txt

Needs nothing but Python's standard library. The packages weigh several GB (torch); PYTHON=/your/python uses your own.
"""
import fcntl
import hashlib
import subprocess
import sys
import venv
from pathlib import Path

OLDEST = (3, 11)


def main():
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    folder, requirements = map(Path, sys.argv[1:])
    if sys.version_info < OLDEST:
        sys.exit(f"error: Python {'.'.join(map(str, OLDEST))} or newer is needed, python3 is {sys.version.split()[0]} — "
                 "put a newer one first on PATH, or give PYTHON=/path/to/python")
    ready = folder / ".ready"
    wanted = hashlib.sha256(requirements.read_bytes()).hexdigest()
    with open(f"{folder}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if ready.exists() and ready.read_text() == wanted:
            ready.touch()  # a younger requirements.txt with the same content: nothing to install
            return
        print(f"making {folder} with {requirements} — once, a minute or two, several GB", flush=True)
        if not (folder / "bin" / "python").exists():
            venv.create(folder, with_pip=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install"]
        quiet = [] if sys.stdout.isatty() else ["-qq"]  # a person wants to see the download move, a log does not
        if subprocess.run([*pip, *quiet, "-r", str(requirements)]).returncode:
            sys.exit(f"error: pip could not install {requirements} into {folder}, see above — mend that (network, disk) and "
                     "run again, or give PYTHON=/path/to/python that has them")
        ready.write_text(wanted)
    print(f"{folder} is ready")


if __name__ == "__main__":
    main()
