"""Which images: a folder, a folder behind a URI, or a list of paths → names, paths and labels."""
import dataclasses
import functools
import urllib.parse
from pathlib import Path

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq

from common import cli
from common.data import dataset
from common.data.rows import natural


@dataclasses.dataclass(frozen=True)
class Image:
    """name: what the image is called in the results, unique; path: where it lies, a file or a URI; label: class index."""

    name: str
    path: str
    label: "int | None" = None


@functools.lru_cache(maxsize=None)
def filesystem(base):
    return pa.fs.FileSystem.from_uri(base)


def opened(uri):
    """(file system, path in it) of a URI; file systems are kept, because their clients are slow to make."""
    parts = urllib.parse.urlsplit(uri)
    try:
        fs, top = filesystem(urllib.parse.urlunsplit((parts.scheme, parts.netloc, "/", parts.query, "")))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as e:
        raise cli.Failure(f"{uri}: {e}", "give a path, or a URI that pyarrow reads (s3://, gs://, hdfs://, file://)") from None
    return fs, f"{top.rstrip('/')}/{urllib.parse.unquote(parts.path).lstrip('/')}"


def listing(source, label_file=None):
    """The Images that `source` names, in natural order of their names, and whether they are a demo's.

    source: a folder in either layout of common/data/dataset.py; a folder's URI (searched with its sub-folders); a Parquet file
    with a column `path` and perhaps `label`; or a text file with a path a line. Relative paths count from the list's
    folder. `label_file`, a val_label.txt, labels images by their stem. Failure for a name that comes twice, for labels of
    some images only, and where there is nothing.
    """
    source, demo = str(source), False
    if "://" in source and not source.endswith((".parquet", ".txt")):
        images = in_folder(source)
    elif Path(source).is_dir():
        found = dataset.find(source, label_file)
        images, demo = [Image(i.path.name, str(i.path.absolute()), i.label) for i in found.images], found.demo
        label_file = None
    else:
        images = in_list(source)
    if label_file:
        labels = dataset.read_labels(label_file)
        images = [dataclasses.replace(i, label=labels.get(Path(i.name).stem)) for i in images]
    images.sort(key=lambda i: natural(i.name))
    check(source, images, by_stem=bool(label_file))
    return images, demo


def in_folder(uri):
    fs, top = opened(uri)
    tail = urllib.parse.urlsplit(uri)
    try:
        found = fs.get_file_info(pa.fs.FileSelector(top, recursive=True))
    except OSError as e:
        raise cli.Failure(f"{uri} cannot be listed: {e}", "check the URI and the rights to read it") from None
    names = [f.path[len(top):].strip("/") for f in found
             if f.type == pa.fs.FileType.File and Path(f.path).suffix.lower() in dataset.IMAGE_SUFFIXES]
    return [Image(n, urllib.parse.urlunsplit(tail._replace(path=f"{tail.path.rstrip('/')}/{urllib.parse.quote(n)}")))
            for n in names]


def in_list(source):
    try:
        fs, path = opened(source) if "://" in source else (pa.fs.LocalFileSystem(), source)
        with fs.open_input_file(path) as f:
            content = pq.read_table(f) if source.endswith(".parquet") else f.read().decode("utf-8-sig")
    except FileNotFoundError:
        raise cli.Failure(f"{source} does not exist", "give a folder of images, a URI, or a list of paths") from None
    except (pa.ArrowInvalid, UnicodeDecodeError, OSError) as e:
        raise cli.Failure(f"{source} is no list of images ({e})", "give a folder, Parquet, or text of paths") from None
    if isinstance(content, str):
        rows = [(line.strip(), None) for line in content.splitlines() if line.strip()]
    elif "path" in content.column_names:
        paths = content["path"].to_pylist()
        rows = list(zip(paths, content["label"].to_pylist() if "label" in content.column_names else [None] * len(paths)))
    else:
        raise cli.Failure(f"{source} has no column `path` but {content.column_names}", "name the column of the paths so")
    here = source.rpartition("/")[0] if "://" in source else str(Path(source).parent.absolute())
    return [Image(p, p if "://" in p or p.startswith("/") else f"{here}/{p}", label) for p, label in rows]


def check(source, images, by_stem):
    if not images:
        raise cli.Failure(f"{source} names no images", "give a folder of images, or a list of their paths")
    seen, twice = set(), []
    for image in images:
        key = Path(image.name).stem if by_stem else image.name
        twice += [image.name] if key in seen else []
        seen.add(key)
    if twice:
        what = "names (without ending) that the label file cannot tell apart" if by_stem else "names that come twice"
        raise cli.Failure(f"{source}: {len(twice)} {what}: {dataset.some(twice)}", "name each image once")
    without = [i.name for i in images if i.label is None]
    if 0 < len(without) < len(images):
        raise cli.Failure(f"{len(without)} of {len(images)} images have no label: {dataset.some(without)}",
                          "label all images, or give no labels")
    wrong = [f"{i.name} ({i.label})" for i in images if i.label is not None and not 0 <= i.label < dataset.CLASSES]
    if wrong:
        raise cli.Failure(f"labels outside 0…{dataset.CLASSES - 1}: {dataset.some(wrong)}", f"mend the labels of {source}")
