"""What the inference tool wrote (BIN, NPY or TXT) → logits per image.

ais_bench writes `<stem>_0.bin|npy|txt`, the older benchmark tool `<stem>_1.…`. With several
devices the files are in `device{N}/` (newer releases: `device{N}_{i}/`) in the run's folder.
A file is joined to its images by its stem, through the manifest, never by its position.
"""
from __future__ import annotations

import dataclasses
import filecmp
import io
import os
import re
from collections import Counter
from pathlib import Path

import numpy as np

from common import cli
from common.published import IMAGENET

DEVICE = re.compile(r"device\d+(_\d+)?")
# What the two tools leave beside the results: timings, and the output of a run on no input.
NOT_RESULTS = re.compile(r"\.|pure_infer_data_|perf_vision_|PureInfer_perf_")
NAME = re.compile(rf"(?!{NOT_RESULTS.pattern})(.+)_[01]\.(bin|npy|txt)", re.DOTALL)
INFER = "run the inference step (make infer) first"


@dataclasses.dataclass
class Results:
    """What there was to read.

    sound: bool (len(manifest.rows),), which images have a good result. missing: images without
    a result file. extra: files that belong to no bin. broken: {file: reason}. logits: see read().
    """

    folder: Path
    sound: np.ndarray
    missing: list
    extra: list
    broken: dict
    logits: np.ndarray | None = None


def read(folder, manifest, classes=IMAGENET):
    """each(), with all logits kept: float32 (len(manifest.rows), classes), NaN where not sound."""
    logits = np.full((len(manifest.rows), classes), np.nan, np.float32)
    run = each(folder, manifest, logits.__setitem__, classes)
    logits[~run.sound] = np.nan
    run.logits = logits
    return run


def each(folder, manifest, use, classes=IMAGENET):
    """Read a run file by file; for each, call use(images, logits). Returns Results.

    `images` are indices into manifest.rows, `logits` is float32 (len(images), classes). A file
    holds all rows of its bin, padding included. What does not fit, is empty, holds NaN or infinity,
    or is of another kind than most files is `broken`; it is never cut or filled up. Failures are
    those of find_run() and result_files().
    """
    folder = find_run(folder)
    found, extra = result_files(folder, manifest.files)
    images = {stem: [] for stem in found}  # it stays empty for a bin that is all padding
    for i, row in enumerate(manifest.rows):
        if row.file in images:
            images[row.file].append(i)
    sound = np.zeros(len(manifest.rows), bool)
    broken, kinds = {}, {}
    for stem, path in found.items():
        try:
            kinds[stem], values = parse(path, manifest.files[stem], classes)
        except OSError:
            raise
        except Exception as e:  # another program's file: whatever its parser meets makes it broken
            broken[path] = cli.short(" ".join(str(e).split())) or type(e).__name__
            continue
        if images[stem]:
            use(images[stem], values[[manifest.rows[i].row for i in images[stem]]])
            sound[images[stem]] = True

    # Half of a float32 file has the size of a float16 one; a run may hold files of an earlier one.
    usual = Counter(kinds.values()).most_common(1)
    for stem, kind in kinds.items():
        if kind != usual[0][0]:
            broken[found[stem]] = f"is {kind} where most files are {usual[0][0]}"
            sound[images[stem]] = False
    broken = {os.path.relpath(path, folder): why for path, why in broken.items()}
    missing = [row.image for row in manifest.rows if row.file not in found]
    return Results(folder, sound, missing, sorted(extra), broken)


def parse(path, rows, classes):
    """(kind, float32 (rows, classes)) of a result file; ValueError that says what is wrong."""
    data, ending = Path(path).read_bytes(), str(path)[-3:]
    if not data.strip():
        raise ValueError("is empty")
    values = {"bin": _of_bin, "npy": _of_npy, "txt": _of_txt}[ending](data, rows, classes)
    kind = f"{values.dtype} {ending}"
    with np.errstate(over="ignore"):
        values = values.astype(np.float32, copy=False)
    if not np.isfinite(values).all():
        raise ValueError(f"holds NaN or infinity (read as {kind})")
    return kind, values.reshape(rows, classes)


def _of_bin(data, rows, classes):
    """Raw numbers; float32 and float16 are told apart by the size."""
    size = rows * classes
    dtype = {size * 4: "<f4", size * 2: "<f2"}.get(len(data))
    if dtype is None:
        raise ValueError(f"is {len(data)} bytes; {rows}×{classes} is {size * 4} (float32) or "
                         f"{size * 2} (float16)")
    return np.frombuffer(data, dtype)


def _of_npy(data, rows, classes):
    """Floats: (rows, classes) with any axes of length 1, or in one axis; never classes first."""
    array = np.load(io.BytesIO(data), allow_pickle=False)
    if array.dtype not in (np.float16, np.float32, np.float64):
        raise ValueError(f"is of type {array.dtype}, not a float")
    axes = [n for n in array.shape if n != 1]
    if axes not in ([n for n in (rows, classes) if n != 1], [rows * classes]):
        raise ValueError(f"has shape {array.shape}, not ({rows}, {classes})")
    return array


def _of_txt(data, rows, classes):
    """Numbers in text: a line per row, or all in one line. The tools end each with a blank."""
    values = np.loadtxt(io.BytesIO(data), np.float64, ndmin=2, comments=None)
    if values.shape not in ((rows, classes), (1, rows * classes)):
        raise ValueError(f"has {len(values)} lines, {values.size} numbers, "
                         f"not {rows} lines of {classes}")
    # Of a file that was cut off, the last number has fewer decimals than the others.
    if not data[-1:].isspace():
        *before, last = (len(number.partition(b".")[2]) for number in data.split())
        if len(set(before)) == 1 and last < before[0]:
            raise ValueError("ends inside a number")
    return values


def find_run(folder):
    """The folder that holds a run's results: `folder` itself, or the only one in it that does.

    Failure when there is none, or more than one.
    """
    if not os.path.isdir(folder):
        raise cli.Failure(f"result folder {folder} does not exist", INFER)
    with os.scandir(folder) as entries:
        inside = sorted(e.path for e in entries if e.is_dir() and not DEVICE.fullmatch(e.name))
    runs = [Path(place) for place in (folder, *inside)
            if any(NAME.fullmatch(name) or DEVICE.fullmatch(name) for name in os.listdir(place))]
    if not runs:
        raise cli.Failure(f"{folder} holds no result files (<name>_0.bin, .npy or .txt)", INFER)
    if len(runs) > 1:
        raise cli.Failure(f"{folder} holds {len(runs)} runs: {cli.some(runs, 10)}",
                          "give the folder of the one to score")
    return runs[0]


def result_files(folder, files):
    """({stem: path}, [files of no bin]) of a run; `files` are the stems of the bins.

    Failure when two files that differ claim one stem.
    """
    found, extra = {}, []
    names = sorted(os.listdir(folder))
    for device in filter(DEVICE.fullmatch, names[:]):
        inside = sorted(os.listdir(Path(folder, device)))
        names += [f"{device}/{name}" for name in inside]
    for name in names:
        base, path = os.path.basename(name), f"{folder}/{name}"
        match = NAME.fullmatch(base)
        if match and match[1] in files:
            first = found.setdefault(match[1], path)
            if first != path and not filecmp.cmp(first, path, shallow=False):
                raise cli.Failure(f"{first} and {path} are both results of {match[1]}, and differ",
                                  "keep those of one run and one output, or infer again")
        elif base.endswith((".bin", ".npy", ".txt")) and not NOT_RESULTS.match(base):
            extra.append(name)
    return found, extra
