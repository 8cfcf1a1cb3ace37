"""Input files: which, in what order, how many make a batch, and their bytes."""
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common import cli
from common.data import dataset
from common.data.rows import natural, pack, pieces, unpack

ENDINGS = (".bin", ".BIN", ".npy", ".NPY")


class Paths(Sequence):
    """The files of a folder as paths (str), a list of them for a slice. names: packed, since 50,000 paths are 5 MB."""

    def __init__(self, folder, names):
        self.folder, self.names = folder, names

    def __len__(self):
        return len(self.names)

    def __getitem__(self, at):
        if isinstance(at, slice):
            return [os.path.join(self.folder, name) for name in unpack(self.names[at])]
        return self[at:at + 1 or None][0]

    def __iter__(self):
        for names in pieces(self.names):
            yield from (os.path.join(self.folder, name) for name in unpack(np.array(names)))


class Batches(Sequence):
    """Batch after batch: a list of at most `size` paths of each of the `lists`, which have as many each."""

    def __init__(self, lists, size):
        self.lists, self.size = lists, size

    def __len__(self):
        return -(-len(self.lists[0]) // self.size)

    def __getitem__(self, at):
        return [files[at * self.size:(at + 1) * self.size] for files in self.lists]


def _inside(folder):
    """Paths of the .bin and .npy files in `folder`, in natural order."""
    names = [name for name in os.listdir(folder) if name.endswith(ENDINGS)]
    return Paths(folder, pack(names)[np.argsort(pack(map(natural, names)))])


def listing(text, inputs):
    """Return the paths (str), a sequence for each of the model's `inputs`; `text` is what --input says.

    That is a folder an input (its .bin and .npy files in natural order, no sub-folders; other files are left out), or
    files with commas between, shared out evenly. Failure when there are none, or not as many for each input.
    """
    paths = [Path(n) for n in ([text] if Path(text).exists() else text.split(","))]
    for path in paths:
        if not path.exists():
            raise cli.Failure(f"--input {path} does not exist", "run the preprocessing (`make prep`), or check --input")
    if all(p.is_dir() for p in paths) and len(paths) == len(inputs):
        lists = [_inside(p) for p in paths]
    elif all(p.is_file() and p.name.endswith(ENDINGS) for p in paths) and len(paths) % len(inputs) == 0:
        share = len(paths) // len(inputs)
        lists = [list(map(str, paths[i:i + share])) for i in range(0, len(paths), share)]
    else:
        raise cli.Failure(f"--input {text} does not fit a model with {len(inputs)} input(s)",
                          "give a folder an input, or .bin/.npy files with commas between")
    if not all(lists) or len({len(files) for files in lists}) != 1:
        counts = ", ".join(f"{p}: {len(files)}" for p, files in zip(paths, lists, strict=False))
        raise cli.Failure(f"too few .bin or .npy files ({counts})", "run the preprocessing (`make prep`)")
    return lists


def check_type(folder, tensor, model):
    """Failure when the manifest beside the bins names another type than the model's; a model that takes bytes needs one,
    because four of its images have the size of a float one. Bins without a manifest have no type to look at."""
    folder = Path(folder.split(",")[0])
    if (folder / "manifest.json").is_file():
        manifest = dataset.Manifest.load(folder)
        manifest.check_type(tensor.dtype.name, model)
        manifest.check_bins(folder)
    elif tensor.dtype == np.uint8:
        raise cli.Failure(f"{folder} has no manifest.json, so whether its bins hold bytes, as {model} takes, cannot be known",
                          "make them with the preprocessing script and --input uint8")


def check(lists, inputs):
    """Return how many files make a batch: the size of an input's tensor over the size of its first file.

    All files are looked at before the first is run. Failure when a tensor is no whole number of files, when the inputs
    disagree, when a file has another size than the first, or an .npy another dtype than the model.
    """
    counts = []
    for i, (files, tensor) in enumerate(zip(lists, inputs, strict=True)):
        need, first = tensor.nbytes, _size(files[0], tensor)
        if first == 0 or need % first:
            raise cli.Failure(f"[ERROR] arg{i} tensorsize: {need} filesize: {first} not match: {files[0]} is no whole "
                              f"part of {tensor.name} {tensor.shape} {tensor.dtype.name}",
                              "preprocess again, one image a file, or compile for the batch that the file holds")
        for file in files:
            if (size := _size(file, tensor)) != first:
                raise cli.Failure(f"{file} has {size} bytes, {files[0]} has {first}", "preprocess it again")
        counts.append(need // first)
    if len(set(counts)) != 1:
        raise cli.Failure(f"a batch takes {counts} files of the inputs", "give files of as many rows for each input")
    return counts[0]


def read(files, buffer):
    """Fill `buffer`, an array of one input's shape and dtype, with a batch of files.

    A short last batch is padded with its first file, as the original pads; the caller writes no results for that.
    """
    rows = memoryview(buffer).cast("B")
    done = 0
    for file in files:
        done += _read_into(file, rows[done:])
    size = done // len(files)
    while done < len(rows):
        rows[done:done + size] = rows[:size]
        done += size


def _is_npy(file):
    return str(file).lower().endswith(".npy")


def _npy(file):
    try:
        return np.load(file, mmap_mode="r", allow_pickle=False)
    except OSError:
        raise
    except Exception as e:  # numpy's reader has a dozen kinds of errors for a damaged header
        raise cli.Failure(f"{file} is not an array ({' '.join(str(e).split())[:200]})", "preprocess it again") from e


def _size(file, tensor):
    """Return the bytes of content; those of a .bin have no dtype to look at."""
    if not _is_npy(file):
        return os.stat(file).st_size
    array = _npy(file)
    if array.dtype != tensor.dtype:
        raise cli.Failure(f"{file} holds {array.dtype}, the model takes {tensor.dtype}", "preprocess it again")
    return array.nbytes


def _read_into(file, rows):
    if _is_npy(file):
        content = np.ascontiguousarray(_npy(file)).reshape(-1).view(np.uint8)
        rows[:content.nbytes] = memoryview(content)
        return content.nbytes
    with open(file, "rb", buffering=0) as f:
        return f.readinto(rows[:os.fstat(f.fileno()).st_size])
