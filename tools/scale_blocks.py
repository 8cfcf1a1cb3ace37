"""What is worked on, in which blocks, and which blocks are done: the part of tools/scale_out.py that needs no Ray.

A block is a slice of the listing, and one Parquet file. A file has its name only when it is whole, so the folder says
what is done, however a run ended.
"""
import dataclasses
import functools
import hashlib
import json
import os
import urllib.parse
import uuid
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq

from common import cli, dataset, metrics

SCHEMA = pa.schema([("name", pa.string()), ("label", pa.int32()), ("top5", pa.list_(pa.int32(), 5)),
                    ("scores", pa.list_(pa.float32(), 5)), ("error", pa.string())])
LOGITS = pa.field("logits", pa.list_(pa.float32(), dataset.CLASSES))


@dataclasses.dataclass(frozen=True)
class Image:
    """name: what the image is called in the results, unique; path: where it lies, a file or a URI; label: class index."""

    name: str
    path: str
    label: "int | None" = None


@functools.lru_cache(maxsize=None)
def _filesystem(base):
    return pa.fs.FileSystem.from_uri(base)


def opened(uri):
    """(file system, path in it) of a URI; file systems are kept, because their clients are slow to make."""
    parts = urllib.parse.urlsplit(uri)
    try:
        fs, top = _filesystem(urllib.parse.urlunsplit((parts.scheme, parts.netloc, "/", parts.query, "")))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as e:
        raise cli.Failure(f"{uri}: {e}", "give a path, or a URI that pyarrow reads (s3://, gs://, hdfs://, file://)") from None
    return fs, f"{top.rstrip('/')}/{urllib.parse.unquote(parts.path).lstrip('/')}"


def listing(source, label_file=None):
    """The Images that `source` names, in natural order of their names, and whether they are a demo's.

    source: a folder in either layout of common/dataset.py; a folder's URI (searched with its sub-folders); a Parquet file
    with a column `path` and perhaps `label`; or a text file with a path a line. Relative paths count from the list's
    folder. `label_file`, a val_label.txt, labels images by their stem. Failure for a name that comes twice, for labels of
    some images only, and where there is nothing.
    """
    source, demo = str(source), False
    if "://" in source and not source.endswith((".parquet", ".txt")):
        images = _remote(source)
    elif Path(source).is_dir():
        found = dataset.find(source, label_file)
        images, demo = [Image(i.path.name, str(i.path.absolute()), i.label) for i in found.images], found.demo
        label_file = None
    else:
        images = _listed(source)
    if label_file:
        labels = dataset.read_labels(label_file)
        images = [dataclasses.replace(i, label=labels.get(Path(i.name).stem)) for i in images]
    images.sort(key=lambda i: dataset.natural(i.name))
    _check(source, images, by_stem=bool(label_file))
    return images, demo


def _remote(uri):
    fs, top = opened(uri)
    tail = urllib.parse.urlsplit(uri)
    names = [f.path[len(top):].strip("/") for f in fs.get_file_info(pa.fs.FileSelector(top, recursive=True))
             if f.type == pa.fs.FileType.File and Path(f.path).suffix.lower() in dataset.IMAGE_SUFFIXES]
    return [Image(n, urllib.parse.urlunsplit(tail._replace(path=f"{tail.path.rstrip('/')}/{urllib.parse.quote(n)}")))
            for n in names]


def _listed(source):
    try:
        fs, path = opened(source) if "://" in source else (pa.fs.LocalFileSystem(), source)
        with fs.open_input_file(path) as f:
            content = pq.read_table(f) if source.endswith(".parquet") else f.read().decode("utf-8-sig")
    except FileNotFoundError:
        raise cli.Failure(f"{source} does not exist", "give a folder of images, a URI, or a list of paths") from None
    except (pa.ArrowInvalid, UnicodeDecodeError) as e:
        raise cli.Failure(f"{source} is no list of images ({e})", "give a folder, Parquet, or text with a path a line") from None
    if isinstance(content, str):
        rows = [(line.strip(), None) for line in content.splitlines() if line.strip()]
    elif "path" in content.column_names:
        paths = content["path"].to_pylist()
        rows = list(zip(paths, content["label"].to_pylist() if "label" in content.column_names else [None] * len(paths)))
    else:
        raise cli.Failure(f"{source} has no column `path` but {content.column_names}", "name the column of the paths so")
    here = source.rpartition("/")[0] if "://" in source else str(Path(source).parent.absolute())
    return [Image(p, p if "://" in p or p.startswith("/") else f"{here}/{p}", label) for p, label in rows]


