"""manifest.json beside the bins: which row of which bin is which image, and how they were made.

    {…facts…, "files": {"img_1": 1, …}, "images": [["val/img_1.JPEG", "img_1", 0, 65], …]}

Only Python's own library is needed.
"""
from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import NamedTuple

from common import cli
from common.data import bins, dataset, labels, names
from common.published import IMAGENET

NAME = "manifest.json"
KINDS = {"bad": dict, "recipe": dict, "dtype": str, "demo": bool, "shape": list, "probe": dict}


class Row(NamedTuple):
    """Where one image lies: in row `row` of the bin, and of the result, whose stem is `file`.

    image: its path below the folder of images; label: its class index, None when it is not known.
    """

    image: str
    file: str
    row: int
    label: int | None


@dataclasses.dataclass
class Manifest:
    """rows: a Row for each image; files: {stem of a bin: its rows, padding included}; info: how it
    all was made (see preprocess.py)."""

    rows: list
    files: dict
    info: dict

    def save(self, folder):
        """Write manifest.json into the folder of bins, one line for each image."""
        start = json.dumps({**self.info, "files": self.files}, indent=1)
        with cli.whole_file(Path(folder) / NAME) as part, open(part, "w", encoding="utf-8") as f:
            f.write(start[:-2] + ',\n "images": [\n')
            f.write(",\n".join(json.dumps(row, ensure_ascii=False) for row in self.rows))
            f.write("\n ]\n}\n")

    @classmethod
    def load(cls, path):
        """Read a manifest, given its file or its folder; Failure when it is absent or damaged."""
        path = Path(path)
        path = path / NAME if path.is_dir() else path
        todo = "run the preprocessing step (make prep) to its end"
        content = cli.read_json(path, todo, object)
        try:
            rows = [Row(*row) for row in content.pop("images")]
            files = dict(content.pop("files"))
            odd = [row for row in rows if not _sound(row, files)]
            odd += [key for key, kind in KINDS.items()
                    if key in content and not isinstance(content[key], kind)]
            numbers = [*files.values(), *content.get("shape", ())]
            odd += [number for number in numbers if type(number) is not int]
            if odd:
                raise ValueError(f"it has {odd[0]}")
        except (KeyError, TypeError, AttributeError, ValueError) as e:
            raise cli.Failure(f"{path} is no manifest ({type(e).__name__}: {e})", todo) from None
        return cls(rows, files, content)

    def check_type(self, dtype, model):
        """Failure when the bins hold another type than `dtype`, which the offline model takes.

        Their size may fit all the same: a float image has the bytes of four uint8 ones.
        """
        if self.info.get("dtype", "float32") != dtype:
            raise cli.Failure(f"the bins hold {self.info.get('dtype')}, {model} takes {dtype}",
                              "use the same INPUT= for prep and om")

    def check_bins(self, folder):
        """Failure when bins in `folder` are missing, have another size than their rows need, or
        (of those that the manifest has a hash of) other content."""
        sizes = bins.bin_sizes(folder)
        need = bins.row_bytes(self.info)
        missing = [f"{name}.bin" for name in self.files if name not in sizes]
        other = [f"{name}.bin ({sizes[name]} bytes, not {rows * need})"
                 for name, rows in self.files.items()
                 if need and name in sizes and sizes[name] != rows * need]
        changed = bins.changed(self.info.get("probe", {}), folder)
        problems = cli.counted({"bins missing": missing, "bins of another size": other,
                                "bins of other content": changed})
        if problems:
            raise cli.Failure(f"{folder}: {problems}",
                              "run the preprocessing step (make prep): it makes these again")


def _sound(row, files):
    return (isinstance(row.image, str) and type(row.row) is int and 0 <= row.row < files[row.file]
            and (row.label is None or type(row.label) is int))


def labelled(source, manifest=None, classes=IMAGENET, names=()):
    """The Manifest of the images that `source` labels: a label file, or the images' folder.

    `classes` and `names` are the network's. `manifest` (file or folder) says which row of which
    result is which image; without one, an image's result is the file with its stem. Labels come
    from `source` alone: an image that it does not name has none. One that only it names counts as
    missing, unless the manifest is of a subset.
    Failure when the two have different labels for an image.
    """
    source = Path(source)
    if manifest is None:
        return _by_stem(source, classes, names)
    known = Manifest.load(manifest)
    images = [row.image for row in known.rows]
    if source.is_dir():
        data = dataset.find(source, classes=classes, known=known.info.get("class_names", ()))
        found = {image.name: image.label for image in data.images}
        left = {name: found[name] for name in found.keys() - set(images)}
    else:
        given = labels.read_labels(source, classes)
        found, left = labels.join(given, [*images, *known.info.get("bad", ())])
        left = {name: given[name] for name in left}
    differ = [f"{row.image} ({found[row.image]}, not {row.label})" for row in known.rows
              if row.label is not None and found.get(row.image, row.label) != row.label]
    if differ:
        raise cli.Failure(f"{len(differ)} labels of {source} are not those that the preprocessing "
                          f"found: {cli.some(differ)}",
                          "give the labels of these images, or preprocess them again (make prep)")
    known.rows = [row._replace(label=found.get(row.image)) for row in known.rows]
    if not known.info.get("limit"):
        bad = known.info.get("bad", ())
        more = _rows({name: left[name] for name in sorted(left) if name not in bad})
        known.rows += more
        known.files.update((row.file, 1) for row in more)
    return known


def _by_stem(source, classes, class_names):
    if source.is_dir():
        data = dataset.find(source, classes=classes, known=class_names)
        found = {image.name: image.label for image in data.images}
        facts = {"demo": data.demo, "labels_from": data.labels_from, "notes": list(data.notes)}
    else:
        found = labels.read_labels(source, classes)
        facts = {"demo": (source.parent / "DEMO.txt").exists()}
    rows = _rows(found)
    return Manifest(rows, {row.file: 1 for row in rows}, facts)


def _rows(found):
    return [Row(name, stem, 0, found[name]) for name, stem in zip(found, names.stems(found))]
