"""ImageNet's validation images on disk, and the manifest that ties every .bin row to an image and its label.

Two layouts are read: a flat folder with `val_label.txt` (`<file name> <class index>` a line), and one folder a class
(torchvision's ImageFolder). Everything is joined by image name, never by position.
"""
from __future__ import annotations

import dataclasses
import itertools
import json
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common import cli
from common.data.rows import NONE, Files, Row, Rows, natural, once, pack, pieces, unpack

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"}  # as torchvision's ImageFolder
CLASSES = 1000
SYNSETS = Path(__file__).parent.parent / "imagenet_synsets.txt"
# ais_bench cuts result names at the first dot and newer releases refuse other characters.
SAFE_STEM = re.compile(r"[A-Za-z0-9_-]+")
PLAIN = re.compile(r"([\w-]+)(?:\.\w+)?")
IMAGES, END = ' "images": [\n', " ]\n"  # the lines of manifest.json before and after the rows


@dataclasses.dataclass(frozen=True)
class Image:
    """One image file and its class index (None when no label is known)."""

    path: Path
    label: int | None

    @property
    def stem(self):
        """The file name without its ending; the name under which bins and results are joined."""
        return self.path.stem


class Images(Sequence):
    """Image after Image, a list of them for a slice; they are made when they are asked for, as a Path takes half a kilobyte.

    rows: Rows whose row is an index into folders (Paths), file an image's stem.
    """

    def __init__(self, rows, folders):
        self.rows, self.folders = rows, folders

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, at):
        return list(self._made(self.rows[at])) if isinstance(at, slice) else next(self._made([self.rows[at]]))

    def __iter__(self):
        return self._made(self.rows)

    def _made(self, rows):
        return (Image(self.folders[folder] / name, label) for name, _, folder, label in rows)


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Images in natural order of their names, and where they came from."""

    images: Images | list
    root: Path
    layout: str
    demo: bool

    def subset(self, limit):
        """Every n-th image, `limit` in all: deterministic and spread over the classes. None keeps all."""
        if limit is None or limit >= len(self.images):
            return self
        step = len(self.images) / limit
        return dataclasses.replace(self, images=[self.images[int(i * step)] for i in range(limit)])


@dataclasses.dataclass
class Manifest:
    """What a folder of bins holds. rows: Rows, or a list of Row. files maps a bin's stem to its rows, padding included: Files,
    or a dict. info says how it was made."""

    rows: Rows | list
    files: Files | dict
    info: dict

    def save(self, folder):
        """Write `manifest.json` into the folder of bins, a row a line. Of files that all have as many rows, and are those of
        the images, it says that number alone."""
        rows, files = Rows.of(self.rows), Files.of(self.files)
        alike = len(np.unique(files.counts)) == 1 and np.array_equal(np.unique(rows.file), np.sort(files.names))
        start = json.dumps({**self.info, "files": int(files.counts[0]) if alike else dict(files)}, indent=1, ensure_ascii=False)
        with cli.whole_file(Path(folder) / "manifest.json") as part, open(part, "w", encoding="utf-8") as f:
            f.write(start[:-2] + ",\n" + IMAGES)
            for i, row in enumerate(rows):
                f.write((",\n" if i else "") + json.dumps(row, ensure_ascii=False))
            f.write("\n" + END + "}\n")

    @classmethod
    def load(cls, path):
        """Read a manifest, given its file or its folder; Failure when it is absent or damaged."""
        path = Path(path)
        path = path / "manifest.json" if path.is_dir() else path
        content = _by_line(path) or cli.read_json(path, "run the preprocessing step (make prep) to its end", object)
        try:
            rows, files = content.pop("images"), content.pop("files")
            if not isinstance(rows, (Rows, list)) or not (isinstance(files, dict) or type(files) is int):
                raise ValueError("images should be a list, files an object or a number")
            rows = rows if isinstance(rows, Rows) else Rows.of(map(_row, rows))
            files = Files.alike(rows, files) if type(files) is int else files
            kinds = {"bad": dict, "recipe": dict, "dtype": str, "demo": bool}
            odd = [k for k, kind in kinds.items() if k in content and not isinstance(content[k], kind)]
            odd += [f for f, n in files.items() if type(n) is not int] if isinstance(files, dict) else []
            files = Files.of(files)
            counts = np.append(files.counts, 0)[files.find(rows.file)]  # 0 for a file that is not known
            odd += rows.take((rows.row < 0) | (rows.row >= counts))
            if odd:
                raise ValueError(f"it has {odd[0]}")
            return cls(rows, files, content)
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as e:
            raise cli.Failure(f"{path} is no manifest ({type(e).__name__}: {e})",
                              "run the preprocessing step (make prep) again") from None

    def check_type(self, dtype, model):
        """Failure when the bins hold another type than `dtype`, which the offline model `model` takes: their size may
        fit all the same (a float image has the bytes of four uint8 ones)."""
        if self.info.get("dtype", "float32") != dtype:
            raise cli.Failure(f"the bins hold {self.info.get('dtype')}, {model} takes {dtype}",
                              "use the same INPUT= for prep and om")

    def check_bins(self, folder):
        """Failure when a bin is not in `folder`, or has not the bytes that its rows need, where the manifest says how many
        an image has."""
        files = Files.of(self.files)
        sizes = np.full(len(files), -1, np.int64)
        with os.scandir(folder) as entries:
            for bins in pieces(e for e in entries if e.name.endswith(".bin") and e.is_file()):
                for e, at in zip(bins, files.find(pack(e.name[:-4] for e in bins))):
                    if at >= 0:
                        sizes[at] = e.stat().st_size
        image = math.prod(self.info.get("shape") or [0]) * {"float32": 4, "uint8": 1}.get(self.info.get("dtype"), 0)
        need = files.counts * np.int64(image) if image else sizes
        other = (sizes >= 0) & (sizes != need)
        problems = {"missing": [f"{name}.bin" for name in unpack(files.names[sizes < 0])],
                    "of another size": [f"{name}.bin ({has} bytes, not {wants})" for name, has, wants in zip(
                        unpack(files.names[other]), sizes[other], need[other])]}
        said = [f"{len(names)} bins {what}: {some(names)}" for what, names in problems.items() if names]
        if said:
            raise cli.Failure(f"{folder}: {'; '.join(said)}",
                              f"delete {folder}/manifest.json and run the preprocessing step (make prep): it makes these again")


def _row(row):
    """A Row of a manifest's list; ValueError, TypeError when it is none."""
    row = Row(*row)
    if not (isinstance(row.image, str) and isinstance(row.file, str) and type(row.row) is int and row.label != NONE
            and (row.label is None or type(row.label) is int)):
        raise ValueError(f"it has {row}")
    return row


