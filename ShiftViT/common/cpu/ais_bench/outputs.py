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
        other = first.setdefault(stem(file), file)
        if other != file:
            raise cli.Failure(f"the results of {other} and {file} would have one name",
                              "rename one of them")


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
    axis, six decimals, and a space after every value, the last one too."""
    if outfmt == "BIN":
        array.tofile(path)
    elif outfmt == "NPY":
        with open(path, "wb") as f:  # np.save would add .npy to another ending
            np.save(f, array)
    else:
        line = "%f " * array.shape[-1] + "\n"
        rows = array.reshape(-1, array.shape[-1]).tolist()
        Path(path).write_text("".join(line % tuple(row) for row in rows), encoding="ascii")


def report(times, batchsize):
    """Print the summary of `times` in milliseconds; return its part of the JSON.

    It is called CPU_compute_time: there is no NPU to report under the original's name. The line of
    further percentiles is not in the original.
    """
    values = {"min": np.min(times), "max": np.max(times), "mean": np.mean(times),
              "median": np.median(times), "percentile(99%)": np.percentile(times, 99)}
    values = {name: round(float(value), 5) for name, value in values.items()}
    more = {f"percentile({n}%)": round(float(np.percentile(times, n)), 5) for n in (90, 95)}
    throughput = 1000 * batchsize / float(np.mean(times))
    info("-----------------Performance Summary------------------")
    info(f"CPU_compute_time (ms): {', '.join(f'{k} = {v}' for k, v in values.items())}")
    info(f"also (ms): {', '.join(f'{k} = {v}' for k, v in more.items())}")
    info(f"throughput 1000*batchsize.mean({batchsize})/CPU_compute_time.mean({values['mean']}): "
         f"{throughput:.5f}")
    info("------------------------------------------------------")
    return {"CPU_compute_time": {**values, **more, "count": len(times)}, "throughput": throughput,
            "cpu_compute_time_list": times}
