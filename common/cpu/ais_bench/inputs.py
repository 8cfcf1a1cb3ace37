"""Input files: which, in what order, how many make a batch, and their bytes."""
import os
import re
from pathlib import Path

import numpy as np

from common import cli

ENDINGS = (".bin", ".BIN", ".npy", ".NPY")


def natural(name):
    """Sorting key: letters without case, runs of digits as numbers, as the original sorts."""
    parts = re.split(r"(\d+)", name.lower())
    return [int(part) if i % 2 else part for i, part in enumerate(parts)]


def inside(folder):
    """Paths (str) of the .bin and .npy files in `folder`, in natural order."""
    names = [name for name in sorted(os.listdir(folder)) if name.endswith(ENDINGS)]
    return [os.path.join(folder, name) for name in sorted(names, key=natural)]


def listing(text, inputs):
    """The paths (str), a list for each of the model's `inputs`; `text` is what --input says.

    That is a folder for each input (its .bin and .npy files, no sub-folders; other files are left
    out), or files with commas between, shared out evenly. Failure when there are none, or not as
    many for each input.
    """
    paths = [Path(n) for n in ([text] if Path(text).exists() else text.split(","))]
    for path in paths:
        if not path.exists():
            raise cli.Failure(f"--input {path} does not exist",
                              "run the preprocessing (`make prep`), or check --input")
    if all(p.is_dir() for p in paths) and len(paths) == len(inputs):
        lists = [inside(p) for p in paths]
    elif all(p.name.endswith(ENDINGS) for p in paths) and len(paths) % len(inputs) == 0:
        share = len(paths) // len(inputs)
        lists = [list(map(str, paths[i * share:(i + 1) * share])) for i in range(len(inputs))]
    else:
        raise cli.Failure(f"--input {text} does not fit a model with {len(inputs)} input(s)",
                          "give a folder for each, or .bin/.npy files with commas between")
    if not all(lists) or len({len(files) for files in lists}) != 1:
        counts = ", ".join(str(len(files)) for files in lists)
        raise cli.Failure(f"--input {text}: too few .bin or .npy files ({counts})",
                          "run the preprocessing (`make prep`)")
    return lists


def check_type(text, tensor, model):
    """Failure when the manifest beside the bins does not fit the model.

    A model that takes bytes needs one, because four of its images have the size of a float one.
    Bins without a manifest have no type to look at.
    """
    folder = Path(text.split(",")[0])
    if (folder / "manifest.json").is_file():
        from common.data import manifest

        about = manifest.Manifest.load(folder)
        about.check_type(tensor.dtype.name, model)
        about.check_bins(folder)
    elif tensor.dtype == np.uint8:
        raise cli.Failure(
            f"{folder} has no manifest.json, so it cannot be known whether its bins hold bytes, as "
            f"{model} takes", "make them with the preprocessing script and --input uint8")


def check(lists, inputs):
    """How many files make a batch: the size of an input's tensor over the size of its first file.

    All files are looked at before the first is run. Failure when a tensor is no whole number of
    files, when the inputs disagree, when a file has another size than the first, or an .npy another
    dtype than the model.
    """
    counts = set()
    for i, (files, tensor) in enumerate(zip(lists, inputs, strict=True)):
        need, first = tensor.nbytes, size_of(files[0], tensor)
        if first == 0 or need % first:
            raise cli.Failure(
                f"[ERROR] arg{i} tensorsize: {need} filesize: {first} not match: {files[0]} is no "
                f"whole part of {tensor.name} {tensor.shape} {tensor.dtype.name}",
                "preprocess again, one image in each file, or compile for the file's batch")
        for file in files:
            size = size_of(file, tensor)
            if size != first:
                raise cli.Failure(f"{file} has {size} bytes, {files[0]} has {first}",
                                  "preprocess it again")
        counts.add(need // first)
    if len(counts) != 1:
        raise cli.Failure(f"a batch takes {sorted(counts)} files of the inputs",
                          "give files of as many rows for each input")
    return counts.pop()


def read(files, buffer):
    """Fill `buffer`, an array of one input's shape and dtype, with a batch of files.

    A short last batch is padded with its first file, as the original pads; the caller writes no
    results for that.
    """
    rows = buffer.reshape(-1).view(np.uint8)
    done = 0
    for file in files:
        content = array_of(file).reshape(-1).view(np.uint8)
        rows[done:done + content.size] = content
        done += content.size
    size = done // len(files)
    while done < len(rows):
        rows[done:done + size] = rows[:size]
        done += size


def array_of(file):
    """What a file holds: of a .bin the bytes, of an .npy the array, in C order."""
    if not file.lower().endswith(".npy"):
        return np.fromfile(file, np.uint8)
    try:
        return np.ascontiguousarray(np.load(file, allow_pickle=False))
    except OSError:
        raise
    except Exception as e:  # numpy's reader has a dozen kinds of errors for a damaged header
        raise cli.Failure(f"{file} is not an array ({cli.short(str(e))})",
                          "preprocess it again") from e


def size_of(file, tensor):
    """The bytes of content of a file; those of a .bin have no dtype to look at."""
    if not file.lower().endswith(".npy"):
        return os.stat(file).st_size
    array = array_of(file)
    if array.dtype != tensor.dtype:
        raise cli.Failure(f"{file} holds {array.dtype}, the model takes {tensor.dtype}",
                          "preprocess it again")
    return array.nbytes
