"""Result files: where, what they are called, what is in them."""
import os
import time
from collections import Counter
from pathlib import Path

import numpy as np

from common import cli
from common.data.rows import pack


def stem(path):
    """Return the name up to its first dot, which is what ais_bench names results by."""
    return os.path.basename(path).split(".")[0]


def check_names(files):
    """Failure when two inputs' results would have one name (the original overwrites without a word), or none."""
    stems = pack(map(stem, files))
    if len(np.unique(stems)) == len(stems) and stems.all():
        return
    counts = Counter(map(stem, files))
    for name, count in counts.items():
        same = [str(f) for f in files if stem(f) == name] if count > 1 or not name else []
        if not name:
            raise cli.Failure(f"{same[0]} has no name before its first dot", "is it left over from a step that was "
                              "interrupted? delete it")
        if count > 1:
            raise cli.Failure(f"the results of {' and '.join(same[:2])} would both be {name}_0", "rename one of them")


def make_folder(output, dirname):
    """Make and return <output>/<dirname>, or one named by the time; and the path of the summary beside it.

    Failure when the folder holds something: results of another run would be counted with those of this one.
    """
    folder = Path(output, dirname or time.strftime("%Y_%m_%d-%H_%M_%S"))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise cli.Failure(f"{folder} is not empty", "delete it, or choose another --output_dirname")
    folder.mkdir(parents=True, exist_ok=True)
    summary = folder.with_name(f"{folder.name}_summary.json")
    summary.unlink(missing_ok=True)  # that of a run whose results are gone; a half-done run must not show it
    return folder, summary


def save(folder, stems, results, files_per_batch, outfmt):
    """Write one batch: output k of the file `stem` becomes <stem>_<k>.<bin|npy|txt>; return the paths by stem.

    Outputs are cut along their first axis into as many pieces as files make a batch; pieces beyond `stems` are
    padding and are not written.
    """
    written = [[] for _ in stems]
    for k, result in enumerate(results):
        if result.ndim == 0 or result.shape[0] % files_per_batch:
            raise cli.Failure(f"save out files error array shape:{result.shape}, it cannot be cut into "
                              f"{files_per_batch} pieces", "is the first axis of every output the batch?")
        for name, piece, paths in zip(stems, np.split(result, files_per_batch), written, strict=False):
            path = folder / f"{name}_{k}.{outfmt.lower()}"
            with cli.whole_file(path) as part:
                write(part, piece, outfmt)
            paths.append(str(path))
    return written


def write(path, array, outfmt):
    """Write an array: BIN its bytes, NPY with dtype and shape, TXT a line for each row of the last axis.

    TXT has six decimals (whole numbers none), and a space after every value, the last one too.
    """
    if outfmt == "BIN":
        array.tofile(path)
    elif outfmt == "NPY":
        with open(path, "wb") as f:  # np.save would add .npy to another ending
            np.save(f, array)
    else:
        pattern = ("%d " if array.dtype.kind in "iub" else "%f ") * array.shape[-1] + "\n"
        rows = array.reshape(-1, array.shape[-1]).tolist()
        Path(path).write_text("".join(pattern % tuple(row) for row in rows), encoding="ascii")