def _by_line(path):
    """The content of a manifest as save() wrote it, the images as Rows: the text of 50,000 and the lists in it would be 30 MB.
    None for JSON of another form, and for what is none."""
    def rows(lines):
        more = True
        for line in lines:
            if not more:
                raise ValueError("a comma is missing")
            more = line.endswith(",\n")
            yield _row(json.loads(line[:-2] if more else line))
        if more:
            raise ValueError("there is none, or a comma too many")

    try:
        with open(path, encoding="utf-8") as f:
            start = "".join(itertools.takewhile(IMAGES.__ne__, f))
            images = Rows.of(rows(itertools.takewhile(END.__ne__, f)))
            content = json.loads(f"{start}{IMAGES}{END}{f.read()}")
        return {**content, "images": images} if content["images"] == [] else None
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None


def read_labels(path):
    """Return {image stem: class index} from a `val_label.txt`; Failure naming file and line for a bad one."""
    rows = _labels(path)
    return dict(zip(unpack(rows.file), rows.label.tolist()))


def _labels(path):
    """read_labels() as Rows, in the file's order; an image's name is its stem there."""
    def rows(lines):
        for number, line in enumerate((line for text in lines for line in text.splitlines()), 1):
            if not line.strip():
                continue
            stem, index = _named(line)
            if not stem or not re.fullmatch(r"[0-9]{1,9}", index) or int(index) >= CLASSES:
                raise cli.Failure(f"{path}:{number}: {short(line.strip())!r} is not `<file name> <class index>`",
                                  f"class indices go from 0 to {CLASSES - 1}")
            yield stem, stem, number, int(index)

    try:
        with open(path, encoding="utf-8-sig") as f:
            found = Rows.of(rows(f))
    except FileNotFoundError:
        raise cli.Failure(f"label file {path} does not exist",
                          "it holds a line `<file name> <class index>` for each image") from None
    except UnicodeDecodeError:
        raise cli.Failure(f"label file {path} is not text", "give the val_label.txt of the dataset") from None
    if not found:
        raise cli.Failure(f"label file {path} is empty", "give the val_label.txt of the dataset")
    first = once(found.file)
    if not first.all():
        found, again = found.take(first), found
        first = found.take(Files(found.file, found.row).find(again.file))
        for i in np.flatnonzero(again.label != first.label)[:1]:
            raise cli.Failure(f"{path}:{again.row[i]}: {some([again[i].file])} is labelled {again.label[i]} here and "
                              f"{first.label[i]} in line {first.row[i]}", "keep the right one")
    return Rows(found.file, found.file, np.zeros_like(found.row), found.label)


