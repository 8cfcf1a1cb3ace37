"""How an image becomes a network's input: the numbers. What is done with them is in transforms.py.

    >>> recipe = Recipe(resize=256, crop=224, interpolation="bicubic")
    >>> recipe(transforms.load("ILSVRC2012_val_00000001.JPEG")).shape
    (3, 224, 224)

numpy and Pillow are only imported for an image, so that bins which are up to date cost nothing.
"""
from __future__ import annotations

import dataclasses
from pathlib import Path

from common import cli
from common import published as of_model

# ImageNet's channel means and deviations, as torchvision and timm give them (RGB, values in 0..1).
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """resize: the short side after resizing, in pixels; with keep_aspect=False the image is
    squashed to resize × resize instead. crop: side of the central square. interpolation:
    "bilinear" or "bicubic"."""

    resize: int = 256
    crop: int = 224
    interpolation: str = "bicubic"
    keep_aspect: bool = True
    mean: tuple = MEAN
    std: tuple = STD

    def __call__(self, image):
        """RGB PIL image → float32 array (3, crop, crop), normalised."""
        from common.data import transforms

        return transforms.normalize(self.pixels(image), self.mean, self.std)

    def pixels(self, image):
        """RGB PIL image → uint8 array (crop, crop, 3), still to be normalised."""
        from common.data import transforms

        return transforms.pixels(image, self)

    def as_dict(self):
        """The recipe as values for JSON, for manifests and ONNX metadata."""
        return {key: list(value) if isinstance(value, tuple) else value
                for key, value in dataclasses.asdict(self).items()}

    def __str__(self):
        side = f"short side {self.resize}" if self.keep_aspect else \
            f"squashed to {self.resize}×{self.resize}"
        mean, std = ("/".join(f"{v:g}" for v in values) for values in (self.mean, self.std))
        return (f"RGB, {side} {self.interpolation}, centre crop {self.crop}, mean {mean}, "
                f"std {std}")


def published(folder, key="preprocessing"):
    """The Recipe that the published.json of a model folder has under `key`."""
    try:
        recipe = Recipe(**of_model.load(folder).raw[key])
        if not len(recipe.mean) == len(recipe.std) == 3:
            raise ValueError("mean and std have three values each: images are RGB")
        return recipe
    except (KeyError, TypeError, ValueError) as e:
        raise cli.Failure(f"{Path(folder) / 'published.json'} has no sound \"{key}\" ({e})",
                          "correct or restore the file") from None
