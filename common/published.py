"""What a model folder's published.json says of its network: title, classes, figures."""
from __future__ import annotations

import dataclasses
from pathlib import Path

from common import cli

IMAGENET = 1000  # classes, where published.json names no other number


@dataclasses.dataclass(frozen=True)
class Published:
    """`model` is the title, `classes` the number of logits, `names` those of the classes where the
    file names them, `raw` all that the file holds."""

    model: str
    classes: int
    raw: dict
    names: tuple = ()

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
    return Published(raw["model"], classes, raw, _names(path, raw.get("names"), classes))


def _names(path, file, classes):
    """The lines of the file that "names" of published.json names: one for each class."""
    if file is None:
        return ()
    beside = path.with_name(Path(str(file)).name)
    if not beside.is_file():
        raise cli.Failure(f"{beside} does not exist, which {path} names as \"names\"",
                          "a text file in this folder, a class on each line")
    try:
        names = tuple(line.strip() for line in beside.read_text(encoding="utf-8").splitlines())
    except UnicodeDecodeError:
        raise cli.Failure(f"{beside} is not text in UTF-8", "save it as that") from None
    if not len(names) == len(set(names) - {""}) == classes:
        raise cli.Failure(f"{beside} does not hold {classes} different names, one on each line",
                          "write those of the network's classes, in the order of its logits")
    return names
