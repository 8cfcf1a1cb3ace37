"""The images that int8's value ranges are taken from: a few hundred of a folder.

    images, said = calibration.read("train", recipe)
"""
from __future__ import annotations

from common import cli
from common.data import dataset, transforms

# Spread evenly over the folder; NNCF's own default. With fewer than FEW the ranges hang on single
# images.
MOST, FEW = 300, 30
# All of the folder is hashed for the record, and looked at again by every make.
LARGEST = 10_000


def read(folder, prepare):
    """([prepare(image) for up to MOST images of `folder`], what is recorded: "folder", "images",
    "of", "demo" and where they are few a "note").

    `prepare` is a transforms.Recipe or its pixels. Failure for a folder with too many images, or
    with one that cannot be read.
    """
    found = dataset.find(folder, labelled=False)
    if len(found.images) > LARGEST:
        raise cli.Failure(f"CALIB={folder} holds {len(found.images)} images",
                          f"copy some into a folder of their own; {MOST} are enough")
    images, bad = [], []
    for image in cli.progress(found.subset(MOST).images, "calibration images", unit="image"):
        try:
            images.append(prepare(transforms.load(image.path)))
        except transforms.BadImage as e:
            bad.append(f"{image.path} {e}")
    if bad:
        raise cli.Failure(f"{len(bad)} images cannot be read: {cli.some(bad)}",
                          "take them out of CALIB's folder")
    said = {"folder": str(folder), "images": len(images), "of": len(found.images),
            "demo": found.demo}
    if len(images) < FEW:
        said["note"] = f"int8 is calibrated with {len(images)} images only; {MOST} are better"
    return images, said
