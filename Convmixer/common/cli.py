"""What every script shares: errors for people, files that are whole or absent, progress.

    if __name__ == "__main__":
        cli.run(main)
"""
import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import subprocess
import sys
import time
from pathlib import Path

DAY = 24 * 3600
EVERY = 10  # seconds between two lines of progress
QUOTA = "/sys/fs/cgroup/cpu.max"  # microseconds of each period (cgroup v2)


class Failure(Exception):
    """An expected mistake: what is wrong, in which file, and what to do.

    One line on stderr, exit status 1.
    """

    status = 1

    def __init__(self, what, todo=None):
        super().__init__(" ".join((f"{what} — {todo}" if todo else str(what)).split()))


class Usage(Failure):
    """The command was called wrongly; exit status 2, as argparse does."""

    status = 2


def run(main):
    """Call main() and exit: 0, or one line and 1 or 2 for a Failure, 1 for what the system
    refuses, 130 for Ctrl-C.

    A traceback is a bug of ours, or DEBUG is set in the environment.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a C locale has no → and no é
    try:
        main()
        if sys.stdout:
            sys.stdout.flush()
        return
    except Failure as e:
        problem, status, line = e, e.status, str(e)
    except OSError as e:  # a full disk, missing rights, a file that vanished
        problem, status = e, 1
        file = e.filename2 or e.filename  # of a rename, the second is the name that is known
        where = f": {file}" if file else ""
        todo = "solve that"
        if e.errno in (errno.EROFS, errno.EACCES, errno.ENOSPC):
            todo += ", or give another folder (make: OUT=/path),"
        line = f"{e.strerror or e}{where} — {todo} and run the same command again"
    except KeyboardInterrupt as e:
        problem, status, line = e, 130, "interrupted — run the same command again to go on"
    if os.environ.get("DEBUG", "0") not in ("", "0"):
        raise problem
    with contextlib.suppress(OSError):  # nobody reads: closed pipe
        print(f"error: {line}", file=sys.stderr)
    if isinstance(problem, BrokenPipeError):
        os._exit(status)  # Python would try to flush once more, and complain
    sys.exit(status)


@contextlib.contextmanager
def whole_file(path):
    """Yield a hidden path beside `path`; it gets the name `path` when the block ends well, and is
    deleted otherwise.

    The hidden name ends as `path` does, so that tools that look at the ending are content.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{secrets.token_hex(4)}.part.{path.name}")
    try:
        yield part
        os.replace(part, path)
    except OSError as e:
        e.filename = e.filename or str(path)  # a full disk is reported without a name
        raise
    finally:
        part.unlink(missing_ok=True)


def remove_leftovers(folder):
    """Delete the hidden files that killed runs left in `folder`; those younger than a day may still
    be somebody's."""
    for part in Path(folder).glob(".*.part.*"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - part.stat().st_mtime > DAY:
                part.unlink()


def write_json(path, content):
    """Write `content` as JSON, whole or not at all."""
    with whole_file(path) as part, open(part, "w", encoding="utf-8") as f:
        json.dump(content, f, indent=1, ensure_ascii=False)
        f.write("\n")


def read_json(path, todo, kind=dict):
    """Return the JSON in `path`, a `kind`; Failure with the file and `todo` when it is absent or
    something else."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Failure(f"{path} does not exist", todo) from None
    except (ValueError, RecursionError) as e:
        raise Failure(f"{path} is not JSON ({e})", todo) from None
    if not isinstance(content, kind):
        found = type(content).__name__
        raise Failure(f"{path} holds something else than it should (a {found})", todo)
    return content


def digest(path, kind):
    """The hash of a file in hex digits; `kind` is sha256, md5, …"""
    found = hashlib.new(kind)
    with open(path, "rb") as f:
        while block := f.read(1 << 20):
            found.update(block)
    return found.hexdigest()


def sha256(path):
    """The SHA-256 of a file as 64 hex digits."""
    return digest(path, "sha256")


def cores():
    """How many cores this process may use: of its affinity (taskset) and its container's quota."""
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with contextlib.suppress(OSError, ValueError):  # "max 100000" where there is no quota
        quota, period = Path(QUOTA).read_text().split()
        mine = min(mine, max(1, round(int(quota) / int(period))))
    return mine


class Lines:
    """What tqdm writes to in place of a terminal: each state of the bar is a line of its own."""

    encoding = "ascii"

    def write(self, text):
        if text.strip():
            print(text.strip(), file=sys.stderr)

    def flush(self):
        sys.stderr.flush()


def progress(items, what, total=None, unit="it"):
    """Iterate over `items` with tqdm's bar; without a terminal, a line every ten seconds."""
    from tqdm import tqdm  # here: some scripts need no bar and run where tqdm is not installed

    if sys.stderr.isatty():
        return tqdm(items, desc=what, total=total, unit=unit, dynamic_ncols=True)
    return tqdm(items, desc=what, total=total, unit=unit, mininterval=EVERY, delay=EVERY, ncols=80,
                leave=False, file=Lines())


def tee(command, stderr=subprocess.STDOUT, shown="", stdin=None):
    """Run `command` (a list) and show what it prints as it comes; return (exit status, all that it
    printed). With stderr=None that goes where this program's goes: a bar moves on a terminal. With
    `shown`, a regular expression, only lines that hold it are shown."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, stdin=stdin,
                               encoding="utf-8", errors="replace")
    log = []
    for line in process.stdout:
        if re.search(shown, line):
            print(line, end="", flush=True)
        log.append(line)
    return process.wait(), "".join(log)


def some(names, most=5):
    """The first few of `names`, then how many more there are: one line, whatever the names are."""
    said = [short(str(name)) for name in list(names)[:most]]
    said = [text if text.isprintable() else repr(text) for text in said]
    return ", ".join(said) + (f" and {len(names) - most} more" if len(names) > most else "")


def counted(kinds):
    """"2 missing: a, b; 1 unexpected: c" of {"missing": [a, b], "unexpected": [c], "odd": []}."""
    return "; ".join(f"{len(names)} {what}: {some(names)}"
                     for what, names in kinds.items() if names)


def short(text, most=200):
    """`text`, cut where it would fill a screen."""
    return text if len(text) <= most else f"{text[:most]}…"
