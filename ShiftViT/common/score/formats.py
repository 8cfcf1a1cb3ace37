"""One result file → its numbers: BIN, NPY and TXT as the inference tools write them."""
import io

import numpy as np


def parse(path, rows, classes):
    """(kind, float32 (rows, classes)) of a result file; ValueError that says what is wrong."""
    with open(path, "rb") as f:
        data = f.read()
    if not data:
        raise ValueError("is empty")
    ending = str(path)[-3:]
    values = {"bin": of_bin, "npy": of_npy, "txt": of_txt}[ending](data, rows, classes)
    kind = "txt" if ending == "txt" else f"{values.dtype} {ending}"
    if values.dtype != np.float32:
        with np.errstate(over="ignore"):
            values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError(f"holds NaN or infinity (read as {kind})")
    return kind, values


def of_bin(data, rows, classes):
    """Raw numbers; float32 and float16 are told apart by the size."""
    size = rows * classes
    dtype = {size * 4: "<f4", size * 2: "<f2"}.get(len(data))
    if dtype is None:
        raise ValueError(f"is {len(data)} bytes; {rows}×{classes} is {size * 4} (float32) or "
                         f"{size * 2} (float16)")
    return np.frombuffer(data, dtype).reshape(rows, classes)


def of_npy(data, rows, classes):
    """Floats: (rows, classes) with any axes of length 1, or in one axis; never classes first."""
    array = np.load(io.BytesIO(data), allow_pickle=False)
    if array.dtype not in (np.float16, np.float32, np.float64):
        raise ValueError(f"is of type {array.dtype}, not a float")
    axes = [n for n in array.shape if n != 1]
    if axes not in ([n for n in (rows, classes) if n != 1], [rows * classes]):
        raise ValueError(f"has shape {array.shape}, not ({rows}, {classes})")
    return array.reshape(rows, classes)


def of_txt(data, rows, classes):
    """Numbers in text: a line per row, or all in one line. The tools end each with a blank."""
    if not data.strip():
        raise ValueError("holds 0 numbers")
    values = np.loadtxt(io.BytesIO(data), np.float64, ndmin=2, comments=None)
    if values.shape not in ((rows, classes), (1, rows * classes)):
        raise ValueError(f"has {len(values)} lines, {values.size} numbers, "
                         f"not {rows} lines of {classes}")
    if not data[-1:].isspace():
        *before, last = (len(number.partition(b".")[2]) for number in data.split())
        if len(set(before)) == 1 and last < before[0]:
            raise ValueError("ends inside a number")
    return values.reshape(rows, classes)
