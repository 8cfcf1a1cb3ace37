"""Manners that every script shares: errors for people, files that are whole or absent.

    if __name__ == "__main__":
        cli.run(main)
"""
import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path


class Failure(Exception):
    """An expected mistake. Says what is wrong, in which file, and what to do; exit status 1."""

    status = 1

    def __init__(self, what, todo=None):
        super().__init__(f"{what} — {todo}" if todo else what)


class Usage(Failure):
    """The command was called wrongly; exit status 2, as argparse does."""

    status = 2


def run(main):
    """Call `main()` and exit: 0 when it returns, 1 or 2 with one line for a Failure, 130 for Ctrl-C.

    A traceback is shown only for a bug of ours, or when DEBUG is set in the environment.
    """
    # SIGTERM as SystemExit, so that half-written files are removed on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main()
    except Failure as e:
        if os.environ.get("DEBUG", "") not in ("", "0"):
            raise
        print(f"error: {e}", file=sys.stderr)
        sys.exit(e.status)
    except KeyboardInterrupt:
        print("\ninterrupted — run the same command again to go on", file=sys.stderr)
        sys.exit(130)
    except OSError as e:
        # Full disks, missing rights and vanished files are the user's to mend, not bugs of ours.
        if e.filename is None and e.errno is None or os.environ.get("DEBUG", "") not in ("", "0"):
            raise
        where = f" {e.filename}" if e.filename else ""
        print(f"error: {e.strerror}:{where} — mend that and run the same command again", file=sys.stderr)
        sys.exit(1)


@contextlib.contextmanager
def whole_file(path):
    """Yield a temporary path beside `path`; rename it to `path` when the block ends well, else delete it.

    The temporary name starts with a dot and ends as `path` does, so tools that look at the suffix are content.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path, content):
    """Write `content` as JSON, whole or not at all."""
    with whole_file(path) as part:
        part.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path, todo):
    """Return the JSON in `path`; Failure naming the file and `todo` when it is absent or damaged."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Failure(f"{path} does not exist", todo) from None
    except ValueError as e:
        raise Failure(f"{path} is not JSON ({e})", todo) from None


def sha256(path):
    """Return the SHA-256 of a file as 64 hex digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        for block in iter(lambda: f.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def progress(items, what, total=None, unit="it"):
    """Iterate over `items` with a bar on a terminal and in logs alike (a line every ten seconds there)."""
    from tqdm import tqdm  # here, so that what needs no bar runs where tqdm is not installed

    tty = sys.stderr.isatty()
    return tqdm(items, desc=what, total=total, unit=unit, mininterval=0.1 if tty else 10, ncols=None if tty else 80,
                dynamic_ncols=tty, leave=tty)


def tee(command, seen=None):
    """Run `command` (a list), show what it prints as it comes, and return (exit status, all that it printed).

    `seen(line)` is called for each line at the moment it comes.
    """
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    log = []
    for line in process.stdout:
        if seen:
            seen(line)
        print(line, end="", flush=True)
        log.append(line)
    return process.wait(), "".join(log)


@contextlib.contextmanager
def lock(path):
    """Hold an exclusive lock on the file `path`; a second process waits, and says so."""
    import fcntl

    with open(path, "w") as f:
        try:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another run that holds {path}", file=sys.stderr)
            fcntl.flock(f, fcntl.LOCK_EX)
        yield
