"""Throughput by the two other tools of this model's page, kept as common/speed/bench.py does.

    python3 benchmark.py --json build/perf_bs16_ascend_benchmark.json \
        --model build/spnasnet_100_bs16.om --batch 16 --log perf_vision_batchsize_16_device_0.txt
    python3 benchmark.py --json build/perf_bs1_trtexec.json --model build/spnasnet_100.onnx \
        --batch 1 -- trtexec --onnx=build/spnasnet_100.onnx --fp16 --shapes=…

The first reads the file that the older benchmark tool has written; the second runs trtexec
on an NVIDIA GPU.
"""
from __future__ import annotations

import argparse
import re
import subprocess
from pathlib import Path

from common import cli, provenance
from common.speed import bench, measure
from common.speed.bench import NUMBER

# The older tool's perf_vision_….txt: images/s of the computation on one chip.
INTERFACE = re.compile(rf"Interface throughputRate: *{NUMBER}")
# trtexec's log; before TensorRT 8 the first is in lower case.
QPS = re.compile(rf"\] throughput: {NUMBER} qps", re.IGNORECASE)
GPU_TIMES = re.compile(
    rf"GPU Compute Time: min = {NUMBER} ms, max = {NUMBER} ms, mean = {NUMBER} ms, "
    rf"median = {NUMBER} ms,.*percentile\(99%\) = {NUMBER} ms")
TENSORRT = re.compile(r"\[TensorRT v([0-9]+)\]")


def get_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", required=True, help="file for the result")
    parser.add_argument("--model", required=True, help="the .om, or trtexec's .onnx")
    parser.add_argument("--batch", type=int, required=True, help="images per run")
    parser.add_argument("--log", type=Path, help="perf_vision_….txt of the benchmark tool")
    parser.add_argument("--chips", type=int, help="chips of the card, of which the benchmark tool "
                        "times one (default: 4 for a model for Ascend310, else 1)")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="-- and the call of trtexec")
    args = parser.parse_args(argv)
    args.command = args.command[1:] if args.command[:1] == ["--"] else args.command
    if bool(args.command) == bool(args.log):
        parser.error("give either --log, or a command after --")
    return args


def parse_benchmark(text, batch, chips):
    """The benchmark tool's file → as bench.parse(); the fps is that of all chips of the card."""
    found = INTERFACE.search(text)
    if not found:
        raise cli.Failure("the benchmark tool's file has no `Interface throughputRate`",
                          "look at the tool's messages")
    return {"fps": float(found[1]) * chips, "batch": batch, "device": "NPU", "chips": chips}


def parse_trtexec(log, batch):
    """trtexec's log → as bench.parse(); its queries are batches."""
    found, times, version = (pattern.search(log) for pattern in (QPS, GPU_TIMES, TENSORRT))
    if not found:
        raise cli.Failure("trtexec's log has no throughput line", "look at its messages above")
    result = {"fps": float(found[1]) * batch, "qps": float(found[1]), "batch": batch,
              "device": "GPU", "engine": "tensorrt", "precision": "fp16",
              "engine_version": version[1] if version else ""}
    if times:
        result["ms"] = dict(zip(bench.MS, map(float, times.groups())))
    return result


def gpu():
    """The GPU's name; None where nvidia-smi does not tell."""
    try:
        done = subprocess.run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"],
                              stdout=subprocess.PIPE, encoding="utf-8", timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip().split("\n")[0]


def main():
    args = get_args()
    links = bench.chain(args.model)
    facts = provenance.read(args.model) or {}
    if args.command:
        with measure.alone():
            log = bench.run(args.command, "trtexec")
        result = bench.median([parse_trtexec(log, args.batch)])
        onnx = {**facts, "file": args.model, "sha256": cli.sha256(args.model)}
        known = {"onnx": onnx, "demo": facts.get("demo"), **result, "gpu": gpu()}
        return bench.keep(args.json, {**known, "runner": "trtexec"}, links, [args.model])
    if not args.log.is_file():
        raise cli.Failure(f"{args.log} does not exist", "make infer")
    bench.check_batch(args.model, facts.get("batch") or args.batch, args.batch)
    chips = args.chips or (4 if facts.get("soc") == "Ascend310" else 1)
    text = args.log.read_text(encoding="utf-8", errors="replace")
    result = bench.median([parse_benchmark(text, args.batch, chips)])
    known = {**facts, **result, "runner": "benchmark"}
    bench.keep(args.json, known, links, [args.model, args.log])


if __name__ == "__main__":
    cli.run(main)
