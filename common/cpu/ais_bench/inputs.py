"""Input files: which make a batch, and their bytes."""
import os
from pathlib import Path

import numpy as np

from common import cli
from common.cpu.ais_bench.outputs import info

AGAIN = "run the preprocessing (`make prep`), or check --input"


def batches(folder, tensor, model):
    """(lists of the .bin paths (str) in `folder`, how many files a full list has).

    That is the size of the model's input, an engine.Tensor, over the size of the first file. All
    files are looked at before the first is run. Failure when there are none, when the input is no
    whole number of files, and when a file has another size than the first.
    """
    if not Path(folder).is_dir():
        raise cli.Failure(f"--input {folder} is no folder", AGAIN)
    # Hidden ones are left over from an interrupted step.
    files = sorted(map(str, Path(folder).glob("[!.]*.bin")))
    if not files:
        raise cli.Failure(f"--input {folder} has no .bin files", AGAIN)
    check_type(Path(folder), tensor, model)
    need, first = np.zeros(tensor.shape, tensor.dtype).nbytes, os.path.getsize(files[0])
    if first == 0 or need % first:
        raise cli.Failure(
            f"[ERROR] arg0 tensorsize: {need} filesize: {first} not match: {files[0]} is no "
            f"whole part of {tensor.shape} {tensor.dtype.name}",
            "preprocess again, one image in each file, or compile for the file's batch")
    odd = [file for file in files if os.path.getsize(file) != first]
    if odd:
        raise cli.Failure(f"{odd[0]} has {os.path.getsize(odd[0])} bytes, {files[0]} has {first}",
                          "preprocess it again")
    count = need // first
    lists = [files[start:start + count] for start in range(0, len(files), count)]
    info(f"get filesperbatch files0 size:{first} tensor0size:{need} filesperbatch:{count} "
         f"runcount:{len(lists)}")
    return lists, count


def check_type(folder, tensor, model):
    """Failure when the manifest beside the bins does not fit the model.

    A model that takes bytes needs one, because four of its images have the size of a float one.
    Bins without a manifest have no type to look at.
    """
    if (folder / "manifest.json").is_file():
        from common.data import manifest

        about = manifest.Manifest.load(folder)
        about.check_type(tensor.dtype.name, model)
        about.check_bins(folder)
    elif tensor.dtype == np.uint8:
        raise cli.Failure(
            f"{folder} has no manifest.json, so it cannot be known whether its bins hold bytes, as "
            f"{model} takes", "make them with the preprocessing script and --input uint8")


def read(files, buffer):
    """Fill `buffer`, an array of the input's shape and dtype, with a batch of files.

    A short last batch is padded with its first file, as the original pads; the caller writes no
    results for that.
    """
    rows = buffer.reshape(-1).view(np.uint8)
    size = os.path.getsize(files[0])
    for i in range(len(rows) // size):
        file = files[i] if i < len(files) else files[0]
        with open(file, "rb", buffering=0) as f:
            if f.readinto(rows[i * size:(i + 1) * size]) != size:
                raise cli.Failure(f"{file} became shorter while it was read", AGAIN)
