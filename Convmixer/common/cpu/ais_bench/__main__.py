"""ais_bench on a host that has no NPU: the same flags, files and lines; an embedded CPU engine runs the model.

    source common/cpu/set_env.sh
    python3 -m ais_bench --model x_bs8.om --input prep/ --output result --output_dirname x_bs8 --outfmt BIN
    python3 -m ais_bench --model x_bs8.om --loop 100          (pure inference: throughput only)

While the engine runs a batch, one thread reads the next and another writes the results of the last. The time of a batch is
the wall clock around the engine's run and nothing else; reading, padding and writing are apart (--display_all_summary 1).
A padded last batch counts as a full one, and --loop N counts N runs, as in the original.
"""
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
from common import cli  # noqa: E402  the model folder has to be on sys.path first
from common.cpu import engine, verify, which  # noqa: E402
from common.cpu.ais_bench import inputs, outputs, summary  # noqa: E402
from common.cpu.ais_bench.args import get_args  # noqa: E402
from common.cpu.ais_bench.summary import info  # noqa: E402


def load(args):
    """Return (model, path) and say what runs here."""
    path = which.find(args.model)
    model = engine.load(path)
    info(f"this is the CPU stand-in for ais_bench, no NPU is used: {model.title}, {model.precision}, {which.cpu()[0]}")
    if str(path) != str(Path(args.model)):
        info(f"{args.model} does not exist, {path} is used in its place")
    if model.meta["demo"]:
        info("the weights are a demo: the figures say nothing about the official model")
    info(f"load model {path} success")
    if args.debug:
        for side in ("inputs", "outputs"):
            for tensor in getattr(model, side):
                print(f"[DEBUG] {side[:-1]} {tensor.name} {tensor.shape} {tensor.dtype}")
    if args.batchsize is None:
        info(f"try get model batchsize:{model.meta['batch']}")
    elif args.batchsize != model.meta["batch"]:
        print(f"[WARNING] the model's batch is {model.meta['batch']}, --batchsize only scales the throughput")
    return model, path


def plan(args, model):
    """Return (batches, files_per_batch): a batch is a list of files for each input, or None in pure inference."""
    if not args.input:
        return [None], 1
    lists = inputs.listing(args.input, model.inputs)
    inputs.check_type(args.input, model.inputs[0], args.model)
    size = inputs.check(lists, model.inputs)
    if args.output:
        outputs.check_names(lists[0])
    batches = inputs.Batches(lists, size)
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


def main():
    args = get_args(description=__doc__)
    if args.debug:
        os.environ["DEBUG"] = "1"
    model, path = load(args)
    batches, files_per_batch = plan(args, model)
    folder = None
    if args.output:
        folder, json_path = outputs.make_folder(args.output, args.output_dirname)
        info(f"output path:{folder}")
    arrays = [np.zeros(t.shape, t.dtype) for t in model.inputs]
    if args.input and args.warmup_count:
        fill(arrays, batches[0])
    elif not args.input and args.pure_data_type == "random":
        arrays = [verify.sample(t, np.random.default_rng(0)) for t in model.inputs]
    for _ in range(args.warmup_count):
        model.run(arrays)
    if args.warmup_count:
        info(f"warm up {args.warmup_count} done")

    if folder:
        with cli.whole_file(json_path) as part, open(part, "w", encoding="utf-8") as f:
            record = summary.Record(f)
            times = run(args, model, batches, files_per_batch, arrays, folder, record)
            numbers = report(args, model, times)
            record.end({**summary.provenance(model, path, args.batchsize or model.meta["batch"]), **numbers})
        print(f"wrote {record.files} files to {folder}, summary in {json_path}")
    else:
        report(args, model, run(args, model, batches, files_per_batch, arrays))
        print("nothing was saved (no --output)")


def report(args, model, times):
    """Print the performance summary and return its numbers."""
    numbers = summary.report(*times, args.batchsize or model.meta["batch"], args.display_all_summary)
    info("unload model success")
    return numbers


def run(args, model, batches, files_per_batch, arrays, folder=None, record=None):
    """Run all batches; the results go to `folder` and the names into `record`, when these are given. Returns the times of
    computing, reading and writing, three lists of milliseconds."""
    compute, reading, writing = [], [], []
    buffers = [arrays, [np.zeros_like(a) for a in arrays]]

    def finish(batch, saving):
        """Wait until a batch's results are written, raise what that raised, and note the files."""
        files, elapsed = saving.result()
        writing.append(elapsed)
        for row, outfiles in enumerate(files):
            record.note([files_of_input[row] for files_of_input in batch] if batch else [], outfiles)

    # At most one batch is read ahead and one is being written, so memory does not grow with the number of files.
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        ahead = reader.submit(milliseconds, fill, buffers[0], batches[0]) if args.input else None
        behind = None
        steps = ((i, turn) for i in range(len(batches)) for turn in range(args.loop))
        for i, turn in cli.progress(steps, "Inference array Processing", len(batches) * args.loop):
            if ahead and turn == 0:
                reading.append(ahead.result()[1])
                if i + 1 < len(batches):
                    ahead = reader.submit(milliseconds, fill, buffers[(i + 1) % 2], batches[i + 1])
            results, elapsed = milliseconds(model.run, buffers[i % 2])
            compute.append(elapsed)
            if folder and turn == args.loop - 1:
                if behind:
                    finish(*behind)
                names = [outputs.stem(f) for f in batches[i][0]] if args.input else ["pure_infer_data"]
                behind = batches[i], writer.submit(milliseconds, outputs.save, folder, names, results, files_per_batch,
                                                   args.outfmt)
        if behind:
            finish(*behind)
    return compute, reading, writing


if __name__ == "__main__":
    cli.run(main)
