"""ais_bench on a host that has no NPU: the same flags, files and lines; a CPU engine computes.

    source common/cpu/set_env.sh
    python3 -m ais_bench --model x_bs8.om --input prep/ --output result --output_dirname x_bs8
    python3 -m ais_bench --model x_bs8.om --loop 100          (pure inference: throughput only)

The time of a batch is the wall clock around the engine's run and nothing else. A padded last batch
counts as a full one, and --loop N counts N runs, as in the original. Flags for what an NPU needs
are not known here, nor those for open shapes but --dymBatch; --seconds is this stand-in's own.
"""
import argparse
import os
import sys
from pathlib import Path

import numpy as np

# The model folder has to be on sys.path before common is imported.
sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
from common import cli  # noqa: E402
from common.cpu import engine, host  # noqa: E402
from common.cpu.ais_bench import inputs, outputs, timing  # noqa: E402
from common.cpu.ais_bench.outputs import info  # noqa: E402

KEPT = ("engine", "engine_version", "device", "cpu", "precision", "batch", "onnx", "demo",
        "note")


def at_least(low):
    """An argparse type: a whole number not below `low`."""
    def number(text):
        if not text.isdecimal() or int(text) < low:
            raise argparse.ArgumentTypeError(f"give a whole number, {low} or more")
        return int(text)
    return number


def duration(text):
    """An argparse type: seconds, above 0."""
    seconds = float(text)
    if not 0 < seconds < 1e6:
        raise argparse.ArgumentTypeError("give seconds, above 0")
    return seconds


def get_args(argv=None):
    """The command line of ais_bench 0.0.2; unambiguous prefixes of flags are taken, as there."""
    p = argparse.ArgumentParser("ais_bench", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", "-m", required=True,
                   help=".blob or .ort; for x.om the one beside it is taken")
    p.add_argument("--input", "-i", help="folder of .bin files; none: pure inference, of zeros")
    p.add_argument("--output", "-o", help="parent folder of the results; none: nothing is saved")
    p.add_argument("--output_dirname", help="folder in --output (default: date and time)")
    p.add_argument("--outfmt", choices=("BIN", "NPY", "TXT"), default="BIN",
                   help="format of the result files")
    p.add_argument("--loop", "-l", type=at_least(1), default=1, help="executions on each batch")
    p.add_argument("--seconds", type=duration, help="pure inference for so long, in place of "
                   "--loop, after warming up until runs agree (not in the original)")
    p.add_argument("--warmup_count", type=at_least(0), default=1,
                   help="executions before the clock starts")
    p.add_argument("--batchsize", type=at_least(1),
                   help="only scales the throughput (default: the model's batch)")
    p.add_argument("--dymBatch", type=at_least(1),
                   help="the batch, of a model for several (atc --dynamic_batch_size)")
    p.add_argument("--device", "-d", type=at_least(0), help="without effect: there is one CPU")
    args = p.parse_args(argv)
    if args.output_dirname is not None and not args.output:
        raise cli.Usage("error bad parameters --output_dirname", "it needs --output, its parent")
    if args.seconds and args.input:
        raise cli.Usage("--seconds is for pure inference", "omit --input")
    return args


def load(args):
    """Return (model, path), and say what runs here."""
    path = host.find(args.model)
    model = engine.load(path, batch=args.dymBatch)
    info(f"this is the CPU stand-in for ais_bench, no NPU is used: {model.title}, "
         f"{model.precision}, {host.cpu()[0]}")
    if str(path) != str(Path(args.model)):
        info(f"{args.model} does not exist, {path} is used in its place")
    if model.meta["demo"]:
        info("the weights are a demo: the figures say nothing about the official model")
    if model.meta.get("note"):
        info(model.meta["note"])
    info(f"load model {path} success")
    if args.batchsize not in (None, model.meta["batch"]):
        print(f"[WARNING] the model's batch is {model.meta['batch']}, --batchsize only scales the "
              "throughput")
    return model, path


def run(args, model, batches, size, folder):
    """Run all batches; the results go to `folder` when there is one.

    A batch is a list of at most `size` files, None in pure inference. Returns ({number of the
    input: its files and results}, times of computing in milliseconds).
    """
    array = np.zeros(model.inputs[0].shape, model.inputs[0].dtype)
    if batches[0]:
        inputs.read(batches[0], array)
    if args.seconds:
        return {}, timing.for_seconds(model, array, args.seconds)
    for _ in range(args.warmup_count):
        model.run([array])
    info(f"warm up {args.warmup_count} done")
    times, names = [], {}
    for batch in cli.progress(batches, "Inference array Processing"):
        if batch:
            inputs.read(batch, array)
        for _ in range(args.loop):
            taken, results = timing.milliseconds(model, array)
            times.append(taken)
        if folder:
            stems = [outputs.stem(file) for file in batch or ["pure_infer_data"]]
            files = outputs.save(folder, stems, results, size, args.outfmt)
            for row, outfiles in enumerate(files):
                infiles = [batch[row]] if batch else []
                names[str(len(names))] = {"infiles": infiles, "outfiles": outfiles}
    return names, times


def main():
    args = get_args()
    model, path = load(args)
    batches, size, folder = [None], 1, None
    if args.input:
        batches, size = inputs.batches(args.input, model.inputs[0], args.model)
    if args.output:
        outputs.check_names([file for batch in batches for file in batch or []])
        folder, summary = outputs.make_folder(args.output, args.output_dirname)
        info(f"output path:{folder}")
    names, times = run(args, model, batches, size, folder)
    batchsize = args.batchsize or model.meta["batch"]
    numbers = outputs.report(times, batchsize)
    info("unload model success")
    if not folder:
        print("nothing was saved (no --output)")
        return
    about = {key: model.meta.get(key) for key in KEPT}
    cli.write_json(summary, {"filesinfo": names, "args": sys.argv, "pid": os.getpid(),
                             "model": str(path), "batchsize": batchsize, **about, **numbers})
    written = sum(len(entry["outfiles"]) for entry in names.values())
    print(f"wrote {written} files to {folder}, summary in {summary}")


if __name__ == "__main__":
    cli.run(main)
