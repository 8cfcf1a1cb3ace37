"""What the inference tool wrote (BIN, NPY or TXT) → logits per image.

ais_bench writes `<stem>_0.bin|npy|txt`, the older benchmark tool `<stem>_1.…`. With several
devices the files are in `device{N}/` (newer releases: `device{N}_{i}/`) in the run's folder.
A file is joined to its images by its stem, through the manifest, never by its position.
"""
from __future__ import annotations

import contextlib
import dataclasses
import filecmp
import json
import os
import re
from collections import Counter
from pathlib import Path

import numpy as np

from common import cli
from common.published import IMAGENET
from common.score import formats

DEVICE = re.compile(r"device\d+(_\d+)?")
# What the two tools leave beside the results: timings, and the output of a run on no input.
NOT_RESULTS = re.compile(r"\.|pure_infer_data_|perf_vision_|PureInfer_perf_")
NAME = re.compile(rf"(?!{NOT_RESULTS.pattern})(.+)_[01]\.(bin|npy|txt)", re.DOTALL)
INFER = "run the inference step (make infer) first"


@dataclasses.dataclass
class Results:
    """What there was to read.

    sound: bool (len(manifest.rows),), which images have a good result. missing: images without
    a result file. extra: files that belong to no bin. broken: {file: reason}. kind: what the
    files are, such as "float32 bin". logits: see read().
    """

    folder: Path
    sound: np.ndarray
    missing: list
    extra: list
    broken: dict
    kind: str | None
    logits: np.ndarray | None = None


def read(folder, manifest, classes=IMAGENET):
    """each(), with all logits kept: float32 (len(manifest.rows), classes), NaN where not sound."""
    logits = np.full((len(manifest.rows), classes), np.nan, np.float32)
    run = each(folder, manifest, logits.__setitem__, classes)
    logits[~run.sound] = np.nan
    return dataclasses.replace(run, logits=logits)


def each(folder, manifest, use, classes=IMAGENET):
    """Read a run file by file; for each, call use(images, logits). Returns Results.

    `images` are indices into manifest.rows, `logits` is float32 (len(images), classes). `folder`
    is the run's own, or the parent of that one run. A file holds all rows of its bin, padding
    included. What does not fit, is empty, holds NaN or infinity, or is of another kind than most
    files is `broken`; it is never cut or filled up. Failure when there is no run, more than one,
    or when two files that differ claim one stem.
    """
    folder = find_run(folder)
    found, extra = result_files(folder, manifest.files)
    images = {}
    for i, row in enumerate(manifest.rows):
        images.setdefault(row.file, []).append(i)
    sound = np.zeros(len(manifest.rows), bool)
    broken, kinds = {}, {}
    many = len(found) > 2000
    for stem, path in cli.progress(found.items(), "read results") if many else found.items():
        mine = images.get(stem, [])  # none for a bin that is all padding
        try:
            kinds[stem], values = formats.parse(path, manifest.files[stem], classes)
        except OSError:
            raise
        except Exception as e:  # another program's file: whatever its parser meets makes it broken
            why = cli.short(" ".join(str(e).split()))
            broken[os.path.relpath(path, folder)] = why or type(e).__name__
            continue
        if mine:
            use(mine, values[[manifest.rows[i].row for i in mine]])
            sound[mine] = True

    # Half of a float32 file has the size of a float16 one; a run may hold files of an earlier one.
    kind = Counter(kinds.values()).most_common(1)[0][0] if kinds else None
    for stem in (stem for stem in kinds if kinds[stem] != kind):
        why = f"is {kinds[stem]} where most files are {kind}"
        broken[os.path.relpath(found[stem], folder)] = why
        sound[images.get(stem, [])] = False
    missing = [row.image for row in manifest.rows if row.file not in found]
    return Results(folder, sound, missing, sorted(extra), dict(sorted(broken.items())), kind)


def find_run(folder):
    """The folder that holds a run's results: `folder` itself, or the only one in it that does."""
    folder = Path(folder)
    if not folder.is_dir():
        raise cli.Failure(f"result folder {folder} does not exist", INFER)
    if (folder / "manifest.json").exists():
        raise cli.Failure(f"{folder} holds the inputs of the inference, not its results",
                          "give the folder it wrote to")
    inside = [d for d in _folders(folder) if not DEVICE.fullmatch(d.name)]
    runs = [d for d in (folder, *inside) if _is_run(d)]
    if not runs:
        raise cli.Failure(f"{folder} holds no result files (<name>_0.bin, .npy or .txt)", INFER)
    if len(runs) > 1:
        raise cli.Failure(f"{folder} holds {len(runs)} runs: {cli.some(runs, 10)}",
                          "give the folder of the one to score")
    return runs[0]


def _folders(folder):
    with os.scandir(folder) as entries:
        names = sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))
    return [folder / name for name in names]


def _is_run(folder):
    with os.scandir(folder) as entries:
        return any((DEVICE if e.is_dir() else NAME).fullmatch(e.name) for e in entries)


def result_files(folder, files):
    """({stem: path}, [files of no bin]) of a run; `files` are the stems of the bins."""
    found, extra = {}, []
    devices = [d for d in _folders(Path(folder)) if DEVICE.fullmatch(d.name)]
    for where in (folder, *devices):
        for entry in os.scandir(where):
            if not entry.name.endswith((".bin", ".npy", ".txt")) or entry.is_dir():
                continue
            match = NAME.fullmatch(entry.name)
            if match and match[1] in files:
                first = found.setdefault(match[1], entry.path)
                if first is not entry.path and not filecmp.cmp(first, entry.path, shallow=False):
                    raise cli.Failure(f"{min(first, entry.path)} and {max(first, entry.path)} are "
                                      f"both results of {match[1]}, and differ",
                                      "they are of two runs or two outputs: keep one, or infer "
                                      "again into an empty folder")
            elif not NOT_RESULTS.match(entry.name):
                extra.append(os.path.relpath(entry.path, folder))
    return found, extra


def summary(run):
    """The JSON that ais_bench leaves beside a run's results; {} where there is none."""
    beside = run.with_name(f"{run.name}_summary.json")
    for path in (beside, *sorted(run.glob("device*_summary.json"))):
        with contextlib.suppress(OSError, ValueError, RecursionError):
            content = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(content, dict):
                return content
    return {}


def manifest_of(folder):
    """The manifest beside the bins that a run read, by its summary: a Path, None where unknown."""
    with contextlib.suppress(LookupError, TypeError, ValueError, AttributeError, StopIteration):
        first = next(iter(summary(find_run(folder))["filesinfo"].values()))["infiles"][0]
        path = Path(first).with_name("manifest.json")
        return path if path.is_file() else None
    return None
