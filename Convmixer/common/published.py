"""What a model folder's published.json says of its network: title, classes, figures."""
from __future__ import annotations

import dataclasses
from pathlib import Path

from common import cli

IMAGENET = 1000  # classes, where published.json names no other number


@dataclasses.dataclass(frozen=True)
class Published:
    """`model` is the title, `classes` the number of logits, `raw` all that the file holds."""

    model: str
    classes: int
    raw: dict

    def get(self, key, default=None):
        """A field of the file, or `default`."""
        return self.raw.get(key, default)


def load(folder="."):
    """Read published.json in `folder`; Failure when it is absent, or lacks what it must have."""
    path = Path(folder) / "published.json"
    raw = cli.read_json(path, "run this in a model folder, or restore the file")
    classes = raw.get("classes", IMAGENET)
    if not isinstance(classes, int) or classes < 1 or not isinstance(raw.get("model"), str):
        raise cli.Failure(f"{path} has no sound \"model\" or \"classes\"", "restore the file")
    return Published(raw["model"], classes, raw)
