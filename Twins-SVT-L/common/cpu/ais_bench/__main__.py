"""ais_bench on a host that has no NPU: the same flags, files and lines; a CPU engine computes.

    source common/cpu/set_env.sh
    python3 -m ais_bench --model x_bs8.om --input prep/ --output result --output_dirname x_bs8
    python3 -m ais_bench --model x_bs8.om --loop 100          (pure inference: throughput only)

The time of a batch is the wall clock around the engine's run and nothing else; reading, padding and
writing are apart (--display_all_summary 1). A padded last batch counts as a full one, and --loop N
counts N runs, as in the original.
"""
import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np

# The model folder has to be on sys.path before common is imported.
sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
from common import cli  # noqa: E402
from common.cpu import engine, verify, which  # noqa: E402
from common.cpu.ais_bench import inputs, outputs  # noqa: E402
from common.cpu.ais_bench.outputs import info  # noqa: E402

# Taken at these values only: what they choose is not there without an NPU, or with fixed shapes.
ELSEWHERE = {"dymBatch": "0", "dymHW": None, "dymDims": None, "dymShape": None,
             "dymShape_range": None, "outputSize": None, "auto_set_dymshape_mode": False,
             "auto_set_dymdims_mode": False, "profiler": False, "dump": False,
             "acl_json_path": None, "run_mode": "array", "output_batchsize_axis": "0"}
KEPT = ("engine", "engine_version", "device", "cpu", "precision", "batch", "onnx", "demo")


def boolean(text):
    """The truth that `text` spells; booleans take a value, as in `--debug 1`."""
    if text.lower() in ("yes", "true", "t", "y", "1"):
        return True
    if text.lower() in ("no", "false", "f", "n", "0"):
        return False
    raise argparse.ArgumentTypeError("give 1 or 0")


def at_least(low):
    """An argparse type: a whole number not below `low`."""
    def number(text):
        if not text.isdecimal() or int(text) < low:
            raise argparse.ArgumentTypeError(f"give a whole number, {low} or more")
        return int(text)
    return number


def get_args(argv=None):
    """The command line of ais_bench 0.0.2; unambiguous prefixes of flags are taken, as there."""
    p = argparse.ArgumentParser("ais_bench", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", "-m", required=True,
                   help=".blob or .ort; for x.om the one beside it is taken")
    p.add_argument("--input", "-i", help="folder of .bin/.npy, or files with commas between; "
                   "none: pure inference")
    p.add_argument("--output", "-o", help="parent folder of the results; none: nothing is saved")
    p.add_argument("--output_dirname", help="folder in --output (default: date and time)")
    p.add_argument("--outfmt", choices=("BIN", "NPY", "TXT"), default="BIN",
                   help="format of the result files")
    p.add_argument("--loop", "-l", type=at_least(1), default=1, help="executions on each batch")
    p.add_argument("--warmup_count", type=at_least(0), default=1,
                   help="executions before the clock starts")
    p.add_argument("--batchsize", type=at_least(1),
                   help="only scales the throughput (default: the model's batch)")
    p.add_argument("--pure_data_type", choices=("zero", "random"), default="zero",
                   help="input of pure inference")
    p.add_argument("--device", "-d", default="0", help="0…255, without effect: there is one CPU")
    p.add_argument("--display_all_summary", type=boolean, default=False,
                   help="1: times of reading and writing too")
    p.add_argument("--debug", type=boolean, default=False,
                   help="1: describe the model, show tracebacks")
    for name, default in ELSEWHERE.items():
        p.add_argument(f"--{name}", type=boolean if default is False else str, default=default,
                       help="not on the CPU stand-in")
    args = p.parse_args(argv)
    check_args(args)
    return args


def check_args(args):
    """Usage for what the stand-in does not have, and for folders elsewhere."""
    for name, default in ELSEWHERE.items():
        if getattr(args, name) != default:
            raise cli.Usage(f"--{name} is not on the CPU stand-in",
                            "omit it, or run on an Ascend host")
    if not (args.device.isdecimal() and int(args.device[:9]) <= 255):
        raise cli.Usage(f"--device {args.device}: the CPU stand-in has one device",
                        "give one of 0…255")
    if args.output_dirname is not None and not args.output:
        raise cli.Usage("error bad parameters --output_dirname", "it needs --output, its parent")
    folder = Path(args.output_dirname or "results")
    if folder.is_absolute() or ".." in folder.parts or folder == Path():
        raise cli.Usage(f"--output_dirname {folder} is no folder in --output",
                        "give a name without .. or leading /")


