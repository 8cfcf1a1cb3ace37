"""Evaluation transforms without torch: Resize → CenterCrop → ToTensor → Normalize, equal to
torchvision's in every bit. This is the definition; fast_jpeg.py computes the same faster."""
from __future__ import annotations

import functools
import math

import numpy as np
from PIL import Image, UnidentifiedImageError

from common.data.recipe import MEAN, STD, Recipe, published  # noqa: F401  for all who use images

INTERPOLATION = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
# Formats of the endings that we take (names.py), and GIF, which is found under the name of a JPEG.
# Others are no images here: PostScript, above all, which Pillow would hand to Ghostscript.
FORMATS = ("JPEG", "PNG", "BMP", "PPM", "TIFF", "WEBP", "GIF")


class BadImage(Exception):
    """An image that cannot be used. Its text says why, and is meant to follow the file's name."""


def open_image(file):
    """PIL's Image.open() for the formats that we take; `file` is a path or an open file."""
    return Image.open(file, formats=FORMATS)


def load(file):
    """Decode an image to RGB as torchvision's ImageFolder does (EXIF orientation is not applied).

    `file` is a path or an open file. Raises BadImage, whatever Pillow's decoder raises.
    """
    try:
        with open_image(file) as image:
            return image.convert("RGB")
    except Exception as e:  # decoders raise anything: KeyError, struct.error, RuntimeError, …
        raise BadImage(why(e)) from e


def why(error):
    """What to say, after a file's name, of the exception that reading it raised."""
    if isinstance(error, FileNotFoundError):
        return "is gone"
    if isinstance(error, UnidentifiedImageError):
        return "is no image (" + ", ".join(FORMATS) + ")"
    text = " ".join(str(getattr(error, "strerror", None) or error).split())
    if isinstance(error, (OSError, SyntaxError, BadImage)) and text:
        return text
    return f"cannot be decoded ({type(error).__name__}: {text})"


def pixels(image, recipe):
    """RGB PIL image → uint8 array (crop, crop, 3)."""
    return np.asarray(center_crop(resize(image, recipe), recipe.crop))


def resized(size, recipe):
    """(width, height) after torchvision.transforms.Resize: the long side is
    int(resize · long / short), or both sides are `resize`.

    BadImage for a strip so narrow that it would take gigabytes: more pixels than Pillow allows.
    """
    width, height = size
    side = recipe.resize
    if not recipe.keep_aspect:
        return side, side
    if width <= height:
        new = side, int(side * height / width)
    else:
        new = int(side * width / height), side
    if new[0] * new[1] > 2 * (Image.MAX_IMAGE_PIXELS or math.inf):
        raise BadImage(f"is {width}×{height} pixels, and would be {new[0]}×{new[1]} with its short "
                       f"side at {side}")
    return new


def resize(image, recipe):
    """torchvision.transforms.Resize of an RGB PIL image."""
    size = resized(image.size, recipe)
    return image if size == image.size else image.resize(size, INTERPOLATION[recipe.interpolation])


def center_crop(image, side):
    """torchvision.transforms.CenterCrop: round() halves to even; a smaller image gets a black
    frame first."""
    width, height = image.size
    if width < side or height < side:
        canvas = Image.new("RGB", (max(width, side), max(height, side)))
        canvas.paste(image, ((canvas.width - width) // 2, (canvas.height - height) // 2))
        image, (width, height) = canvas, canvas.size
    left, top = round((width - side) / 2), round((height - side) / 2)
    return image.crop((left, top, left + side, top + side))


@functools.lru_cache(maxsize=None)
def table(mean, std):
    """(3, 256) float32: what ToTensor and Normalize make of each byte, in their order of float32
    operations."""
    unit = np.arange(256, dtype=np.float32) / np.float32(255)
    return (unit - np.float32(mean)[:, None]) / np.float32(std)[:, None]


def normalize(pixels, mean=MEAN, std=STD):
    """RGB bytes, uint8 (H, W, 3) → float32 (3, H, W), by looking torchvision's values up."""
    out = np.empty((3, *pixels.shape[:2]), np.float32)
    for channel, values in enumerate(table(tuple(mean), tuple(std))):
        values.take(pixels[..., channel], out=out[channel], mode="clip")  # "raise" needs a buffer
    return out
