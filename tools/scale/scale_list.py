"""Which images: a folder, a folder behind a URI, or a list of paths → names, paths, labels."""
from __future__ import annotations

import dataclasses
import functools
import os
import urllib.parse
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq

from common import cli
from common.data import dataset, labels
from common.data.names import is_image, natural, passed_over
from common.data.preprocess import GO_ON
from common.published import IMAGENET


@dataclasses.dataclass(frozen=True)
class Image:
    """name: what the image is called in the results, unique; path: a file or a URI; label: class
    index; seen: size and time of change, where they are known, by which a new content shows."""

    name: str
    path: str
    label: int | None = None
    seen: str = ""


class About(NamedTuple):
    """Of a listing: whether it is a demo's; notes for people; files that are no images by their
    endings."""

    demo: bool = False
    notes: tuple = ()
    strays: tuple = ()


@functools.lru_cache(maxsize=None)
def filesystem(base):
    """pyarrow's file system of a URI, kept, because its client is slow to make."""
    return pa.fs.FileSystem.from_uri(base)


def opened(uri):
    """(file system, path in it) of a URI."""
    parts = urllib.parse.urlsplit(uri)
    base = urllib.parse.urlunsplit((parts.scheme, parts.netloc, "/", parts.query, ""))
    try:
        fs, top = filesystem(base)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as e:
        raise cli.Failure(f"{uri}: {e}", "give a path, or a URI that pyarrow reads (s3://, gs://, "
                          "hdfs://, file://)") from None
    return fs, f"{top.rstrip('/')}/{urllib.parse.unquote(parts.path).lstrip('/')}"


def listing(source, label_file=None, classes=IMAGENET, names=(), allow_partial=False):
    """(Images that `source` names, in natural order of their names; what is known About them).

    source: a folder as common/data/dataset.py takes it; a folder's URI, searched with its
    sub-folders; a Parquet file with a column `path` and perhaps `label`; or a text file with one
    path per line, relative ones counted from the list's folder. Failure for a name that comes
    twice, for labels of some images only, and where there is nothing; and unless `allow_partial`
    for other files in the folder and labels without an image.
    """
    source, about, left = str(source), About(), []
    if "://" in source and not source.endswith((".parquet", ".txt")):
        images, strays = in_folder(source)
        about = About(strays=strays)
    elif Path(source).is_dir():
        found = dataset.find(source, label_file, classes, known=names)
        images = [Image(i.name, os.path.abspath(i.path), i.label) for i in found.images]
        about, label_file = About(found.demo, found.notes, found.strays), None
    else:
        images = in_list(source)
    if label_file:
        given = labels.read_labels(label_file, classes)
        known, left = labels.join(given, [image.name for image in images])
        images = [dataclasses.replace(i, label=known.get(i.name)) for i in images]
    check(source, images, classes)
    said = cli.counted({
        "files are no images by their endings": about.strays,
        f"labels in {label_file} without an image, or of several": left})
    if said and not allow_partial:
        raise cli.Failure(f"{source}: {said}", f"correct the images or their labels, {GO_ON}")
    if said:
        about = about._replace(notes=(*about.notes, said))
    return sorted(map(look, images), key=lambda image: natural(image.name)), about


def look(image):
    """The Image with size and time of change of a file; of one behind a URI as it is."""
    if "://" in image.path:
        return image
    try:
        s = os.stat(image.path)
    except OSError:  # it will be one bad image
        return image
    return dataclasses.replace(image, seen=f"{s.st_size} {s.st_mtime_ns}")


def in_folder(uri):
    """(Images below a folder's URI, other files)."""
    fs, top = opened(uri)
    whole = urllib.parse.urlsplit(uri)
    try:
        found = fs.get_file_info(pa.fs.FileSelector(top, recursive=True))
    except OSError as e:
        raise cli.Failure(f"{uri} cannot be listed: {e}",
                          "check the URI and the rights to read it") from None
    images, strays = [], []
    for info in found:
        name = info.path[len(top):].strip("/")
        if info.type != pa.fs.FileType.File or any(map(passed_over, filter(None, name.split("/")))):
            continue
        if is_image(name):
            path = f"{whole.path.rstrip('/')}/{urllib.parse.quote(name)}"
            images.append(Image(name, urllib.parse.urlunsplit(whole._replace(path=path)),
                                seen=f"{info.size} {info.mtime_ns}"))
        elif name.rpartition("/")[2] not in dataset.OURS:
            strays.append(name)
    return images, tuple(strays)


def in_list(source):
    """The Images of a list of paths, a Parquet file or a text."""
    try:
        fs, path = opened(source) if "://" in source else (pa.fs.LocalFileSystem(), source)
        with fs.open_input_file(path) as f:
            parquet = source.endswith(".parquet")
            content = pq.read_table(f) if parquet else f.read().decode("utf-8-sig")
    except FileNotFoundError:
        raise cli.Failure(f"{source} does not exist",
                          "give a folder of images, a URI, or a list of paths") from None
    except (pa.ArrowInvalid, UnicodeDecodeError, OSError) as e:
        raise cli.Failure(f"{source} is no list of images ({e})",
                          "give a folder, Parquet, or text of paths") from None
    if not parquet:
        rows = [(line.strip(), None) for line in content.splitlines() if line.strip()]
    elif "path" not in content.column_names:
        raise cli.Failure(f"{source} has no column `path` but {content.column_names}",
                          "name the column of the paths so")
    else:
        rows = [(row["path"], row.get("label")) for row in content.to_pylist()]
    for number, (path, label) in enumerate(rows):
        if not (isinstance(path, str) and isinstance(label, (int, type(None)))):
            raise cli.Failure(f"{source}: row {number} has path {path!r}, label {label!r}",
                              "a path is text, a label the index of a class")
    here = source.rpartition("/")[0] if "://" in source else Path(source).parent.absolute()
    return [Image(path, path if "://" in path or path.startswith("/") else f"{here}/{path}", label)
            for path, label in rows]


def check(source, images, classes):
    """Failure where the images or their labels do not add up."""
    if not images:
        raise cli.Failure(f"{source} names no images", "give a folder of images, or a list of "
                          "their paths")
    seen, twice = set(), []
    for image in images:
        twice += [image.name] if image.name in seen else []
        seen.add(image.name)
    if twice:
        raise cli.Failure(f"{source}: {len(twice)} names that come twice: {cli.some(twice)}",
                          "name each image once")
    without = [i.name for i in images if i.label is None]
    if 0 < len(without) < len(images):
        raise cli.Failure(f"{len(without)} of {len(images)} images have no label: "
                          f"{cli.some(without)}", "label all images, or give no labels")
    wrong = [f"{i.name} ({i.label})" for i in images
             if i.label is not None and not 0 <= i.label < classes]
    if wrong:
        raise cli.Failure(f"labels outside 0…{classes - 1}: {cli.some(wrong)}",
                          f"correct the labels of {source}")