def _named(line):
    """(image stem, what stands behind it) of a line of labels."""
    name, _, index = line.strip().replace("\t", " ").rpartition(" ")
    plain = PLAIN.fullmatch(name.strip())
    return plain[1] if plain else Path(name.strip()).stem, index  # Python keeps room for the name of every Path there was


def find(root, label_file=None):
    """Return the Dataset under `root`, in either layout; Failure that lists by name whatever does not add up.

    `root` is the folder of images (or of class folders), or its parent when the folder is called `val` or `images`.
    A flat folder takes its labels from `label_file`, else from a `val_label.txt` in it or beside it; without one the
    labels are None.
    """
    root = Path(root)
    if not root.is_dir():
        raise cli.Failure(f"image folder {root} does not exist", "set DATA= to the folder that holds val/ or the images")
    folder = next((root / sub for sub in ("val", "images") if (root / sub).is_dir()), root)
    names, folders = _scan(folder)
    demo = any((d / "DEMO.txt").exists() for d in (folder, folder.parent))
    if names and folders:
        raise cli.Failure(f"{folder} holds images ({names[0]}, …) and folders ({folders[0]}, …)",
                          "give either a flat folder or one with a folder for each class")
    problems = {}
    if names:
        rows = Rows.of(_rows(names, 0, None))
        if label_file is None:
            label_file = next((f for f in (folder / "val_label.txt", folder.parent / "val_label.txt") if f.exists()), None)
        if label_file:
            labels = _labels(label_file)
            at = Files(labels.file, labels.row).find(rows.file)
            rows.label, left = _join(labels, at)
            problems = {f"images without a label in {label_file}": unpack(rows.image[at < 0]),
                        f"labels in {label_file} without an image": sorted(unpack(labels.file[left]))}
        images = Images(rows, [folder])
    elif folders:
        nested, classes = [], class_index(folders)

        def inside():
            for at, (name, index) in enumerate(classes.items()):
                names, below = _scan(folder / name)
                nested.extend(f"{name}/{b}" for b in below)
                yield from _rows(names, at, index)
        images = Images(Rows.of(inside()), [folder / name for name in classes])
        problems = {"folders inside a class folder": nested}
    else:
        raise cli.Failure(f"no images in {folder}", "DATA= takes a flat folder of images, or one with a folder for each class")
    _complain(folder, images, problems)
    if not images:
        raise cli.Failure(f"the class folders in {folder} hold no images", "is the dataset unpacked?")
    images.rows = images.rows.take(np.argsort(pack(natural(row.image) for row in images.rows)))
    return Dataset(images, root, "flat" if names else "folders", demo)


def _join(labels, at):
    """Labels of images, int32 (len(at),), NONE where `at`, an index into `labels` (Rows), is -1; and a mask of the labels that
    no image has."""
    left = np.ones(len(labels) + 1, bool)
    left[at] = False
    return np.append(labels.label, NONE)[at], left[:-1]


