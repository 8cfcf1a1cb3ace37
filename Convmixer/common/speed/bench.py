"""Run ais_bench's pure inference, and keep its throughput with what produced it.

    python3 -m common.speed.bench --json build/perf_bs8.json --model build/m_bs8.blob \
        --batch 8 --seconds 5 --repeats 3 -- python3 -m ais_bench --model build/m_bs8.blob

The batch is the offline model's own, as ais_bench prints it: --batchsize, which only scales the
figure, is refused, and so is a model of another batch than --batch.
With --again the runs join those that --json has already: a sweep's second round, minutes later.
With --seconds the flag that makes the command compute for so long is added to it; without, the
command's own --loop counts. On a CPU by --seconds, several batches at once are timed too.
What --model was made from is checked before (common/provenance.py). Timings on one host
wait for each other: two at a time would spoil each other's figures.
"""
from __future__ import annotations

import argparse
import json
import math
import re
import subprocess
import sys
from pathlib import Path

from common import cli, provenance, toolchain
from common.speed import measure

NUMBER = r"([0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?)"
# Older releases print batchsize(8), newer ones batchsize.mean(8); the stand-in names the CPU.
THROUGHPUT = re.compile(r"throughput 1000\*batchsize(?:\.mean)?\((\d+)[^)]*\)"
                        rf"/(NPU|CPU)_compute_time\.mean\([^)]*\): {NUMBER}")
TIMES = re.compile(rf"(?:NPU|CPU)_compute_time \(ms\): min = {NUMBER}, max = {NUMBER}, "
                   rf"mean = {NUMBER}, median = {NUMBER}, percentile\(99%\) = {NUMBER}")
MORE = re.compile(rf"also \(ms\): percentile\(90%\) = {NUMBER}, percentile\(95%\) = {NUMBER}")
SEVERAL = re.compile(r"^several at once: (\{.*\})$", re.MULTILINE)
FOR_PEOPLE = r"^(?!several at once: \{)"
SUMMARY = re.compile(rf"summary throughput:\s*{NUMBER}")
MS = ("min", "max", "mean", "median", "p99")
# The most that repeats may differ, and that other programs may take of the CPUs. An idle
# host has a few percent.
MOST = {"spread": 0.04, "others": 0.1}
AGAIN = "--again"
FIRST = "5"  # trial runs on an NPU, from which the --loop for --seconds is computed


def get_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", required=True, help="file for the result")
    parser.add_argument("--model", required=True, help="offline model that the command runs")
    parser.add_argument("--batch", type=int, help="that the figure is to be for")
    parser.add_argument("--repeats", type=int, default=1,
                        help="runs of the command; the median one counts (default: 1)")
    parser.add_argument("--seconds", type=float,
                        help="time to compute for, all repeats together")
    parser.add_argument(AGAIN, action="store_true",
                        help="join what --json has, where that is of the same model and command")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="-- and the command")
    args = parse_args(parser, argv)
    if any(word.startswith("--batchs") for word in args.command):
        parser.error("leave out --batchsize: it scales the figure, whatever the model's batch is")
    if args.seconds is not None and not 0 < args.seconds < 1e6:
        parser.error("give --seconds above 0")
    return args


def parse_args(parser, argv):
    """What a parser with --model, --repeats and the command after -- gives; exit 2 where the
    command is none, or does not run --model. (The stand-in takes x.om for x.blob.)"""
    args = parser.parse_args(argv)
    args.command = args.command[1:] if args.command[:1] == ["--"] else args.command
    if not args.command or args.repeats < 1:
        parser.error("give the command after --, and --repeats of 1 or more")
    model = Path(args.model).with_suffix("")
    if model not in [Path(word.rpartition("=")[2]).with_suffix("") for word in args.command]:
        parser.error("the command is to run --model")
    return args


def check_batch(model, batch, wanted):
    """Failure when an offline model that is for `batch` is to be timed as one for `wanted`."""
    if batch != wanted:
        raise cli.Failure(f"{model} is for batch {batch}, not for {wanted}", f"BS={batch}")


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
        more = MORE.search(log)
        if more:
            result["ms"].update(p90=float(more[1]), p95=float(more[2]))
    return result


def counted(perf, name):
    """`name` of what computed a figure, with how many of them where there were several."""
    devices = perf.get("devices", 1)
    return f"{devices} × {name}" if devices > 1 else name


def noise(result):
    """Why a figure means little, as text; "" when it is sound."""
    texts = {"spread": "the repeats differ by {:.0%}",
             "others": "other programs took {:.0%} of the CPUs"}
    return " and ".join(text.format(result[key]) for key, text in texts.items()
                        if (result.get(key) or 0) > MOST[key])


def reasons(perf):
    """noise() of both figures of a perf_….json: one batch at a time, and several at once."""
    several = noise(perf.get("several") or {})
    return "; ".join(filter(None, [noise(perf), several and f"several at once: {several}"]))


def noted(why):
    """The end of a figure's line: `why` it is noisy, nothing for ""."""
    return f" — noisy: {why}; measure again on an idle host" if why else ""


def chain(artefact, todo="make om"):
    """{path: SHA-256} of what `artefact` was made from, compared with what is at hand: Failure
    with `todo` at the first misfit; a note where there is no record of it."""
    if provenance.record_path(artefact).exists():
        return provenance.check(artefact, todo)
    print(f"note: {artefact} has no record, so what it was made from is not checked")
    return {}


