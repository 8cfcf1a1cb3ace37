"""Photographs as a person sees them, for predict and its picture; eval reads images as
torchvision does (common/data/transforms.py)."""
import numpy as np
from PIL import Image, ImageOps

from common import cli
from common.data import transforms
from common.data.names import is_image, natural

OURS = ("Software", "tools.inspect.predict")  # in the PNGs that predict draws


def load(path):
    """Decode an image file to an RGB PIL image, turned as its EXIF orientation says, 16-bit
    grey scaled to 8 bits (Pillow would clip it to white). Raises transforms.BadImage."""
    try:
        with transforms.open_image(path) as image:
            image = ImageOps.exif_transpose(image)
            if image.mode.startswith("I"):  # 16-bit grey of a PNG or TIFF
                grey = np.asarray(image).clip(0, 65535) / 257
                image = Image.fromarray(grey.round().astype(np.uint8))
            return image.convert("RGB")
    except Exception as e:  # decoders raise anything
        raise transforms.BadImage(transforms.why(e)) from e


def in_folder(folder):
    """Paths of the images directly in `folder`, in natural order, without pictures that predict
    drew; Failure without any."""
    found = [path for path in folder.iterdir()
             if is_image(path.name) and not path.name.startswith(".") and not is_ours(path)]
    if not found:
        raise cli.Failure(f"no images in {folder}",
                          "folders in it are not looked into: give one that holds images")
    return sorted(found, key=lambda path: natural(path.name))


def is_ours(path):
    """Whether predict drew this file."""
    try:
        with transforms.open_image(path) as image:
            return image.info.get(OURS[0]) == OURS[1]
    except Exception:  # decoders raise anything; load() will say what
        return False
