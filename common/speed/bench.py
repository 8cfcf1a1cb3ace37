"""Run ais_bench's pure inference and keep its throughput with what produced it; or that of another runner.

    python3 -m common.speed.bench --json perf_bs8.json --provenance m_bs8.blob.json -- python3 -m ais_bench --model m_bs8.om --loop 20
    python3 -m common.speed.bench --json perf_bs8.json --runner trtexec --batch 8 -- trtexec --onnx=m.onnx --fp16 --shapes=…
    python3 -m common.speed.bench --json perf_bs8.json --runner benchmark --batch 8 --chips 4 --log perf_vision_…_device_0.txt

Runs of several models wait for each other: two at a time would spoil each other's figures.
"""
import argparse
import datetime
import os
import platform
import re
import resource
import tempfile
import time
from pathlib import Path

from common import cli, doctor

# Older releases print batchsize(8), newer ones batchsize.mean(8); the stand-in names the CPU.
THROUGHPUT = re.compile(r"throughput 1000\*batchsize(?:\.mean)?\((\d+)[^)]*\)/(NPU|CPU)_compute_time\.mean\([^)]*\): "
                        r"([0-9.eE+]+)")
TIMES = re.compile(r"(?:NPU|CPU)_compute_time \(ms\): min = ([0-9.eE+-]+), max = ([0-9.eE+-]+), mean = ([0-9.eE+-]+), "
                   r"median = ([0-9.eE+-]+), percentile\(99%\) = ([0-9.eE+-]+)")
SUMMARY = re.compile(r"summary throughput:\s*([0-9.eE+]+)")
# The older benchmark tool's perf_vision_….txt: images/s of the computation on one chip.
INTERFACE = re.compile(r"Interface throughputRate: *([0-9.eE+]+)")
# trtexec; in lower case before TensorRT 8.
QPS = re.compile(r"\] throughput: ([0-9.eE+]+) qps", re.IGNORECASE)
GPU_TIMES = re.compile(r"GPU Compute Time: min = ([0-9.e+-]+) ms, max = ([0-9.e+-]+) ms, mean = ([0-9.e+-]+) ms, median = "
                       r"([0-9.e+-]+) ms,.*percentile\(99%\) = ([0-9.e+-]+) ms")
TENSORRT = re.compile(r"\[TensorRT v([0-9]+)\]")
# Most that the repeats' throughputs may differ, and that other programs may take of the CPUs; idle hosts have a few percent.
NOISY = 0.1
MS = ("min", "max", "mean", "median", "p99")


def get_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", required=True, help="file for the result")
    parser.add_argument("--provenance", help="what is known of the offline model (JSON)")
    parser.add_argument("--runner", choices=("ais_bench", "benchmark", "trtexec"), default="ais_bench",
                        help="whose log it is (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=1, help="runs of the command; the median one counts (default: 1)")
    parser.add_argument("--log", type=Path, metavar="FILE", help="read this instead of running a command")
    parser.add_argument("--batch", type=int, default=1, help="images a run, which the others' logs do not say (default: 1)")
    parser.add_argument("--chips", type=int, help="chips of the card, for benchmark: it times one (default: 4 for an offline "
                                                  "model that --provenance has for Ascend310, else 1)")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="-- and the command")
    args = parser.parse_args(argv)
    args.command = args.command[1:] if args.command[:1] == ["--"] else args.command
    if args.repeats < 1:
        parser.error("--repeats: give 1 or more")
    if bool(args.command) == bool(args.log):
        parser.error("give either a command after --, or --log")
    return args


def number(text):
    """float() of what a pattern took for a number; Failure when it is none, as in a line that another was printed into."""
    try:
        return float(text)
    except ValueError:
        raise cli.Failure(f"the log has {text!r} where a number should be", "look at its messages above") from None


def parse(log):
    """Return throughput (images/s), batch, device and compute times (ms) from ais_bench's log; Failure without them."""
    log = log.replace("\r", "\n")
    found, times = THROUGHPUT.search(log), TIMES.search(log)
    if not found:
        raise cli.Failure("ais_bench's log has no throughput line", "look at its messages above")
    result = {"fps": number(found[3]), "batch": int(number(found[1])), "device": found[2]}
    together = SUMMARY.search(log)
    if together:  # several devices, whose own lines come before
        result.update(fps=number(together[1]), devices=len(THROUGHPUT.findall(log)))
    elif times:
        result["ms"] = dict(zip(MS, map(number, times.groups())))
    return result


def parse_benchmark(text, batch, chips):
    """As parse(), from a perf_vision_….txt; the throughput is that of all `chips` of the card."""
    found = INTERFACE.search(text)
    if not found:
        raise cli.Failure("the benchmark tool's file has no `Interface throughputRate`", "look at the tool's messages")
    return {"fps": number(found[1]) * chips, "batch": batch, "device": "NPU", "chips": chips}


