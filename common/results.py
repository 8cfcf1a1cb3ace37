"""What the inference tool wrote (BIN, NPY or TXT) → logits by image.

ais_bench writes `<stem>_0.bin|npy|txt`, the older benchmark tool `<stem>_1.…`; with several devices the files lie in
`device{N}/` (newer releases: `device{N}_{i}/`) inside the run's folder. Files are joined to images by stem through the
manifest, never by position.
"""
import dataclasses
import filecmp
import io
import json
import os
import re
from collections import Counter
from pathlib import Path

import numpy as np

from common import cli
from common.dataset import CLASSES, some

ONNX = re.compile(rb'"onnx": {\s*"file": "([^"]*)",\s*"sha256": "([0-9a-f]{64})"')
NAME = re.compile(r"(.+)_[01]\.(bin|npy|txt)", re.DOTALL)
DEVICE = re.compile(r"device\d+(_\d+)?")
# What the two tools leave beside the results: timings, and the output of a run on no input.
NOT_RESULTS = re.compile(r"\..*|.*_summary\.json|pure_infer_data_.*|perf_vision_.*|PureInfer_perf_.*", re.DOTALL)


@dataclasses.dataclass
class Results:
    """logits: float32 (len(manifest.rows), classes), a row of NaN where there is none. missing: images without a result
    file; extra: files that belong to no bin of the manifest; broken: {file: reason}. kind: e.g. "float32 bin"."""

    folder: Path
    logits: np.ndarray
    missing: list
    extra: list
    broken: dict
    kind: str


def read(folder, manifest, classes=CLASSES):
    """Read all results of a run; `folder` is the run's own or the parent of that one run. Returns Results.

    A file holds all rows of its bin, padding included: as BIN raw float32 or float16 (told apart by the size), as NPY
    float16/32/64, as TXT one line a row or all in one line. Whatever does not fit, is empty, holds NaN or infinity, or
    is of another kind than most files is reported in `broken` and never shortened or padded. Failure when there is no
    run, more than one, or when two files that differ claim the same stem.
    """
    folder = find_run(folder)
    found, extra = _files(folder, manifest)
    rows_of = {}
    for i, row in enumerate(manifest.rows):
        rows_of.setdefault(row.file, []).append((i, row.row))

    logits = np.full((len(manifest.rows), classes), np.nan, np.float32)
    broken, kinds = {}, {}
    stems = cli.progress(found, "read results", unit="file") if len(found) > 2000 else found
    for stem in stems:
        path = found[stem]
        try:
            values = _parse(path, manifest.files[stem], classes)
            kind = "txt" if path.suffix == ".txt" else f"{values.dtype} {path.suffix[1:]}"
            with np.errstate(over="ignore"):
                values = values.astype(np.float32, copy=False)
            if not np.isfinite(values).all():
                raise ValueError(f"holds NaN or infinity (read as {kind})")
            kinds[stem] = kind
        except OSError:
            raise
        except Exception as e:  # a file of another program: whatever its parser trips over makes it broken
            broken[str(path.relative_to(folder))] = str(e) or type(e).__name__
            continue
        for i, row in rows_of.get(stem, ()):
            logits[i] = values[row]

    # Half of a float32 file has the size of a float16 file, and an earlier run may have left files of another format.
    kind = Counter(kinds.values()).most_common(1)[0][0] if kinds else None
    for stem, other in kinds.items():
        if other != kind:
            broken[str(found[stem].relative_to(folder))] = f"is {other} where most files are {kind}"
            logits[[i for i, _ in rows_of.get(stem, ())]] = np.nan
    missing = [row.image for row in manifest.rows if row.file not in found]
    return Results(folder, logits, missing, extra, broken, kind)


def find_run(folder):
    """Return the folder that holds a run's results: `folder` itself, or the only one in it that does."""
    folder = Path(folder)
    if not folder.is_dir():
        raise cli.Failure(f"result folder {folder} does not exist", "run the inference step (make infer) first")
    if (folder / "manifest.json").exists():
        raise cli.Failure(f"{folder} holds the inputs of the inference, not its results", "give the folder it wrote to")
    runs = [d for d in (folder, *_folders(folder)) if (d is folder or not DEVICE.fullmatch(d.name)) and _is_run(d)]
    if not runs:
        raise cli.Failure(f"{folder} holds no result files (<name>_0.bin, .npy or .txt)",
                          "run the inference step (make infer) first")
    if len(runs) > 1:
        raise cli.Failure(f"{folder} holds {len(runs)} runs: {some(sorted(map(str, runs)), 10)}",
                          "give the folder of the one to score")
    return runs[0]


