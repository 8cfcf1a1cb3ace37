"""Where CANN is on this host, of which release, and whether ais_bench can be used.

Nothing is sourced here: the user sources the toolkit's set_env.sh, as every page of the field says.
"""
from __future__ import annotations

import contextlib
import glob
import os
import re
import signal
import subprocess
import tempfile
from pathlib import Path

from common.ascend import errors

# Files of a toolkit that name its release, and the line that does (CANN 5 to 9).
FILES = ("*-linux/ascend_toolkit_install.info", "ascend_toolkit_install.info", "version.cfg",
         "compiler/version.info", "version.info")
LINE = re.compile(r"^(?:version=|toolkit_running_version=\[(?:[^\]:]*:)?)([^\s\]]+)", re.M | re.I)


def installed():
    """set_env.sh of every CANN on this host's disk, loaded or not (plan.mk looks there too)."""
    roots = ["/usr/local", Path.home(), os.environ.get("CONDA_PREFIX", "")]
    bins = [word for word in os.environ.get("PATH", "").split(":") if word.endswith("/bin")]
    prefixes = [Path.home() / ".local", *(Path(folder).parent for folder in bins)]
    patterns = [f"{root}/Ascend/*/set_env.sh" for root in roots]
    patterns += [f"{p}/lib/python3*/*-packages/ascend/cann-*/set_env.sh" for p in prefixes]
    found = [path for pattern in patterns for path in sorted(glob.glob(pattern))]
    return list(dict.fromkeys(found))


def loaded():
    """The folder of the toolkit whose set_env.sh has been sourced, or None."""
    return os.environ.get("ASCEND_TOOLKIT_HOME") or os.environ.get("ASCEND_HOME_PATH")


def release(*folders):
    """The release of the CANN in the first of `folders` that tells, or "unknown"."""
    for pattern in FILES:
        for file in [file for folder in folders for file in sorted(Path(folder).glob(pattern))]:
            found = LINE.search(file.read_text(errors="replace"))
            if found:
                return found[1]
    return "unknown"


def interpreter():
    """The python3 that has ais_bench and pyACL: the one on the PATH, or ASCEND_PYTHON."""
    return os.environ.get("ASCEND_PYTHON") or "python3"


def call(command, seconds):
    """Return (stdout, None) of a command that ends with 0, else (None, what went wrong).

    A broken driver leaves npu-smi hanging, and then not even a kill ends it; so it is not waited
    for, and it writes to files, not to pipes.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                       start_new_session=True)
            status = process.wait(seconds)
        except OSError as e:
            return None, f"{command[0]}: {e.strerror}"
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            return None, f"no answer in {seconds:g} s, killed"
        out.seek(0)
        err.seek(0)
        said, complaint = (file.read().decode(errors="replace") for file in (out, err))
    if status == 0:
        return said, None
    lines = [line.strip() for line in f"{said}\n{complaint}".splitlines() if line.strip()]
    told = [line for line in lines if "error" in line.lower()] or lines or ["it says nothing"]
    return None, f"{told[-1][-200:]} (status {status})"


def ais_bench(seconds=60):
    """Return (whether ais_bench can be used, what it is or lacks, what to do)."""
    _, problem = call([interpreter(), "-c", "import aclruntime, ais_bench.infer"], seconds)
    if not problem:
        return True, f"of {interpreter()}", ""
    return False, f"ais_bench: {problem}", errors.explain(problem, 1)[1]
