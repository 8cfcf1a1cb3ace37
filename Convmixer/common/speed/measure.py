"""How a timing is taken on this host: alone, and knowing what the host did meanwhile."""
import contextlib
import datetime
import os
import platform
import re
import sys
import tempfile
import time
from pathlib import Path

from common import cli


def cpu_name():
    """The processor's name as the system gives it."""
    with contextlib.suppress(OSError):
        found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
        if found:
            return found[1]
    return platform.processor() or platform.machine()


def conditions():
    """{"host": {cpu, cores of this process, system, python}, "date"} of a figure taken now."""
    now = datetime.datetime.now(datetime.timezone.utc)
    host = {"cpu": cpu_name(), "cores": cli.cores(), "python": platform.python_version(),
            "system": f"{platform.system()} {platform.machine()}"}
    return {"host": host, "date": now.isoformat(timespec="seconds")}


def same_host(one, other):
    """Whether two "host"s of conditions() are of one CPU, with as many cores of it."""
    return all(one[key] == other[key] for key in ("cpu", "cores"))


@contextlib.contextmanager
def alone():
    """A block in which no other timing runs on this host."""
    import fcntl

    # The folder of temporary files itself is locked: nothing is written where anybody may write.
    lock = os.open(tempfile.gettempdir(), os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting for another timing on this host", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


class Others:
    """Share of this host's CPUs that other programs take from now on."""

    def __init__(self):
        self.used, self.start = self.by_others(), time.perf_counter()

    @staticmethod
    def by_others():
        """CPU seconds used so far by all programs but this one and its finished children; None
        without /proc/stat."""
        try:
            fields = Path("/proc/stat").read_text().split()
            user, nice, system, _, _, irq, softirq, steal = map(int, fields[1:9])
        except (OSError, ValueError):
            return None
        ticks = user + nice + system + irq + softirq + steal
        return ticks / os.sysconf("SC_CLK_TCK") - sum(os.times()[:4])

    def share(self):
        """0…1; None where it cannot be known."""
        if self.used is None:
            return None
        seconds = time.perf_counter() - self.start
        return max(0.0, (self.by_others() - self.used) / seconds / os.cpu_count())
