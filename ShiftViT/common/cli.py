"""Manners that every script shares: errors for people, files that are whole or absent.

    if __name__ == "__main__":
        cli.run(main)
"""
import contextlib
import hashlib
import json
import os
import platform
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path


class Failure(Exception):
    """An expected mistake. Says what is wrong, in which file, and what to do; exit status 1."""

    status = 1

    def __init__(self, what, todo=None):
        # One line, whatever was given or what another program said.
        super().__init__(re.sub(r"\s*[\r\n]\s*", " ", f"{what} — {todo}" if todo else str(what)))


class Usage(Failure):
    """The command was called wrongly; exit status 2, as argparse does."""

    status = 2


def run(main):
    """Call `main()` and exit: 0 when it returns, 1 or 2 with one line for a Failure, 130 for Ctrl-C.

    A traceback is shown only for a bug of ours, or when DEBUG is set in the environment.
    """
    # SIGTERM as SystemExit, so that half-written files are removed on the way out.
    signals = []

    def end(number, _):
        signals.append(number)
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(143)
    signal.signal(signal.SIGTERM, end)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else whoever started this wants none
        signal.signal(signal.SIGINT, end)

    def dropped(what):
        """Python shows what is raised in a destructor, and drops it: a signal that came then is sent again, a moment later."""
        number = {SystemExit: signal.SIGTERM, KeyboardInterrupt: signal.SIGINT}.get(what.exc_type)
        if number:
            threading.Timer(.01, os.kill, (os.getpid(), number)).start()
        else:
            sys.__unraisablehook__(what)
    sys.unraisablehook = dropped
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed (>&-); the next file that is opened would be taken for it
            setattr(sys, name, open(os.devnull, "w"))
        elif hasattr(getattr(sys, name), "reconfigure"):
            getattr(sys, name).reconfigure(errors="replace")  # for a locale that has no → or é
    try:
        try:
            main()
            sys.stdout.flush()
        except BaseException as e:
            if not signals and not isinstance(e, KeyboardInterrupt):
                raise
            # A signal ended the run, whatever a library that was loading made of it (OpenVINO an ImportError, numpy a
            # RecursionError).
            if signals[-1:] == [signal.SIGTERM]:
                sys.exit(143)
            print("\ninterrupted — run the same command again to go on", file=sys.stderr)
            sys.exit(130)
    except Failure as e:
        if os.environ.get("DEBUG", "") not in ("", "0"):
            raise
        print(f"error: {e}", file=sys.stderr)
        sys.exit(e.status)
    except OSError as e:
        # Full disks, missing rights and vanished files are the user's to mend, not bugs of ours.
        if e.filename is None and e.errno is None or os.environ.get("DEBUG", "") not in ("", "0"):
            raise
        try:
            sys.stdout.flush()
        except OSError:  # Python would try once more on its way out, complain, and end with status 120
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        what = "nobody reads the output any more" if isinstance(e, BrokenPipeError) else e.strerror or e
        where = f": {e.filename2 or e.filename}" if e.filename else ""  # of a rename the second is the name that is known
        print(f"error: {what}{where} — mend that and run the same command again", file=sys.stderr)
        sys.exit(1)
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):  # all is tidied; an exception in Python's own end is a traceback
            signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def whole_file(path):
    """Yield a temporary path beside `path`; rename it to `path` when the block ends well, else delete it.

    The temporary name starts with a dot and ends as `path` does, so tools that look at the suffix are content.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path.parent)
    part = path.with_name(f".{os.getpid()}-{platform.node()}.{path.name}")
    try:
        yield part
        os.replace(part, path)
    except OSError as e:
        e.filename = e.filename or str(path)  # a full disk is reported without a name
        raise
    finally:
        part.unlink(missing_ok=True)


def _sweep(folder, swept=set()):  # noqa: B006  each folder once a process
    """Delete the temporary files that processes of this host left in `folder` when they were killed."""
    if folder in swept:
        return
    swept.add(folder)
    for entry in os.listdir(folder):
        of = re.fullmatch(rf"\.(\d+)-{re.escape(platform.node())}\..+", entry, re.DOTALL)
        if of:
            try:
                os.kill(int(of[1]), 0)
            except ProcessLookupError:
                (folder / entry).unlink(missing_ok=True)
            except OSError:
                pass  # another user's, and alive


def write_json(path, content):
    """Write `content` as JSON, whole or not at all."""
    with whole_file(path) as part:
        with open(part, "w", encoding="utf-8") as f:
            json.dump(content, f, indent=1, ensure_ascii=False)  # piece by piece: 50,000 files make a long text
            f.write("\n")


def read_json(path, todo, kind=dict):
    """Return the JSON in `path`, a `kind`; Failure naming the file and `todo` when it is absent, damaged or another."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Failure(f"{path} does not exist", todo) from None
    except (ValueError, RecursionError) as e:
        raise Failure(f"{path} is not JSON ({e})", todo) from None
    if not isinstance(content, kind):
        raise Failure(f"{path} holds something else than it should (a {type(content).__name__})", todo)
    return content


def cores():
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()  # not everywhere Linux


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
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               encoding="utf-8", errors="replace")
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
