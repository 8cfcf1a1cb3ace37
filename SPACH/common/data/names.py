"""Names of images: which files are images, their order, and the safe names that their bins get."""
from __future__ import annotations

import hashlib
import re
from collections import Counter

# Endings of torchvision's ImageFolder, and two more names for a JPEG.
IMAGE_SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".ppm", ".pgm", ".bmp",
                  ".tif", ".tiff", ".webp"}
# What file systems, archives and desktops leave in folders; hidden files are passed over as well.
PASSED_OVER = {"lost+found", "__macosx", "@eadir", "#recycle", "@recycle", "$recycle.bin",
               "system volume information", "thumbs.db", "ehthumbs.db", "desktop.ini"}
# ais_bench cuts the name of a result at the first dot of its input's name, and newer releases
# refuse other characters. Linux allows 255 bytes, of which hidden names and endings need some.
SAFE = re.compile(r"[A-Za-z0-9_-]{1,150}")


def is_image(name):
    """Whether a file is an image by its ending."""
    stem, dot, ending = name.rpartition(".")
    return bool(stem) and dot + ending.lower() in IMAGE_SUFFIXES


def is_text(name):
    """Whether a name can be written as text; those of old archives may hold any bytes."""
    return name.isascii() or not any("\ud800" <= c <= "\udfff" for c in name)


def passed_over(name):
    """Whether a file or folder of this name has nothing to do with the images beside it."""
    return name[0] == "." or name.lower() in PASSED_OVER


def without_ending(name):
    """`name` without an image's ending; another ending is part of the name (`n0.11_a`)."""
    return name.rpartition(".")[0] if is_image(name) else name


def natural(name):
    """Sort key of a name: digits count as numbers, case does not, so img2 comes before IMG10."""
    def number(match):
        return f"\1{len(match[1]):03d}{match[1]}"  # \1 comes before all that names have

    return re.sub("0*([0-9]+)", number, name.lower()), name


def in_order(names):
    """Paths in natural order of their files' names, whatever folders these lie in."""
    files = [name.rpartition("/")[2] for name in names]
    return [name for _, name in sorted(zip(map(natural, files), names))]


def stems(images):
    """A safe and unique stem for the bin of each image; `images` are paths below their folder.

    It is the image's own stem where that is safe and no other image has it (all of ILSVRC), else
    one that is made from the whole path, so that it stays the same when other images come or go.
    """
    own = [without_ending(name.rpartition("/")[2]) for name in images]
    count, made = Counter(own), []
    for stem, name in zip(own, images):
        if count[stem] > 1 or not SAFE.fullmatch(stem):
            digest = hashlib.sha256(name.encode()).hexdigest()[:12]
            stem = f"{re.sub('[^A-Za-z0-9_-]+', '_', 'img_' + stem)[:80]}-{digest}"
        made.append(stem)
    return made
