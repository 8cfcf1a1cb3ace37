"""Class folders: which class each of them means, where no label file says it."""
from __future__ import annotations

import re

from common import cli
from common.data.labels import FORM, LABEL_FILE, SYNSETS, outside
from common.published import IMAGENET


def by_folders(folder, files, classes):
    """({image: class index}, what the labels are) by class folders.

    `files` is {folder below `folder`: names of its images}, "" for `folder` itself.
    """
    folders = [below for below in files if below]
    if files[""]:
        todo = f"put a {LABEL_FILE} beside {folder}: a line {FORM} for each image"
        if folders:
            raise cli.Failure(f"{folder} holds images ({cli.some(files[''], 2)}) and folders "
                              f"({cli.some(folders, 2)}) and there is no {LABEL_FILE}", todo)
        raise cli.Failure(f"{len(files[''])} images in {folder} have no labels", todo)
    deep = [below for below in folders if "/" in below]
    empty = [below for below in folders if not files[below]]
    for what, odd in (("folders inside a class folder", deep),
                      ("class folders without images", empty)):
        if odd:
            raise cli.Failure(f"{folder}: {len(odd)} {what}: {cli.some(odd)}",
                              f"remove them, or label the images by a {LABEL_FILE}")
    index, source = of_folders(folders, classes)
    if len(folders) == 1 and source.startswith("labels are positions"):
        raise cli.Failure(f"{folder} holds one folder ({folders[0]}) with all images: no labels",
                          f"put a {LABEL_FILE} beside it, or give a folder for each class")
    return {f"{b}/{name}": index[b] for b in folders for name in files[b]}, source


def of_folders(names, classes=IMAGENET):
    """({folder: class index}, what the labels are) for the class folders `names`.

    Synsets have their place among ImageNet's 1000, whole numbers are the index itself (as in
    ImageNetV2), words count in sorted order (as torchvision does). Failure for a mixture.
    """
    names = sorted(names)
    if _all(names, "n[0-9]{8}", "[nN][0-9]{8}", "synsets"):
        return _synsets(names, classes), "synsets of class folders"
    if _all(names, "[0-9]+", "[0-9]+$", "whole numbers"):
        for name in names:
            if int(name) >= classes:
                raise outside(f"class folder {name}", int(name), classes)
        return {name: int(name) for name in names}, "numbers of class folders"
    if len(names) > classes:
        raise cli.Failure(f"there are {len(names)} class folders ({cli.some(names)}), and the "
                          f"network has {classes} classes", "give the images of its classes")
    index = {name: i for i, name in enumerate(names)}
    return index, f"labels are positions of {len(names)} folders"


def _all(names, exact, like, kind):
    """Whether all names are of a kind; Failure that lists those that are not when only some are."""
    others = [name if name == name.strip() else repr(name)
              for name in names if not re.fullmatch(exact, name)]
    if others and any(re.match(like, name) for name in names):
        raise cli.Failure(f"class folders are named by {kind}, but not {cli.some(others)}",
                          "rename or remove these, or label the images by a val_label.txt")
    return not others


def _synsets(names, classes):
    index = official()
    others = [name for name in names if name not in index]
    if others:
        raise cli.Failure(f"class folders that are none of ImageNet's 1000: {cli.some(others)}",
                          "remove them, or label the images by a val_label.txt")
    if classes != IMAGENET:
        raise cli.Failure(f"synsets as class folders mean ImageNet's {IMAGENET} classes, and the "
                          f"network has {classes}", "label the images by a val_label.txt")
    return {name: index[name] for name in names}


def official():
    """{synset: index} of ImageNet's 1000 classes."""
    return {synset: i for i, synset in enumerate(SYNSETS.read_text().split())}
