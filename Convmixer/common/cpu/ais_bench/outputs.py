"""What a run leaves: result files, the performance summary, and the JSON beside the results."""
import os
import time
from pathlib import Path

import numpy as np

from common import cli


def info(text):
    """Print a line as the original's logger does."""
    print(f"[INFO] {text}", flush=True)


def stem(path):
    """The name up to its first dot, which is what ais_bench names results by."""
    return os.path.basename(path).split(".")[0]


def check_names(files):
    """Failure when two inputs' results would have one name (the original overwrites silently)."""
    first = {}
    for file in files:
        name = stem(file)
        if not name:
            raise cli.Failure(f"{file} has no name before its first dot",
                              "is it left over from a step that was interrupted? delete it")
        if name in first:
            raise cli.Failure(f"the results of {first[name]} and {file} would both be {name}_0",
                              "rename one of them")
        first[name] = file


def make_folder(output, dirname):
    """Make <output>/<dirname>, or one named by the time; (that folder, path of its summary).

    Failure when it holds something: results of another run would be counted with those of this.
    """
    folder = Path(output, dirname or time.strftime("%Y_%m_%d-%H_%M_%S"))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise cli.Failure(f"{folder} is not empty", "delete it, or choose another --output_dirname")
    folder.mkdir(parents=True, exist_ok=True)
    summary = folder.with_name(f"{folder.name}_summary.json")
    summary.unlink(missing_ok=True)  # that of a run whose results are gone
    return folder, summary


def save(folder, stems, results, files_per_batch, outfmt):
    """Write one batch: output k of the file `stem` becomes <stem>_<k>.<bin|npy|txt>.

    Outputs are cut along their first axis into as many pieces as files make a batch; pieces beyond
    `stems` are padding and are not written. Returns a list of paths for each stem.
    """
    written = [[] for _ in stems]
    for k, result in enumerate(results):
        if result.ndim == 0 or result.shape[0] % files_per_batch:
            raise cli.Failure(f"save out files error array shape:{result.shape}, it cannot be cut "
                              f"into {files_per_batch} pieces",
                              "is the first axis of every output the batch?")
        pieces = np.split(result, files_per_batch)
        for name, piece, paths in zip(stems, pieces, written, strict=False):
            path = folder / f"{name}_{k}.{outfmt.lower()}"
            with cli.whole_file(path) as part:
                write(part, piece, outfmt)
            paths.append(str(path))
    return written


def write(path, array, outfmt):
    """Write an array: BIN its bytes, NPY with dtype and shape, TXT a line for each row of the last
    axis, six decimals (whole numbers none), and a space after every value, the last one too."""
    if outfmt == "BIN":
        array.tofile(path)
    elif outfmt == "NPY":
        with open(path, "wb") as f:  # np.save would add .npy to another ending
            np.save(f, array)
    else:
        number = "%d " if array.dtype.kind in "iub" else "%f "
        line = number * array.shape[-1] + "\n"
        rows = array.reshape(-1, array.shape[-1]).tolist()
        Path(path).write_text("".join(line % tuple(row) for row in rows), encoding="ascii")


def statistics(times):
    """Min, max, mean, median and 99th percentile of `times` in milliseconds, and their count."""
    values = {"min": np.min(times), "max": np.max(times), "mean": np.mean(times),
              "median": np.median(times), "percentile(99%)": np.percentile(times, 99)}
    return {**{k: round(float(v), 5) for k, v in values.items()}, "count": len(times)}


def report(compute, reading, writing, batchsize, show_all):
    """Print the summary of three lists of milliseconds; return its part of the JSON.

    The names are CPU_compute_time, file_read_time and file_write_time: there are no NPU and no
    transfers to report under the original's names.
    """
    parts = {"CPU_compute_time": compute, "file_read_time": reading, "file_write_time": writing}
    numbers = {name: statistics(times) for name, times in parts.items() if times}
    mean = numbers["CPU_compute_time"]["mean"]
    throughput = 1000 * batchsize / float(np.mean(compute))
    info("-----------------Performance Summary------------------")
    for name, stats in numbers.items():
        if show_all or name == "CPU_compute_time":
            shown = ", ".join(f"{k} = {v}" for k, v in stats.items() if k != "count")
            info(f"{name} (ms): {shown}")
    info(f"throughput 1000*batchsize.mean({batchsize})/CPU_compute_time.mean({mean}): "
         f"{throughput:.5f}")
    info("------------------------------------------------------")
    return {**numbers, "throughput": throughput, "cpu_compute_time_list": compute}
