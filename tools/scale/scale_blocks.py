"""What is worked on, in which blocks, and which blocks are done: the part of tools/scale/scale_out.py that needs no Ray.

A block is a slice of the listing, and one Parquet file. A file has its name only when it is whole, so the folder says
what is done, however a run ended.
"""
import hashlib
import json
import os
import uuid
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from common import cli
from common.data import dataset
from common.score import metrics

SCHEMA = pa.schema([("name", pa.string()), ("label", pa.int32()), ("top5", pa.list_(pa.int32(), 5)),
                    ("scores", pa.list_(pa.float32(), 5)), ("error", pa.string())])
LOGITS = pa.field("logits", pa.list_(pa.float32(), dataset.CLASSES))


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
    def done(path):
        if not path.exists():
            return False
        return keep_bad or not pq.read_table(path, columns=["error"])["error"].drop_null().length()

    return [i for i in range(len(blocks)) if not done(part_path(folder, i))]


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
    columns += [kept(logits)] * keep_logits
    table = pa.Table.from_arrays([pa.array(c, field.type) for c, field in zip(columns, schema)], schema=schema)
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
        try:
            table = pq.read_table(part_path(folder, i), columns=["name", "label", "top5", "error"])
        except (FileNotFoundError, pa.ArrowInvalid) as e:
            raise cli.Failure(f"{part_path(folder, i)} is missing or damaged ({e})", "delete it and run again") from None
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
