"""Which class an image is of: by a label file, else by the folder that it lies in."""
from __future__ import annotations

import re
from pathlib import Path

from common import cli
from common.data.names import without_ending
from common.published import IMAGENET

SYNSETS = Path(__file__).parent.parent / "imagenet_synsets.txt"
LABEL_FILE = "val_label.txt"
FORM = "`<file name> <class index>`"
NEEDS = f"it needs a line {FORM} for each image"
WRITE = f"write lines {FORM}, such as val/ILSVRC2012_val_00000001.JPEG 65"
INDEX = f"the index of a synset is its place in {SYNSETS.name}, counted from 0"
LINE = re.compile(r"(.*\S)[ \t]+([0-9]{1,9})")
POSITIONS = "labels are positions of"
REMEDY = f"rename or remove them, or label the images by a {LABEL_FILE}"


def read_labels(path, classes=IMAGENET):
    """Return {image: class index} of a label file; Failure that names file, line and remedy.

    An image is its name as the file has it, folders included, `/` between them, without ending.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")  # any line ending is read as \n
    except FileNotFoundError:
        raise cli.Failure(f"label file {path} does not exist", NEEDS) from None
    except UnicodeDecodeError:
        raise cli.Failure(f"label file {path} is not text in UTF-8",
                          "give the val_label.txt of the dataset") from None
    labels = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        name, index = _parse(line.strip(), f"{path}:{number}")
        if index >= classes:
            raise outside(f"{path}:{number}", index, classes)
        if labels.setdefault(name, index) != index:
            raise cli.Failure(f"{path}:{number}: {cli.some([name])} is labelled {index} here and "
                              f"{labels[name]} before", "keep the right one")
    if not labels:
        raise cli.Failure(f"label file {path} is empty", NEEDS)
    return labels


def _parse(line, where):
    """(name, index) of a line: exactly these two, only folders may have blanks in their names."""
    match = LINE.fullmatch(line)
    if match:
        name = match[1].replace("\\", "/")
        last = name.rpartition("/")[2]
        if last and len(last.split()) == 1 and "\t" not in name:
            return without_ending(name), int(match[2])
    what, todo = f"is not {FORM}", f"{WRITE}; two columns, and no blank in the name of a file"
    if re.fullmatch(r"[0-9]+", line):
        what = "has no file name: the ILSVRC devkit lists bare numbers, in another order"
    elif re.search(r"\bn[0-9]{8}\b", line):
        todo = f"{WRITE}; {INDEX}"
    raise cli.Failure(f"{where}: {cli.short(line, 80)!r} {what}", todo)


def outside(where, index, classes):
    """The Failure for a class index that the network does not have."""
    if index == classes:
        return cli.Failure(f"{where}: class {index} of 0 … {classes - 1}: labels count from 1",
                           "subtract 1 from every label")
    return cli.Failure(f"{where}: class {index} is not in 0 … {classes - 1}",
                       f"give labels of this network's {classes} classes")


def join(labels, images):
    """({image: class index}, names left over) for `images`, paths below their folder.

    `labels` is what read_labels() returns. The folders in its names may be others or fewer than
    those on disk: the longest end of a name that means one image decides. A name is sure when it
    ends with the image's whole path, or that ends with it; where only their last folders agree
    (val/x for other/x), it counts for an image that no sure name means. A name is left over when it
    means no image, or several. Failure when an image gets two labels.
    """
    ends, found, left = _ends(images), {}, []
    sure, unsure = [], []
    for name in labels:
        end = name
        while end and end not in ends:
            end = end.partition("/")[2]
        image = ends.get(end)
        if image is None:
            left.append(name)
        elif end == name or end == without_ending(image):
            sure.append((name, image))
        else:
            unsure.append((name, image))
    known = {image for _, image in sure}
    left += [name for name, image in unsure if image in known]
    for name, image in sure + [pair for pair in unsure if pair[1] not in known]:
        index = labels[name]
        if found.setdefault(image, index) != index:
            raise cli.Failure(f"{image} is labelled {found[image]} and, as {name}, {index}",
                              "keep the right one")
    return found, left


def _ends(images):
    """{end of a path without ending: the image, None when several images end so}."""
    ends = {}
    for image in images:
        end = without_ending(image)
        while end:
            ends[end] = None if end in ends else image
            end = end.partition("/")[2]
    return ends


def by_folders(folder, files, classes, known=()):
    """({image: class index}, what the labels are) by class folders.

    `files` is {folder below `folder`: names of its images}, "" for `folder` itself.
    """
    below = [name for name in files if name]
    todo = f"put a {LABEL_FILE} beside {folder}: a line {FORM} for each image"
    if files[""] and below:
        raise cli.Failure(f"{folder} holds images ({cli.some(files[''], 2)}) and folders "
                          f"({cli.some(below, 2)}) and there is no {LABEL_FILE}", todo)
    if files[""]:
        raise cli.Failure(f"{len(files[''])} images in {folder} have no labels", todo)
    deep = [name for name in below if "/" in name]
    empty = [name for name in below if not files[name]]
    problems = cli.counted({"folders inside a class folder": deep,
                            "class folders without images": empty})
    if problems:
        raise cli.Failure(f"{folder}: {problems}", REMEDY)
    index, source = of_folders(below, classes, known)
    if len(below) == 1 and source.startswith(POSITIONS):
        raise cli.Failure(f"{folder} holds one folder ({below[0]}) with all images: no labels",
                          todo)
    return {f"{b}/{name}": index[b] for b in below for name in files[b]}, source


def of_folders(names, classes=IMAGENET, known=()):
    """({folder: class index}, what the labels are) for the class folders `names`.

    `known` are the names of the network's classes, where published.json has them: then a folder is
    one of these. Synsets have their place among ImageNet's 1000, whole numbers are the index itself
    (as in ImageNetV2), words count in sorted order (as torchvision does). Failure for a mixture.
    """
    names = sorted(names)
    if known and not set(names).isdisjoint(known):
        others = [name for name in names if name not in known]
        if others:
            raise cli.Failure(f"class folders that are none of the network's classes: "
                              f"{cli.some(others)}", "published.json says where their names are")
        return {name: known.index(name) for name in names}, "names of class folders"
    if _all(names, "n[0-9]{8}", "[nN][0-9]{8}", "synsets"):
        index = official()
        others = [name for name in names if name not in index]
        if others:
            raise cli.Failure("class folders that are none of ImageNet's 1000: "
                              f"{cli.some(others)}", REMEDY)
        if classes != IMAGENET:
            raise cli.Failure(f"synsets as class folders mean ImageNet's {IMAGENET} classes, and "
                              f"the network has {classes}", f"label the images by a {LABEL_FILE}")
        return {name: index[name] for name in names}, "synsets of class folders"
    if _all(names, "[0-9]+", "[0-9]+$", "whole numbers"):
        for name in names:
            if int(name) >= classes:
                raise outside(f"class folder {name}", int(name), classes)
        return {name: int(name) for name in names}, "numbers of class folders"
    if len(names) > classes:
        raise cli.Failure(f"there are {len(names)} class folders ({cli.some(names)}), and the "
                          f"network has {classes} classes", "give the images of its classes")
    index = {name: i for i, name in enumerate(names)}
    return index, f"{POSITIONS} {len(names)} folders"


def _all(names, exact, like, kind):
    """Whether all names are of a kind; Failure that lists those that are not when only some are."""
    others = [name for name in names if not re.fullmatch(exact, name)]
    if others and any(re.match(like, name) for name in names):
        raise cli.Failure(f"class folders are named by {kind}, but not {cli.some(others)}", REMEDY)
    return not others


def official():
    """{synset: index} of ImageNet's 1000 classes."""
    return {synset: i for i, synset in enumerate(SYNSETS.read_text().split())}
