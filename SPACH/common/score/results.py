"""What the inference tool wrote (BIN, NPY or TXT) → logits by image.

ais_bench writes `<stem>_0.bin|npy|txt`, the older benchmark tool `<stem>_1.…`; with several devices the files lie in
`device{N}/` (newer releases: `device{N}_{i}/`) inside the run's folder. Files are joined to images by stem through the
manifest, never by position.
"""
import dataclasses
import filecmp
import io
import itertools
import json
import mmap
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from common import cli
from common.data.dataset import CLASSES, some
from common.data.rows import Files, Rows, pack, pieces, unpack

ONNX = re.compile(rb'"onnx": {\s*"file": "([^"]*)",\s*"sha256": "([0-9a-f]{64})"')
DEVICE = re.compile(r"device\d+(_\d+)?")
# What the two tools leave beside the results: timings, and the output of a run on no input.
NOT_RESULTS = re.compile(r"\.|pure_infer_data_|perf_vision_|PureInfer_perf_")
NAME = re.compile(rf"(?!{NOT_RESULTS.pattern})(.+)(_[01]\.(?:bin|npy|txt))", re.DOTALL)
FIRST_INPUT = re.compile(rb'"infiles":\s*\[\s*("(?:[^"\\]|\\.)*")')
AT_A_TIME = 128  # images; enough that numpy's own cost a call does not count, few enough for a processor's cache
WAITING = 16  # times as many that wait for a thread; each is a kilobyte
THREADS = min(4, os.cpu_count() or 1)


@dataclasses.dataclass
class Results:
    """sound: bool (len(manifest.rows),), which images have a good result. missing: images without a result file; extra:
    files that belong to no bin of the manifest; broken: {file: reason}. kind: e.g. "float32 bin". logits: see read()."""

    folder: Path
    sound: np.ndarray
    missing: list
    extra: list
    broken: dict
    kind: str
    logits: np.ndarray = None


def read(folder, manifest, classes=CLASSES):
    """each() for few images: Results with `logits` float32 (len(manifest.rows), classes), a row of NaN where not sound."""
    logits = np.full((len(manifest.rows), classes), np.nan, np.float32)
    run = each(folder, manifest, logits.__setitem__, classes)
    logits[~run.sound] = np.nan
    return dataclasses.replace(run, logits=logits)


def each(folder, manifest, use, classes=CLASSES):
    """Read all results of a run, some at a time; `folder` is the run's own or the parent of that one run. Returns Results.

    use(images, logits) gets int (n,), indices into manifest.rows, and float32 (n, classes). It is called from several
    threads, for every image that has a result once; which of them are sound is known at the end.

    A file holds all rows of its bin, padding included: as BIN raw float32 or float16 (told apart by the size), as NPY
    float16/32/64, as TXT one line a row or all in one line. Whatever does not fit, is empty, holds NaN or infinity, or
    is of another kind than most files is reported in `broken` and never shortened or padded. Failure when there is no
    run, more than one, or when two files that differ claim the same stem.
    """
    folder = find_run(folder)
    rows, files = Rows.of(manifest.rows), Files.of(manifest.files)
    place, places, extra = _files(folder, files)
    of = files.find(rows.file)  # of each image: index of its file, -1 without a result
    of[np.append(place, -1)[of] < 0] = -1
    broken, kinds = {}, []
    kind_of = np.full(len(rows), -1, np.int8)  # index into kinds

    def paths(of):
        return [stem.join(places[at]) for stem, at in zip(unpack(files.names[of]), place[of].tolist())]

    def work(part):
        """Read and use the results of some images (a range of indices); return {kind: images} and {broken file: reason}."""
        images = part.start + np.flatnonzero(of[part.start:part.stop] >= 0)
        here, which = np.unique(of[images], return_inverse=True)  # files, and of each image the index of its own among them
        names, counts = paths(here), files.counts[here].tolist()
        alike = _together(names, set(counts), classes)
        if alike:
            kind, logits = alike
            use(images, logits[which, rows.row[images]])
            return {kind: images}, {}
        kinds_here, bad = {}, {}
        for i, (name, count) in enumerate(zip(names, counts)):
            try:
                kind, logits = _parse(name, count, classes)
            except OSError:
                raise
            except Exception as e:  # a file of another program: whatever its parser trips over makes it broken
                bad[os.path.relpath(name, folder)] = str(e) or type(e).__name__
                continue
            mine = images[which == i]
            use(mine, logits[rows.row[mine]])
            kinds_here.setdefault(kind, []).extend(mine)
        return kinds_here, bad

    # glibc then keeps what numpy frees, where it otherwise has the system map and clear new pages for each of its arrays:
    # freeing a mapped block raises M_MMAP_THRESHOLD and M_TRIM_THRESHOLD (mallopt(3)). Half of the time of TXT.
    np.empty(1 << 24, np.uint8)
    parts = [range(i, min(i + AT_A_TIME, len(rows))) for i in range(0, len(rows), AT_A_TIME)]
    with ThreadPoolExecutor(THREADS) as pool:
        done = itertools.chain.from_iterable(pool.map(work, group) for group in pieces(parts, WAITING))
        for kinds_here, bad in cli.progress(done, "read results", len(parts)) if len(rows) > 2000 else done:
            broken.update(bad)
            for kind, images in kinds_here.items():
                kinds += [] if kind in kinds else [kind]
                kind_of[images] = kinds.index(kind)

    # Half of a float32 file has the size of a float16 file, and an earlier run may have left files of another format.
    most = int(np.bincount(kind_of[kind_of >= 0]).argmax()) if kinds else len(kinds)
    for i in np.flatnonzero((kind_of >= 0) & (kind_of != most)):
        broken[os.path.relpath(paths(of[i:i + 1])[0], folder)] = f"is {kinds[kind_of[i]]} where most files are {kinds[most]}"
    return Results(folder, kind_of == most, unpack(rows.image[of < 0]), extra, broken, kinds[most] if kinds else None)


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
            with open(summary, "rb") as f:  # of 50,000 files it is large, and its first lines are enough
                first = FIRST_INPUT.search(mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ))
            path = Path(json.loads(first[1])).with_name("manifest.json")
        except (OSError, ValueError, TypeError):
            continue
        if path.is_file():
            return path
    return None


