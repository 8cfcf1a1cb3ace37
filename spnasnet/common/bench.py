"""Run ais_bench's pure inference and keep its throughput with what produced it.

    python3 -m common.bench --json perf_bs8.json --provenance m_bs8.blob.json -- python3 -m ais_bench --model m_bs8.om --loop 20

Runs of several models wait for each other: two at a time would spoil each other's figures.
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from common import cli

# Older releases print batchsize(8), newer ones batchsize.mean(8); the stand-in names the CPU.
THROUGHPUT = re.compile(r"throughput 1000\*batchsize(?:\.mean)?\((\d+)[^)]*\)/(NPU|CPU)_compute_time\.mean\([^)]*\): "
                        r"([0-9.eE+]+)")
TIMES = re.compile(r"(?:NPU|CPU)_compute_time \(ms\): min = ([0-9.eE+-]+), max = ([0-9.eE+-]+), mean = ([0-9.eE+-]+), "
                   r"median = ([0-9.eE+-]+), percentile\(99%\) = ([0-9.eE+-]+)")


def get_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", required=True, help="file for the result")
    parser.add_argument("--provenance", help="what is known of the offline model (JSON)")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="-- and the ais_bench command")
    args = parser.parse_args(argv)
    args.command = args.command[1:] if args.command[:1] == ["--"] else args.command
    if not args.command:
        parser.error("give the ais_bench command after --")
    return args


def parse(log):
    """Return throughput (images/s), batch, device and compute times (ms) from ais_bench's log; Failure without them."""
    log = log.replace("\r", "\n")
    found, times = THROUGHPUT.search(log), TIMES.search(log)
    if not found:
        raise cli.Failure("ais_bench's log has no throughput line", "look at its messages above")
    result = {"fps": float(found[3]), "batch": int(found[1]), "device": found[2]}
    if times:
        result["ms"] = dict(zip(("min", "max", "mean", "median", "p99"), map(float, times.groups()), strict=True))
    return result


def main():
    args = get_args()
    provenance = cli.read_json(args.provenance, "build the offline model again (make om)") if args.provenance else {}
    with cli.lock(Path(tempfile.gettempdir()) / f"ascend-bench-{os.getuid()}.lock"):
        process = subprocess.Popen(args.command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        log = []
        for line in process.stdout:
            sys.stdout.write(line)
            log.append(line)
    if process.wait():
        raise cli.Failure(f"ais_bench ended with status {process.returncode}", "see its messages above")
    result = parse("".join(log))
    cli.write_json(args.json, {**provenance, **result, "command": args.command})
    spread = f", spread {result['ms']['min']:.1f}…{result['ms']['max']:.1f} ms" if "ms" in result else ""
    what = f"{provenance.get('engine', 'ascend')}, {provenance.get('precision', '?')}, {result['device']}"
    print(f"{result['fps']:.1f} fps at batch {result['batch']} ({what}, compute only{spread})")


if __name__ == "__main__":
    cli.run(main)