def labelled(source, manifest=None):
    """The Manifest of the images that `source` labels: a `val_label.txt`, or the images' folder in either layout.

    `manifest` (file or folder) says which row of which result is which image, and how the bins were made; without one,
    an image's result is the file with its stem. Labels come from `source` alone: an image that it does not know has none,
    and one that only it knows has no result, unless the manifest is of a subset. Failure when the two name different
    labels for an image.
    """
    source = Path(source)
    if source.is_dir():
        data = find(source)
        demo = data.demo
        labels = data.images.rows.take(data.images.rows.label != NONE)
        labels.row[:] = 0
    else:
        labels, demo = _labels(source), (source.parent / "DEMO.txt").exists()
    if not labels:
        raise cli.Failure(f"the images in {source} have no labels", "give a folder for each class, or a label file")
    stems = Files.alike(labels, 1)
    if manifest is None:
        return Manifest(labels, stems, {"demo": demo})

    known = Manifest.load(manifest)
    # of each image the index of its label, -1 without one; of images of one name, which cannot be, the first has it
    names = pack(os.path.splitext(row.image)[0] for row in known.rows)
    at = stems.find(names)
    at[~once(names)] = -1
    (label, left), before = _join(labels, at), known.rows.label
    differ = [f"{known.rows[i].image} ({label[i]}, not {before[i]})"
              for i in np.flatnonzero((label != NONE) & (before != NONE) & (label != before))]
    if differ:
        raise cli.Failure(f"{len(differ)} labels of {source} are not those that the preprocessing found: {some(differ)}",
                          "give the labels of these images, or preprocess them again (make prep)")
    known.rows.label = label
    if not known.info.get("limit"):
        left &= _join(labels, stems.find(pack(Path(name).stem for name in known.info.get("bad") or ())))[1]
        if left.any():
            known.rows += labels.take(left)
    return known


def class_index(names):
    """Return {folder name: class index}: the official index among ImageNet's 1000 when all names are its synsets
    (also for a subset of them), else the position in sorted order, as torchvision's ImageFolder counts."""
    official = {s: i for i, s in enumerate(SYNSETS.read_text().split())}
    if all(n in official for n in names):
        return {n: official[n] for n in sorted(names)}
    return {n: i for i, n in enumerate(sorted(names))}


def _rows(names, folder, label):
    return (Row(name, os.path.splitext(name)[0], folder, label) for name in names)


def _scan(folder):
    """Names of the image files and of the sub-folders of a folder, sorted, hidden ones left out."""
    with os.scandir(folder) as entries:
        kinds = {"file": [], "folder": [], "other": []}
        for entry in entries:
            kind = _kind(entry)
            if not entry.name.startswith(".") and (
                    kind == "folder" or os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES):
                kinds[kind].append(entry.name)
    if kinds["other"]:
        others = [os.path.join(folder, name) for name in sorted(kinds["other"])]
        raise cli.Failure(f"not a file, but a pipe or device: {some(others)}", "move it away")
    return sorted(kinds["file"]), sorted(kinds["folder"])


def _kind(entry):
    """What an os.DirEntry is: file, folder or other. A link is what it leads to; one that leads nowhere counts as a file, and
    so comes to be listed among the images that cannot be read."""
    try:
        if entry.is_dir():
            return "folder"
        return "file" if entry.is_file() or entry.is_symlink() and not entry.stat() else "other"
    except OSError:
        return "file"


def _complain(folder, images, problems):
    """Raise one Failure that names everything that does not add up."""
    def path(row):
        return os.path.relpath(images.folders[row.row] / row.image, folder)

    rows, twice = images.rows, {}
    at = Files.alike(rows.take(~once(rows.file)), 1).find(rows.file)  # -1 for a name that is used once
    for stem, row in zip(at[at >= 0].tolist(), rows.take(at >= 0)):
        twice.setdefault(stem, []).append(path(row))
    problems["names used twice (an image's name without ending must be unique)"] = list(map(" and ".join, twice.values()))
    problems["names with characters other than A-Z a-z 0-9 _ - (ais_bench cannot carry them)"] = [
        repr(path(row)) for row in rows if not SAFE_STEM.fullmatch(row.file)]
    said = [f"{len(names)} {what}: {some(names)}" for what, names in problems.items() if names]
    if said:
        raise cli.Failure(f"{folder}: " + "; ".join(said), "mend the folder or its label file; nothing was written")


def some(names, most=5):
    """The first few names, then how many more there are: on one line, whatever the names are."""
    said = [short(str(n)) if str(n).isprintable() else repr(short(str(n))) for n in names[:most]]
    return ", ".join(said) + (f" and {len(names) - most} more" if len(names) > most else "")


def short(text, most=200):
    """`text`, cut where it would fill a screen: what stands in a file may be anything."""
    return text if len(text) <= most else f"{text[:most]}…"