def _check(source, images, by_stem):
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


def settings(images, size, model, **others):
    """What shapes the parts: the listing, the block's size, the offline model (its sidecar), and `others`."""
    names = hashlib.sha256("\n".join(f"{i.name}\t{i.path}\t{i.label}" for i in images).encode()).hexdigest()
    known = {k: model.get(k) for k in ("engine", "engine_version", "precision", "batch", "sha256")}
    return {"images": len(images), "listing": names, "block": size, "model": known, **others}


def accept(folder, wanted):
    """Record the settings in `folder`, or Failure when it holds parts of other settings. Removes what a kill left."""
    path = Path(folder) / "_settings.json"
    if path.exists():
        found = cli.read_json(path, f"give another folder, or delete {folder}")
        differ = [f"{k} is {json.dumps(found.get(k))}, now {json.dumps(wanted.get(k))}" for k in {**found, **wanted}
                  if found.get(k) != wanted.get(k)]
        if differ:
            raise cli.Failure(f"{folder} holds results of other settings: {'; '.join(differ)}",
                              "give another folder (--out), or delete this one")
    elif any(Path(folder).glob("part-*.parquet")):
        raise cli.Failure(f"{folder} holds parts but no _settings.json", "give another folder (--out)")
    cli.write_json(path, wanted)
    for left in Path(folder).glob(".*.part-*.parquet"):
        left.unlink()


def part_path(folder, block):
    """The Parquet file of a block."""
    return Path(folder) / f"part-{block:06d}.parquet"


def pending(folder, blocks, keep_bad):
    """Indices of the blocks still to be done. A part with bad images counts as done only when `keep_bad` (the user goes
    on without them); else it is made again, because the images may have been mended."""
    todo = []
    for i in range(len(blocks)):
        try:
            if keep_bad or not pq.read_table(part_path(folder, i), columns=["error"])["error"].drop_null().length():
                continue
        except FileNotFoundError:
            pass
        todo.append(i)
    return todo


def write_part(path, images, logits, errors, keep_logits):
    """Write a block's results: `images` (name, path, label) rows, logits float32 (N, classes), errors {row: reason}.

    Whole or not at all, and the same bytes whoever writes it: a block that is done twice changes nothing. Rows with an
    error have no other values. The temporary name is unique among hosts, unlike a process id.
    """
    best = np.argsort(-logits, axis=1, kind="stable")[:, :5]  # equal logits: the lower index first, as metrics.ranks
    good = [i not in errors for i in range(len(images))]

    def kept(array):
        return [row if ok else None for row, ok in zip(array, good)]

    columns = [[i.name for i in images], [i.label for i in images], kept(best.astype(np.int32)),
               kept(np.take_along_axis(logits, best, 1)), [errors.get(i) for i in range(len(images))]]
    schema = SCHEMA.append(LOGITS) if keep_logits else SCHEMA
    table = pa.Table.from_arrays([pa.array(c, f.type) for c, f in zip(columns + [kept(logits)] * keep_logits, schema)], schema=schema)
    part = Path(path).with_name(f".{uuid.uuid4().hex}.{Path(path).name}")
    try:
        pq.write_table(table, part)
        os.replace(part, path)
    finally:
        if part.exists():
            part.unlink()


def read_results(folder, blocks):
    """Read all parts, one at a time, against the listing: a metrics.Score (None without labels) and {name: error}.

    Failure when a part is absent, or its names are not its block's: then images would be lost or counted twice.
    """
    counts, total, bad = [0] * 5, 0, {}
    for i, block in enumerate(blocks):
        table = pq.read_table(part_path(folder, i), columns=["name", "label", "top5", "error"])
        if table["name"].to_pylist() != [image.name for image in block]:
            raise cli.Failure(f"{part_path(folder, i)} does not hold the names of its block", "delete it and run again")
        for row in table.to_pylist():
            if row["error"] is not None:
                bad[row["name"]] = row["error"]
            elif row["label"] is not None:
                total += 1
                if row["label"] in row["top5"]:
                    rank = row["top5"].index(row["label"])
                    counts = [c + (k >= rank) for k, c in enumerate(counts)]
    labelled = blocks[0][0].label is not None
    return (metrics.Score(counts, total, missing=sorted(bad)) if labelled else None), bad