def made_by(run):
    """(file name, SHA-256) of the ONNX file that the results in `run` are of, as the CPU stand-in's summary has it; None where
    the summary does not say, as ais_bench's own."""
    try:
        with open(run.with_name(f"{run.name}_summary.json"), "rb") as f:
            found, last = None, b""
            for block in iter(lambda: f.read(1 << 16), b""):  # of 50,000 files it is 10 MB, and that stands at the end
                found = ONNX.search(last + block)
                if found:
                    break
                last = block[-(1 << 13):]
    except OSError:
        return None
    return (found[1].decode("utf-8", "replace"), found[2].decode()) if found else None


def _is_run(folder):
    with os.scandir(folder) as entries:
        return any((NAME if e.is_file() else DEVICE).fullmatch(e.name) for e in entries)


def _folders(folder):
    with os.scandir(folder) as entries:
        return sorted(Path(e.path) for e in entries if e.is_dir() and not e.name.startswith("."))


def _files(folder, files):
    """(int32 (len(files),), an index into the next or -1 where there is no result; [(folder with its slash, ending)]; [names of
    result files that belong to no bin])."""
    place, places, extra = np.full(len(files), -1, np.int32), {}, []
    folders = [folder]  # and those of devices, which are found on the way through it
    for where in folders:
        devices, where = [], os.path.join(where, "")
        for names in pieces(_result_files(where, devices)):
            matches = [NAME.fullmatch(name) for name in names]
            of = files.find(pack(match[1] if match else "" for match in matches)).tolist()
            for name, match, at in zip(names, matches, of):
                if not match or at < 0:
                    extra += [] if NOT_RESULTS.match(name) else [os.path.relpath(where + name, folder)]
                elif place[at] < 0:
                    place[at] = places.setdefault((where, match[2]), len(places))
                else:  # Newer ais_bench runs every file on every device, and the results are then the same.
                    other = match[1].join(list(places)[place[at]])
                    if not filecmp.cmp(where + name, other, shallow=False):
                        raise cli.Failure(
                            f"{other} and {where}{name} are both results of {match[1]}, and differ",
                            "they are of two runs or two outputs: keep one, or infer again into an empty folder")
        if len(folders) == 1:
            folders += sorted(devices)
    return place, list(places), sorted(extra)


def _result_files(folder, devices):
    """Names of files in a folder that may be results; paths of the devices' folders there are added to the list `devices`."""
    with os.scandir(folder) as entries:
        for e in entries:
            if e.name.endswith((".bin", ".npy", ".txt")) and e.is_file():
                yield e.name
            elif DEVICE.fullmatch(e.name) and e.is_dir():
                devices.append(e.path)


def _together(paths, rows, classes):
    """(kind, float32 (files, rows, classes)) of files that are alike and sound, many times faster than one by one; None when
    they are not, be it by one byte: _parse() then says of which and why. rows: a set, of one number when all hold as many."""
    endings = {path[-3:] for path in paths}
    if len(rows) != 1 or len(endings) != 1:
        return None
    (ending,), (rows,) = endings, rows
    contents = [_start(path, 256 + 16 * rows * classes) for path in paths]
    if ending == "txt":
        values = _printed(contents, rows, classes)
        return None if values is None else ("txt", values)
    try:
        first = PARSERS[ending](contents[0], rows, classes)
    except Exception:
        return None
    head = contents[0][:10 + int.from_bytes(contents[0][8:10], "little")] if ending == "npy" else b""
    size = len(head) + first.nbytes
    if not first.flags.c_contiguous or any(len(c) != size or not c.startswith(head) for c in contents):
        return None
    a_file = np.dtype({"names": ["values"], "formats": [(first.dtype, (rows, classes))], "offsets": [len(head)],
                       "itemsize": size})
    values = _float32(np.frombuffer(b"".join(contents), a_file)["values"])
    return (f"{first.dtype} {ending}", values) if np.isfinite(values).all() else None