def run(command, name, on_npu=False):
    """Run `command`; show and return what it prints. Failure when it fails."""
    # What an NPU's tools say on stderr explains a failure; the stand-in's bar moves there.
    status, log = cli.tee(command, subprocess.STDOUT if on_npu else None)
    if not status:
        return log
    why, todo = f"it ended with status {status}", "see its messages above"
    if on_npu:
        from common.ascend import errors

        why, todo = errors.explain(log, status)
    raise cli.Failure(f"{name} failed: {why}", todo)


def for_seconds(command, seconds, on_npu):
    """`command` with the flag that makes it compute for so many seconds."""
    if not on_npu:
        return [*command, "--seconds", str(seconds)]
    first = parse(run([*command, "--loop", FIRST], "ais_bench", on_npu))
    each = first["batch"] * first.get("devices", 1) / first["fps"]
    return [*command, "--loop", str(max(1, math.ceil(seconds / each)))]


def at_once(model, batch, seconds):
    """{"fps", "requests", "repeats", "spread", "difference"} of several batches at once, as
    common/cpu/several.py has it, and "others"; None, and a note, where it cannot be had."""
    others = measure.Others()
    status, log = cli.tee([sys.executable, "-m", "common.cpu.several", "--model", model,
                           "--batch", str(batch), "--seconds", str(seconds)], None, FOR_PEOPLE)
    found = SEVERAL.search(log)
    if status or not found:
        print("note: no figure of several batches at once, for the reason above")
        return None
    return {**json.loads(found[1]), "others": others.share()}


def median(runs, busy=None):
    """The run of median throughput, with "repeats" and "spread" of all, and "others" as given."""
    runs = sorted(runs, key=lambda run: run["fps"])
    fps = [run["fps"] for run in runs]
    middle = runs[(len(runs) - 1) // 2]
    spread = (fps[-1] - fps[0]) / middle["fps"] if len(runs) > 1 else None
    return {**middle, "repeats": fps, "spread": spread, "others": busy}


def joined(before, now):
    """The median() of two rounds as one: all repeats, the most that others took, everything else
    from the round whose fps is nearer to the joint median. If one is None, the other is
    returned."""
    if not before or not now:
        return now or before
    busy = [part["others"] for part in (before, now) if part.get("others") is not None]
    fps = [{"fps": each} for each in before["repeats"] + now["repeats"]]
    both = median(fps, max(busy, default=None))
    nearer = min(before, now, key=lambda part: abs(part["fps"] - both["fps"]))
    return {**nearer, **both}


def first_round(file, arguments=None):
    """The JSON that --again joins: None where there is none, or one made otherwise."""
    if provenance.misfit(file, arguments):
        return None
    return cli.read_json(file, "delete it")


def arguments():
    """Those of this program, the same for each round of a sweep."""
    return [word for word in sys.argv[1:] if word != AGAIN]


def keep(file, known, links, inputs):
    """Write `known` (a median() and what the record of its model says) as the JSON `file`, with
    what it comes from: `links` of chain(), and the files `inputs`. Print the figure."""
    made = provenance.made(file, inputs, arguments())
    why = reasons(known)
    cli.write_json(file, {**known, "noise": why, **measure.conditions(), "chain": links,
                          "made": made})
    what = [known.get("engine", "ascend"), known.get("precision", "?"),
            counted(known, known["device"]), "compute only"]
    if known.get("demo"):
        what.insert(0, "demo weights")
    if "ms" in known:
        what.append(f"{known['ms']['min']:.1f}…{known['ms']['max']:.1f} ms")
    several = known.get("several")
    also = f"; {several['fps']:.1f} with {several['requests']} at once" if several else ""
    print(f"{known['fps']:.1f} fps at batch {known['batch']} ({', '.join(what)}){also}{noted(why)}")


def main():
    args = get_args()
    links = chain(args.model)
    facts = provenance.read(args.model) or {}
    on_npu = toolchain.on_npu(args.model, facts)
    command, several = args.command, None
    if on_npu:
        from common.ascend import chip

        chip.check_om(args.model)
    with measure.alone():
        if args.seconds:
            command = for_seconds(command, args.seconds / args.repeats, on_npu)
        others = measure.Others()
        runs = [parse(run(command, "ais_bench", on_npu)) for _ in range(args.repeats)]
        busy = others.share()
        if args.seconds and facts.get("device") == "CPU":
            several = at_once(args.model, runs[0]["batch"], args.seconds)
    result = median(runs, busy if runs[0]["device"] == "CPU" else None)
    wanted = args.batch or facts.get("batch") or result["batch"]
    check_batch(args.model, result["batch"], wanted)
    if result["device"] == "CPU":  # the stand-in's log says so of a GPU too
        result["device"] = facts.get("device", "CPU")
    # An .om for several batches may be slower than one for this batch: two figures, told apart.
    runner = "ais_bench --dymBatch" if facts.get("gears") else "ais_bench"
    before = first_round(args.json, arguments()) if args.again else None
    if before:
        several = joined(before.get("several"), several)
        result = joined({key: before.get(key) for key in result}, result)
    keep(args.json, {**facts, **result, "several": several, "runner": runner}, links, [args.model])


if __name__ == "__main__":
    cli.run(main)
