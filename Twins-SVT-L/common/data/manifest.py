"""manifest.json: which row of which bin, and so of which result, is which image, and its label."""
from __future__ import annotations

import dataclasses
import math
import os
from pathlib import Path
from typing import NamedTuple

from common import cli
from common.data import dataset


class Row(NamedTuple):
    """Row `row` of the bin (and result) with the stem `file` is the image `image`, class `label` or None."""

    image: str
    file: str
    row: int
    label: int | None


@dataclasses.dataclass
class Manifest:
    """What a folder of bins holds: rows [Row], files {stem of a bin: its rows, padding included}, info how it was made."""

    rows: list
    files: dict
    info: dict

    def save(self, folder):
        """Write manifest.json into the folder of bins."""
        cli.write_json(Path(folder) / "manifest.json", {**self.info, "files": self.files, "images": self.rows})

    @classmethod
    def load(cls, path):
        """Read a manifest, given its file or its folder; Failure when it is absent or damaged."""
        path = Path(path)
        path = path / "manifest.json" if path.is_dir() else path
        content = cli.read_json(path, "run the preprocessing step (make prep) to its end", object)
        try:
            rows, files = [Row(*row) for row in content.pop("images")], content.pop("files")
            files = dict.fromkeys((row.file for row in rows), files) if isinstance(files, int) else dict(files)
            odd = [row for row in rows if not 0 <= row.row < files[row.file] or not isinstance(row.label, (int, type(None)))]
            if odd:
                raise ValueError(f"it has {odd[0]}")
            return cls(rows, files, content)
        except (KeyError, TypeError, AttributeError, ValueError) as e:
            raise cli.Failure(f"{path} is no manifest ({type(e).__name__}: {e})",
                              "run the preprocessing step (make prep) again") from None

    def check_bins(self, folder):
        """Failure when a bin is not in `folder`, or has not as many bytes as its rows need."""
        sizes = {e.name[:-4]: e.stat().st_size for e in os.scandir(folder) if e.name.endswith(".bin")}
        image = math.prod(self.info.get("shape", ())) * {"uint8": 1}.get(self.info.get("dtype"), 4)
        wrong = [f"{name}.bin" for name, rows in self.files.items() if sizes.get(name) != rows * image]
        if wrong and "shape" in self.info:
            raise cli.Failure(f"{folder}: {len(wrong)} bins are missing or of another size: {cli.some(wrong)}",
                              f"delete {folder}/manifest.json and run the preprocessing step (make prep)")


def labelled(source, manifest=None, classes=1000):
    """The Manifest of the images that `source` labels (a label file, or the images' folder); `manifest` says which result is
    which image, without it an image's result has its stem. Failure when the two name different labels for an image."""
    source = Path(source)
    if source.is_dir():
        data = dataset.find(source)
        demo, names = data.demo, {i.stem: i.path.name for i in data.images}
        labels = {i.stem: i.label for i in data.images if i.label is not None}
    else:
        demo, labels, names = (source.parent / "DEMO.txt").exists(), dataset.read_labels(source), {}
    if not labels:
        raise cli.Failure(f"the images in {source} have no labels", "give a folder for each class, or a label file")
    if manifest is None:
        return Manifest([Row(names.get(s, s), s, 0, n) for s, n in labels.items()], dict.fromkeys(labels, 1), {"demo": demo})
    known = Manifest.load(manifest)
    differ = [f"{r.image} ({labels[Path(r.image).stem]}, not {r.label})" for r in known.rows
              if r.label is not None and labels.get(Path(r.image).stem, r.label) != r.label]
    if differ:
        raise cli.Failure(f"{len(differ)} labels of {source} are not those that the preprocessing found: {cli.some(differ)}",
                          "give the labels of these images, or preprocess them again (make prep)")
    left = dict(labels)
    known.rows = [r._replace(label=left.pop(Path(r.image).stem, None)) for r in known.rows]
    if not known.info.get("limit"):
        bad = {Path(name).stem for name in known.info.get("bad", ())}
        known.rows += [Row(names.get(s, s), s, 0, n) for s, n in left.items() if s not in bad]
        known.files.update({s: 1 for s in left if s not in bad})
    return known