def _start(path, size):
    """The first `size` bytes of a file, in half the time of open(): 50,000 times that counts."""
    file = os.open(path, os.O_RDONLY)
    try:
        return os.read(file, size)
    finally:
        os.close(file)


def _float32(values):
    with np.errstate(over="ignore"):
        return values.astype(np.float32, copy=False)


def _printed(texts, rows, classes):
    """The numbers in TXT files as "%f " prints them, one row a line: float32 (files, rows, classes), or None when that is not
    exactly what they hold.

    They are float()'s, computed for many at a time: the digits left and right of each point as whole numbers, then one
    division, which rounds as float() does.
    """
    text = np.frombuffer(b"0000" + b"".join(texts), np.uint8)
    point = np.flatnonzero(text == ord("."))
    if len(point) != len(texts) * rows * classes:
        return None
    # Six digits and a space follow each point, a line break the last of a line, the next file the last of a file.
    last = point[classes - 1::classes]
    length = np.empty_like(point)  # of what stands before the point: a minus or none, one to four digits
    length[0] = point[0] - 4
    length[1:] = point[1:] - point[:-1] - 8
    length[classes::classes] -= 1
    if length.min() < 1 or length.max() > 4 or last[-1] + 9 != len(text) or (text[last + 8] != ord("\n")).any() or (
            text[7:].take(point) != ord(" ")).any() or (last[rows - 1::rows] + 5 != np.cumsum([len(t) for t in texts])).any():
        return None
    minus = text.take(point - length) == ord("-")
    digit = text - np.uint8(ord("0"))
    is_digit = digit < 10
    if np.count_nonzero(is_digit) + 2 * len(point) + len(last) + np.count_nonzero(minus) != len(text):
        return None  # there are other characters than those looked at
    digit *= is_digit
    two = digit[:-1] * np.uint8(10) + digit[1:]  # the number that the digits at a place and the next one make
    four = np.multiply(two[:-2], 100, dtype=np.uint16) + two[2:]  # numpy 1 would take uint8 * np.uint16(100) for uint8
    point -= 4
    value = two.take(point) * (100. * (length > 2)) + two[2:].take(point)
    value *= 1e6
    value += four[5:].take(point) * 100. + two[9:].take(point)
    value /= 1e6
    np.negative(value, out=value, where=minus)
    return value.astype(np.float32).reshape(-1, rows, classes)


def _parse(path, rows, classes):
    """What a result file is, e.g. "float16 bin", and its numbers, float32 (rows, classes); ValueError that says what is
    wrong."""
    data, ending = Path(path).read_bytes(), path[-3:]
    if not data:
        raise ValueError("is empty")
    values = PARSERS[ending](data, rows, classes)
    kind = "txt" if ending == "txt" else f"{values.dtype} {ending}"
    values = _float32(values)
    if not np.isfinite(values).all():
        raise ValueError(f"holds NaN or infinity (read as {kind})")
    return kind, values


def _bin(data, rows, classes):
    size = rows * classes
    dtype = {size * 4: "<f4", size * 2: "<f2"}.get(len(data))
    if dtype is None:
        raise ValueError(f"is {len(data)} bytes; {rows}×{classes} is {size * 4} (float32) or {size * 2} (float16)")
    return np.frombuffer(data, dtype).reshape(rows, classes)


def _npy(data, rows, classes):
    array = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    if array.dtype not in (np.float16, np.float32, np.float64):
        raise ValueError(f"is of type {array.dtype}, not a float")
    # (rows, classes), with any axes of length 1, or all in one axis; never classes first.
    if [n for n in array.shape if n != 1] not in ([n for n in (rows, classes) if n != 1], [rows * classes]):
        raise ValueError(f"has shape {array.shape}, not ({rows}, {classes})")
    return array.reshape(rows, classes)


def _txt(data, rows, classes):
    lines = [line.split() for line in data.splitlines() if line.strip()]
    if [len(line) for line in lines] not in ([classes] * rows, [rows * classes]):
        raise ValueError(f"has {len(lines)} lines, {sum(map(len, lines))} numbers, not {rows} lines of {classes}")
    if b"_" in data:
        raise ValueError("could not convert a number with _ in it")  # float() can
    # The tools end a line with a blank. What does not, and has fewer decimals than all numbers before it, was cut off.
    *whole, last = (len(v.partition(b".")[2]) for v in lines[-1])
    if not data[-1:].isspace() and len(set(whole)) == 1 and last < whole[0]:
        raise ValueError("ends inside a number")
    return np.array([float(v) for line in lines for v in line]).reshape(rows, classes)


PARSERS = {"bin": _bin, "npy": _npy, "txt": _txt}