def load(args):
    """Return (model, path), and say what runs here."""
    path = which.find(args.model)
    model = engine.load(path)
    info(f"this is the CPU stand-in for ais_bench, no NPU is used: {model.title}, "
         f"{model.precision}, {which.cpu()[0]}")
    if str(path) != str(Path(args.model)):
        info(f"{args.model} does not exist, {path} is used in its place")
    if model.meta["demo"]:
        info("the weights are a demo: the figures say nothing about the official model")
    info(f"load model {path} success")
    for side in ("inputs", "outputs") if args.debug else ():
        for tensor in getattr(model, side):
            print(f"[DEBUG] {side[:-1]} {tensor.name} {tensor.shape} {tensor.dtype}")
    if args.batchsize is None:
        info(f"try get model batchsize:{model.meta['batch']}")
    elif args.batchsize != model.meta["batch"]:
        print(f"[WARNING] the model's batch is {model.meta['batch']}, --batchsize only scales the "
              "throughput")
    return model, path


def plan(args, model):
    """(batches, files in a batch); a batch is a list of files for each input, None in pure
    inference."""
    if not args.input:
        return [None], 1
    lists = inputs.listing(args.input, model.inputs)
    inputs.check_type(args.input, model.inputs[0], args.model)
    size = inputs.check(lists, model.inputs)
    if args.output:
        outputs.check_names(lists[0])
    starts = range(0, len(lists[0]), size)
    batches = [[files[start:start + size] for files in lists] for start in starts]
    need = model.inputs[0].nbytes
    info(f"get filesperbatch files0 size:{need // size} tensor0size:{need} filesperbatch:{size} "
         f"runcount:{len(batches)}")
    return batches, size


def milliseconds(function, *args):
    """Call and return (result, wall clock in milliseconds)."""
    start = time.perf_counter()
    result = function(*args)
    return result, (time.perf_counter() - start) * 1000


def fill(arrays, batch):
    """Read a batch's files into the arrays that the model takes."""
    for array, files in zip(arrays, batch, strict=True):
        inputs.read(files, array)


def warm_up(args, model, first):
    """Run the model before the clock starts; the arrays that it takes."""
    arrays = [np.zeros(t.shape, t.dtype) for t in model.inputs]
    if args.input:
        fill(arrays, first)
    elif args.pure_data_type == "random":
        arrays = [verify.sample(t, np.random.default_rng(0)) for t in model.inputs]
    for _ in range(args.warmup_count):
        model.run(arrays)
    if args.warmup_count:
        info(f"warm up {args.warmup_count} done")
    return arrays


def run(args, model, batches, size, arrays, folder):
    """Run all batches; the results go to `folder` when there is one.

    Returns ({number of the input: its files and results}, the times of computing, reading and
    writing: three lists of milliseconds).
    """
    compute, reading, writing, names = [], [], [], {}
    for batch in cli.progress(batches, "Inference array Processing"):
        if batch:
            reading.append(milliseconds(fill, arrays, batch)[1])
        for _ in range(args.loop):
            results, elapsed = milliseconds(model.run, arrays)
            compute.append(elapsed)
        if not folder:
            continue
        stems = [outputs.stem(file) for file in batch[0]] if batch else ["pure_infer_data"]
        files, elapsed = milliseconds(outputs.save, folder, stems, results, size, args.outfmt)
        writing.append(elapsed)
        for row, outfiles in enumerate(files):
            infiles = [of_input[row] for of_input in batch] if batch else []
            names[str(len(names))] = {"infiles": infiles, "outfiles": outfiles}
    return names, (compute, reading, writing)


def main():
    args = get_args()
    if args.debug:
        os.environ["DEBUG"] = "1"
    model, path = load(args)
    batches, size = plan(args, model)
    folder = None
    if args.output:
        folder, summary = outputs.make_folder(args.output, args.output_dirname)
        info(f"output path:{folder}")
    arrays = warm_up(args, model, batches[0])
    names, times = run(args, model, batches, size, arrays, folder)
    batchsize = args.batchsize or model.meta["batch"]
    numbers = outputs.report(*times, batchsize, args.display_all_summary)
    info("unload model success")
    if not folder:
        print("nothing was saved (no --output)")
        return
    about = {key: model.meta[key] for key in KEPT}
    cli.write_json(summary, {"filesinfo": names, "args": sys.argv, "pid": os.getpid(),
                             "model": str(path), "batchsize": batchsize, **about, **numbers})
    written = sum(len(entry["outfiles"]) for entry in names.values())
    print(f"wrote {written} files to {folder}, summary in {summary}")


if __name__ == "__main__":
    cli.run(main)
