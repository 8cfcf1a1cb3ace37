"""ImageNet's validation images on disk, and their labels.

Where there is a label file (val_label.txt) it alone labels, however deep the images lie. Without
one there is a folder for each class, as for torchvision's ImageFolder. See labels.py.
"""
from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import NamedTuple

from common import cli
from common.data import labels
from common.data.labels import LABEL_FILE
from common.data.names import in_order, is_image, is_text, passed_over
from common.published import IMAGENET

OURS = (LABEL_FILE, "DEMO.txt")
MANY = 100  # so many classes without class 0 are worth a note


class Image(NamedTuple):
    """An image: its file, its path below the folder of images (with `/`), and its class index."""

    path: str
    name: str
    label: int | None


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Images in natural order of their file names, and where they and their labels are from.

    layout is "flat" (labels from a file) or "folders"; labels_from and notes are texts for people;
    strays are files among the images whose ending is none of an image's.
    """

    images: list
    root: Path
    layout: str
    demo: bool
    labels_from: str = ""
    strays: tuple = ()
    notes: tuple = ()
    classes: int = IMAGENET
    known: tuple = ()

    def subset(self, limit):
        """Every n-th image, `limit` in all: always the same, spread over the classes. None: all."""
        if limit is None or limit >= len(self.images):
            return self
        step = len(self.images) / limit
        return dataclasses.replace(self, images=[self.images[int(i * step)] for i in range(limit)])


def find(root, label_file=None, classes=IMAGENET, labelled=True, known=()):
    """Return the Dataset under `root`; Failure that lists by name whatever does not add up.

    `root` is the folder of images or its parent when the folder is called val or images. `classes`
    is the number of the network's, `known` their names where it has some. With labelled=False
    (images to calibrate with) no labels are looked for, and they are None.
    """
    root = Path(root)
    folder = image_folder(root)
    files, strays = _walk(folder)
    names = in_order([f"{below}/{name}" if below else name
                      for below, inside in files.items() for name in inside])
    _check_names(folder, names, strays)
    found, source, notes = {}, "", []
    label_files = _label_files(root, folder, label_file, files) if labelled else []
    if label_files:
        found = _by_files(names, label_files, classes)
        source = f"labels of {os.path.relpath(label_files[0], root)}"
    elif labelled:
        found, source = labels.by_folders(folder, files, classes, known)
    if source.startswith(labels.POSITIONS):
        notes.append(source)
    distinct = set() if source.startswith("synsets") else set(found.values())
    if 0 not in distinct and len(distinct) > min(MANY, classes // 2):
        notes.append("no image has label 0: do the labels count from 1?")
    return Dataset(
        images=[Image(f"{folder}/{name}", name, found.get(name)) for name in names],
        root=root,
        layout="flat" if label_files or files[""] else "folders",
        demo=any((d / "DEMO.txt").exists() for d in (root, folder, folder.parent)),
        labels_from=source,
        strays=tuple(strays),
        notes=tuple(notes),
        classes=classes,
        known=tuple(known))


def image_folder(root):
    """The folder of images that `root` means: its sub-folder val or images, or itself."""
    root = Path(root)
    if root.is_file():
        raise cli.Failure(f"{root} is a file", "give the folder of the images (DATA=); where this "
                          "is an archive, unpack it")
    if not root.is_dir():
        raise cli.Failure(f"image folder {root} does not exist",
                          "set DATA= to the folder that holds val/ or the images")
    return next((root / sub for sub in ("val", "images") if (root / sub).is_dir()), root)


def _walk(folder):
    """({folder below `folder`: names of its images}, other files); the first folder is ""."""
    files, strays, todo = {}, [], [""]
    for below in todo:  # which grows
        files[below] = []
        with os.scandir(folder / below) as entries:
            entries = [e for e in entries if not passed_over(e.name) and e.name not in OURS]
        for entry in sorted(entries, key=lambda e: e.name):
            name = f"{below}/{entry.name}" if below else entry.name
            if _is_folder(entry):
                todo.append(name)
            elif _is_special(entry):
                raise cli.Failure(f"{entry.path} is a pipe or device", "move it away")
            elif is_image(entry.name):
                files[below].append(entry.name)
            else:
                strays.append(name)
    return files, strays


def _is_special(entry):
    """Whether a directory entry is a pipe or device, or a link to one: reading it may not end."""
    if entry.is_file(follow_symlinks=False):
        return False
    return os.path.exists(entry.path) and not os.path.isfile(entry.path)


def _is_folder(entry):
    """Whether a directory entry is a folder, or a link to one. A link that leads nowhere is a file,
    so it is listed among the images that cannot be read."""
    if not entry.is_symlink():
        return entry.is_dir()
    if not os.path.isdir(entry.path):
        return False
    real = os.path.realpath(entry.path)
    if any(real == os.path.realpath(above) for above in Path(entry.path).parents):
        raise cli.Failure(f"{entry.path} is a link to a folder that it lies in", "remove it")
    return True


def _check_names(folder, names, strays):
    if not names:
        seen = f"; it holds {cli.some(strays)}" if strays else ""
        raise cli.Failure(f"no images in {folder}{seen}", "is the dataset unpacked? DATA= takes a "
                          "folder of images, or one with a folder for each class")
    odd = [name for name in names if not is_text(name)]
    if odd:
        raise cli.Failure(f"{folder}: {len(odd)} names that are no text: {cli.some(odd)}",
                          "rename these files")


def _label_files(root, folder, given, files):
    """The label files that there are: the given one, and those in the folder and beside it."""
    beside = Path(os.path.abspath(folder)).parent
    places = [folder, beside, root, root / "images", *(folder / below for below in files)]
    candidates = [Path(given)] if given else []
    candidates += [d / LABEL_FILE for d in places if os.path.lexists(d / LABEL_FILE)]
    return list({os.path.realpath(path): path for path in candidates}.values())  # each once


def _by_files(names, label_files, classes):
    """{image: class index} by label files that agree, with each other and with synset folders."""
    found = [_by_file(names, path, classes) for path in label_files]
    for other, path in zip(found[1:], label_files[1:]):
        differ = [f"{n} ({found[0][n]} and {other[n]})" for n in names if found[0][n] != other[n]]
        if differ:
            raise cli.Failure(f"{label_files[0]} and {path} disagree: {cli.some(differ)}",
                              "keep the right one")
    synsets = labels.official() if classes == IMAGENET else {}
    differ = []
    for name in names:
        folders = [part for part in name.split("/")[:-1] if part in synsets]
        if folders and synsets[folders[-1]] != found[0][name]:
            differ.append(f"{name} ({found[0][name]}, its folder means {synsets[folders[-1]]})")
    if differ:
        raise cli.Failure(f"{label_files[0]} and the synset folders disagree: {cli.some(differ)}",
                          "remove the label file, or give the right one")
    return found[0]


def _by_file(names, path, classes):
    found, left = labels.join(labels.read_labels(path, classes), names)
    problems = cli.counted({
        f"images without a label in {path}": [n for n in names if n not in found],
        f"labels in {path} without an image, or of several": left})
    if problems:
        raise cli.Failure(problems, "correct the folder or its label file")
    return found