def manifest_of(folder):
    """The manifest beside the bins that the run in `folder` read, as the tool's summary names them: Path, or None when there
    is no summary, or no manifest where it points."""
    run = find_run(folder)
    for summary in (run.with_name(f"{run.name}_summary.json"), *sorted(run.glob("device*_summary.json"))):
        try:
            files = json.loads(summary.read_text(encoding="utf-8"))["filesinfo"]
            path = Path(next(iter(files.values()))["infiles"][0]).with_name("manifest.json")
        except (OSError, ValueError, LookupError, TypeError, AttributeError, StopIteration):
            continue
        if path.is_file():
            return path
    return None


def made_by(run):
    """(file name, SHA-256) of the ONNX file that the results in `run` are of, as the CPU stand-in's summary has it; None where
    the summary does not say, as ais_bench's own."""
    try:
        with open(run.with_name(f"{run.name}_summary.json"), "rb") as f:
            found = ONNX.search(f.read())
    except OSError:
        return None
    return (found[1].decode("utf-8", "replace"), found[2].decode()) if found else None


def _is_run(folder):
    with os.scandir(folder) as entries:
        return any(_is_result(e.name) if e.is_file() else DEVICE.fullmatch(e.name) for e in entries)


def _is_result(name):
    return NAME.fullmatch(name) and not NOT_RESULTS.fullmatch(name)


def _folders(folder):
    with os.scandir(folder) as entries:
        return sorted(Path(e.path) for e in entries if e.is_dir() and not e.name.startswith("."))


def _files(folder, manifest):
    """({stem: path} in sorted order, [names of files that belong to no bin])."""
    found, extra = {}, []
    for place in (folder, *(d for d in _folders(folder) if DEVICE.fullmatch(d.name))):
        with os.scandir(place) as entries:
            names = sorted(e.name for e in entries if e.is_file())
        for name in names:
            if NOT_RESULTS.fullmatch(name) or not name.endswith((".bin", ".npy", ".txt")):
                continue
            path, match = place / name, NAME.fullmatch(name)
            stem = match and match[1]
            if stem not in manifest.files:
                extra.append(str(path.relative_to(folder)))
            elif stem not in found:
                found[stem] = path
            # Newer ais_bench runs every file on every device, and the results are then the same.
            elif not filecmp.cmp(path, found[stem], shallow=False):
                raise cli.Failure(f"{found[stem]} and {path} are both results of {stem}, and differ",
                                  "they are of two runs or two outputs: keep one, or infer again into an empty folder")
    return found, extra


def _parse(path, rows, classes):
    """The numbers in a result file as (rows, classes), in the file's own dtype; ValueError that says what is wrong."""
    data = path.read_bytes()
    if not data:
        raise ValueError("is empty")
    if path.suffix == ".bin":
        size = rows * classes
        dtype = {size * 4: "<f4", size * 2: "<f2"}.get(len(data))
        if dtype is None:
            raise ValueError(f"is {len(data)} bytes; {rows}×{classes} is {size * 4} (float32) or {size * 2} (float16)")
        return np.frombuffer(data, dtype).reshape(rows, classes)
    if path.suffix == ".npy":
        array = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
        if array.dtype not in (np.float16, np.float32, np.float64):
            raise ValueError(f"is of type {array.dtype}, not a float")
        # (rows, classes), with any axes of length 1, or all in one axis; never classes first.
        if [n for n in array.shape if n != 1] not in ([n for n in (rows, classes) if n != 1], [rows * classes]):
            raise ValueError(f"has shape {array.shape}, not ({rows}, {classes})")
        return array.reshape(rows, classes)
    lines = [line.split() for line in data.splitlines() if line.strip()]
    if [len(line) for line in lines] not in ([classes] * rows, [rows * classes]):
        raise ValueError(f"has {len(lines)} lines, {sum(map(len, lines))} numbers, not {rows} lines of {classes}")
    return np.array([float(v) for line in lines for v in line]).reshape(rows, classes)
