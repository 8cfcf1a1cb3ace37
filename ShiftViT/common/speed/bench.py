"""Run ais_bench's pure inference, and keep its throughput with what produced it.

    python3 -m common.speed.bench --json build/perf_bs8.json --model build/m_bs8.blob \
        -- python3 -m ais_bench --model build/m_bs8.blob --loop 20 --batchsize 8

What --model was made from is checked before (common/provenance.py). Timings on one host
wait for each other: two at a time would spoil each other's figures.
"""
from __future__ import annotations

import argparse
import contextlib
import datetime
import os
import platform
import re
import stat
import sys
import tempfile
import time
from pathlib import Path

from common import cli, provenance

NUMBER = r"([0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?)"
# Older releases print batchsize(8), newer ones batchsize.mean(8); the stand-in names the CPU.
THROUGHPUT = re.compile(r"throughput 1000\*batchsize(?:\.mean)?\((\d+)[^)]*\)"
                        rf"/(NPU|CPU)_compute_time\.mean\([^)]*\): {NUMBER}")
TIMES = re.compile(rf"(?:NPU|CPU)_compute_time \(ms\): min = {NUMBER}, max = {NUMBER}, "
                   rf"mean = {NUMBER}, median = {NUMBER}, percentile\(99%\) = {NUMBER}")
SUMMARY = re.compile(rf"summary throughput:\s*{NUMBER}")
MS = ("min", "max", "mean", "median", "p99")
# The most that repeats may differ, and that other programs may take of the CPUs. An idle
# host has a few percent.
NOISY = 0.1


def get_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", required=True, help="file for the result")
    parser.add_argument("--model", required=True, help="offline model that the command runs")
    parser.add_argument("--repeats", type=int, default=1,
                        help="runs of the command; the median one counts (default: 1)")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="-- and the command")
    args = parser.parse_args(argv)
    args.command = args.command[1:] if args.command[:1] == ["--"] else args.command
    if not args.command or args.repeats < 1:
        parser.error("give the command after --, and --repeats of 1 or more")
    return args


def parse(log):
    """ais_bench's log → {"fps": images/s, "batch", "device": NPU or CPU, "ms": {…}}.

    Several devices have one fps together, "devices", and no "ms". Failure without a figure.
    """
    log = log.replace("\r", "\n")
    found, times, together = (p.search(log) for p in (THROUGHPUT, TIMES, SUMMARY))
    if not found:
        raise cli.Failure("ais_bench's log has no throughput line", "look at its messages above")
    result = {"fps": float(found[3]), "batch": int(found[1]), "device": found[2]}
    if together:
        result.update(fps=float(together[1]), devices=len(THROUGHPUT.findall(log)))
    elif times:
        result["ms"] = dict(zip(MS, map(float, times.groups())))
    return result


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


@contextlib.contextmanager
def alone():
    """A block in which no other timing of this user runs on this host."""
    import fcntl

    # Anybody may write among the temporary files: so a private folder, which itself is the lock.
    folder = Path(tempfile.gettempdir()) / f"ascend-timing-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise cli.Failure(f"{folder} is not a private folder of yours",
                          "remove it, or set TMPDIR to a folder of your own")
    lock = os.open(folder, os.O_RDONLY)
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


def noise(result):
    """Why a figure means little, as text; "" when it is sound."""
    texts = {"spread": "the repeats differ by {:.0%}",
             "others": "other programs took {:.0%} of the CPUs"}
    return " and ".join(text.format(result[key]) for key, text in texts.items()
                        if (result.get(key) or 0) > NOISY)


def chain(artefact, todo="make om"):
    """{path: SHA-256} of what `artefact` was made from, compared with what is at hand: Failure
    with `todo` at the first misfit; a note where there is no record of it."""
    if provenance.record_path(artefact).exists():
        return provenance.check(artefact, todo)
    print(f"note: {artefact} has no record, so what it was made from is not checked")
    return {}


def run(command, name, on_npu=False):
    """Run `command`; show and return what it prints. Failure when it fails."""
    status, log = cli.tee(command)
    if not status:
        return log
    why, todo = f"it ended with status {status}", "see its messages above"
    if on_npu:
        from common.ascend import errors

        why, todo = errors.explain(log, status)
    raise cli.Failure(f"{name} failed: {why}", todo)


def median(runs, busy=None):
    """The run of median throughput, with "repeats" and "spread" of all, and "others" as given."""
    runs = sorted(runs, key=lambda run: run["fps"])
    fps = [run["fps"] for run in runs]
    middle = runs[(len(runs) - 1) // 2]
    spread = (fps[-1] - fps[0]) / middle["fps"] if len(runs) > 1 else None
    return {**middle, "repeats": fps, "spread": spread, "others": busy}


def keep(file, known, links, inputs):
    """Write `known` (a median() and what the record of its model says) as the JSON `file`, with
    what it comes from: `links` of chain(), and the files `inputs`. Print the figure."""
    made = provenance.made(file, inputs)
    cli.write_json(file, {**known, **conditions(), "chain": links, "made": made})
    if noise(known):
        print(f"warning: {noise(known)}: this means little, measure again on an idle host")
    what = [known.get("engine", "ascend"), known.get("precision", "?"), known["device"],
            "compute only"]
    if "ms" in known:
        what.append(f"{known['ms']['min']:.1f}…{known['ms']['max']:.1f} ms")
    print(f"{known['fps']:.1f} fps at batch {known['batch']} ({', '.join(what)})")


def main():
    args = get_args()
    links = chain(args.model)
    facts = provenance.read(args.model) or {}
    on_npu = facts.get("engine", "ascend") == "ascend"
    with alone():
        others = Others()
        runs = [parse(run(args.command, "ais_bench", on_npu)) for _ in range(args.repeats)]
        busy = others.share()
    result = median(runs, busy if runs[0]["device"] == "CPU" else None)
    if (facts.get("batch") or result["batch"]) != result["batch"]:
        # ais_bench takes --batchsize at its word and only scales the throughput with it.
        raise cli.Failure(f"{args.model} is for batch {facts['batch']}, and was timed as one "
                          f"for {result['batch']}", f"BS={facts['batch']}")
    if result["device"] == "CPU":  # the stand-in's log says so of a GPU too
        result["device"] = facts.get("device", "CPU")
    # An .om for several batches may be slower than one for this batch: two figures, told apart.
    runner = "ais_bench --dymBatch" if facts.get("gears") else "ais_bench"
    keep(args.json, {**facts, **result, "runner": runner}, links, [args.model])


if __name__ == "__main__":
    cli.run(main)