def parse_trtexec(log, batch):
    """As parse(), from trtexec's log, whose queries are batches."""
    found, times, version = QPS.search(log), GPU_TIMES.search(log), TENSORRT.search(log)
    if not found:
        raise cli.Failure("trtexec's log has no throughput line", "look at its messages above")
    result = {"fps": number(found[1]) * batch, "qps": number(found[1]), "batch": batch, "device": "GPU", "engine": "tensorrt",
              "engine_version": version[1] if version else "", "precision": "fp16"}
    if times:
        result["ms"] = dict(zip(MS, map(number, times.groups())))
    return result


def conditions():
    """What a figure was taken on and when: {"host": {cpu, cores, system, python}, "date"}; cores are those of this process."""
    return {"host": {"cpu": doctor.cpu_name(), "cores": cli.cores(), "system": f"{platform.system()} {platform.machine()}",
                     "python": platform.python_version()},
            "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")}


def alone():
    """A context in which no other timing of this user runs on this host."""
    return cli.lock(Path(tempfile.gettempdir()) / f"ascend-bench-{os.getuid()}.lock")


def run(command, name, seen=None):
    """Run `command`, showing and returning what it prints; Failure when it fails."""
    status, log = cli.tee(command, seen)
    if status:
        raise cli.Failure(f"{name} ended with status {status}", "see its messages above")
    return log


def spread(figures):
    """(max - min) / median of several throughputs, or None for one: how far they can be relied on."""
    middle = sorted(figures)[(len(figures) - 1) // 2]
    return (max(figures) - min(figures)) / middle if len(figures) > 1 else None


def cpu_seconds():
    """CPU seconds used so far by all programs of this host and by this one's finished children; None without /proc/stat."""
    try:
        user, nice, system, _, _, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    except (OSError, ValueError):
        return None
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK"), children.ru_utime + children.ru_stime


class Others:
    """Share of this host's CPUs that other programs take from now on (0…1); None where it cannot be told."""

    def __init__(self):
        self.begin, self.start = cpu_seconds(), time.perf_counter()

    def share(self):
        end, seconds = cpu_seconds(), time.perf_counter() - self.start
        if not self.begin or not end:
            return None
        return max(0.0, (end[0] - self.begin[0] - end[1] + self.begin[1]) / seconds / os.cpu_count())


def warn(result):
    """Say so when the conditions were such that the figure means little."""
    texts = {"spread": "the repeats differ by {:.0%}", "others": "other programs took {:.0%} of the CPUs"}
    said = [text.format(result[key]) for key, text in texts.items() if (result.get(key) or 0) > NOISY]
    if said:
        print(f"warning: {' and '.join(said)}, so this figure means little — measure again on an idle host")


def main():
    args = get_args()
    provenance = cli.read_json(args.provenance, "build the offline model again (make om)") if args.provenance else {}
    if args.log and not args.log.is_file():
        raise cli.Failure(f"{args.log} does not exist", "run the inference again (make infer)")
    chips = args.chips or (4 if provenance.get("soc") == "Ascend310" else 1)
    parser = {"ais_bench": parse, "benchmark": lambda log: parse_benchmark(log, args.batch, chips),
              "trtexec": lambda log: parse_trtexec(log, args.batch)}[args.runner]
    if args.log:
        runs = [parser(args.log.read_text(encoding="utf-8", errors="replace"))]
        busy = None
    else:
        with alone():
            others = Others()
            runs = [parser(run(args.command, args.runner)) for _ in range(args.repeats)]
            busy = others.share() if runs[0]["device"] == "CPU" else None
    if args.runner == "ais_bench" and provenance.get("batch", runs[0]["batch"]) != runs[0]["batch"]:
        # ais_bench takes --batchsize at its word and only scales the throughput with it.
        raise cli.Failure(f"the offline model is for batch {provenance['batch']} ({args.provenance}), and was timed as one for "
                          f"{runs[0]['batch']}", "build the one for this batch again (delete it and run make om)")
    provider = os.environ.get("HOST_PROVIDER") or "cpu"
    if args.runner == "ais_bench" and runs[0]["device"] == "CPU" and provider != "cpu":
        # The stand-in's log names the CPU wherever ONNX Runtime computes.
        runs = [{**r, "device": "GPU", "provider": provider} for r in runs]
    if runs[0]["device"] == "GPU":
        runs = [{**r, "gpu": doctor.version_of("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")} for r in runs]
    runs.sort(key=lambda r: r["fps"])
    figures = [r["fps"] for r in runs]
    result = {**runs[(len(runs) - 1) // 2], "repeats": figures, "spread": spread(figures), "others": busy,
              **conditions()}
    known = {**provenance, **result, "runner": args.runner}
    cli.write_json(args.json, {**known, "command": args.command, "log": str(args.log) if args.log else None})
    times = f", spread {result['ms']['min']:.1f}…{result['ms']['max']:.1f} ms" if "ms" in result else ""
    what = ", ".join(str(v) for v in (known.get("engine", "ascend"), known.get("precision", "?"), known["device"]))
    warn(result)
    print(f"{result['fps']:.1f} fps at batch {result['batch']} ({what}, compute only{times})")


if __name__ == "__main__":
    cli.run(main)
