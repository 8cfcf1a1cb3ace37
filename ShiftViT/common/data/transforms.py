"""Evaluation transforms without torch: Resize → CenterCrop → ToTensor → Normalize, equal to torchvision's bit for bit.

This is the definition; fast.py computes the same for ordinary JPEGs in a third of the time.

    >>> recipe = Recipe(resize=256, crop=224, interpolation="bicubic")
    >>> recipe(load("ILSVRC2012_val_00000001.JPEG")).shape
    (3, 224, 224)
"""
import dataclasses
import functools
import json
import math
from pathlib import Path

import numpy as np
from PIL import Image

# ImageNet's channel means and deviations, as torchvision and timm give them (RGB, for values in 0..1).
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
# What load() raises for a file that is no whole image, or absurdly large; a missing one is a FileNotFoundError.
UNREADABLE = (OSError, ValueError, SyntaxError, MemoryError, Image.DecompressionBombError)
INTERPOLATION = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How an image becomes a network's input.

    resize: length of the short side after resizing, in pixels; with keep_aspect=False the image is squashed to
    resize × resize instead. crop: side of the central square. interpolation: "bilinear" or "bicubic".
    """

    resize: int = 256
    crop: int = 224
    interpolation: str = "bicubic"
    keep_aspect: bool = True
    mean: tuple = MEAN
    std: tuple = STD

    def __call__(self, image):
        """RGB PIL image → float32 array (3, crop, crop), normalised."""
        return normalize(self.pixels(image), self.mean, self.std)

    def pixels(self, image):
        """RGB PIL image → uint8 array (crop, crop, 3): what is left to do is to normalise."""
        return np.asarray(center_crop(resize(image, self), self.crop))

    def as_dict(self):
        """The recipe as JSON-able values, for manifests and ONNX metadata."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self).items()}

    def __str__(self):
        how = f"short side {self.resize}" if self.keep_aspect else f"squashed to {self.resize}×{self.resize}"
        mean, std = ("/".join(f"{v:g}" for v in c) for c in (self.mean, self.std))
        return f"RGB, {how} {self.interpolation}, centre crop {self.crop}, mean {mean}, std {std}"


def published(folder, key="preprocessing"):
    """The Recipe that a model folder's published.json has under `key`. It lies there, and not in model.py, so that
    preprocessing needs no torch."""
    return Recipe(**json.loads((Path(folder) / "published.json").read_text(encoding="utf-8"))[key])


def load(path):
    """Decode an image file to an RGB PIL image as torchvision's ImageFolder does (EXIF orientation is not applied).

    Raises one of UNREADABLE when the file is not a whole image, or absurdly large.
    """
    with open(path, "rb") as f, Image.open(f) as image:
        return image.convert("RGB")


def resized(size, recipe):
    """(width, height) after torchvision.transforms.Resize: the long side is int(resize · long / short), or a squash.

    ValueError for a strip so narrow that it would take gigabytes: more pixels than Pillow lets an image have.
    """
    width, height = size
    target = recipe.resize
    if not recipe.keep_aspect:
        return target, target
    new = (target, int(target * height / width)) if width <= height else (int(target * width / height), target)
    if new[0] * new[1] > 2 * (Image.MAX_IMAGE_PIXELS or math.inf):
        raise ValueError(f"is {width}×{height} pixels, and would be {new[0]}×{new[1]} with its short side at {target}")
    return new


def resize(image, recipe):
    """torchvision.transforms.Resize of an RGB PIL image."""
    size = resized(image.size, recipe)
    return image if size == image.size else image.resize(size, INTERPOLATION[recipe.interpolation])


def center_crop(image, side):
    """torchvision.transforms.CenterCrop: Python's round() halves to even; a smaller image is padded with black."""
    width, height = image.size
    if width < side or height < side:
        canvas = Image.new("RGB", (max(width, side), max(height, side)))
        canvas.paste(image, ((canvas.width - width) // 2, (canvas.height - height) // 2))
        image, (width, height) = canvas, canvas.size
    left, top = round((width - side) / 2), round((height - side) / 2)
    return image.crop((left, top, left + side, top + side))


@functools.lru_cache(maxsize=None)
def table(mean, std):
    """(3, 256) float32: what ToTensor and Normalize make of each byte, in their order of float32 operations."""
    unit = np.arange(256, dtype=np.float32) / np.float32(255)
    return (unit - np.float32(mean)[:, None]) / np.float32(std)[:, None]


def normalize(pixels, mean=MEAN, std=STD):
    """RGB bytes, uint8 (H, W, 3) → float32 (3, H, W). A look-up gives torchvision's own values, only faster."""
    out = np.empty((3, *pixels.shape[:2]), np.float32)
    for channel, values in enumerate(table(tuple(mean), tuple(std))):
        values.take(pixels[..., channel], out=out[channel], mode="clip")  # "raise" would go through a buffer
    return out
