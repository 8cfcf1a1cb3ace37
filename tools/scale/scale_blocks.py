"""What is worked on, in which blocks, and which blocks are done: the part of scale_out.py that
needs no Ray.

A block is a slice of the listing, and one Parquet file. A file has its name only when it is
whole, and says by which images it was made; so the folder says what is done, however a run ended.
"""
import hashlib
import json
import os
import uuid
from pathlib import Path

import PIL  # its release alone, as for the bins
import pyarrow as pa
import pyarrow.parquet as pq

from common import cli
from common.data import preprocess
from common.score import metrics

SCHEMA = pa.schema([("name", pa.string()), ("label", pa.int32()),
                    ("top5", pa.list_(pa.int32(), 5)), ("scores", pa.list_(pa.float32(), 5)),
                    ("error", pa.string())])
IMAGES = b"images"  # key of the digest of a part's images in its metadata


def digest(rows):
    """SHA-256 of rows of values."""
    text = "\n".join("\t".join(map(str, row)) for row in rows)
    return hashlib.sha256(text.encode()).hexdigest()


def content_of(block):
    """Digest of the sizes and times of a block's images: another one means other images."""
    return digest((image.name, image.seen) for image in block)


def settings(images, size, facts, **others):
    """What shapes the parts: the listing, the block's size, the offline model by its record's
    `facts`, what computes the pixels, and `others`."""
    model = {k: facts.get(k) for k in ("engine", "engine_version", "precision", "batch")}
    model["sha256"] = facts["made"]["sha256"]
    return {"images": len(images), "listing": digest((i.name, i.path, i.label) for i in images),
            "block": size, "model": model, "pillow": PIL.__version__,
            "code": preprocess.code_digest(), **others}


def accept(folder, wanted):
    """Record the settings in `folder`; Failure when it holds parts of other settings. Removes
    what a kill left."""
    path = Path(folder) / "_settings.json"
    if path.exists():
        found = cli.read_json(path, f"give another folder, or delete {folder}")
        differ = [f"{k} is {json.dumps(found.get(k))}, now {json.dumps(wanted.get(k))}"
                  for k in {**found, **wanted} if found.get(k) != wanted.get(k)]
        if differ:
            raise cli.Failure(f"{folder} holds results of other settings: {'; '.join(differ)}",
                              "give another folder (--out), or delete this one")
    elif any(Path(folder).glob("part-*.parquet")):
        raise cli.Failure(f"{folder} holds parts but no _settings.json",
                          "give another folder (--out)")
    cli.write_json(path, wanted)
    for left in Path(folder).glob(".*.part-*.parquet"):
        left.unlink()


def part_path(folder, block):
    """The Parquet file of a block."""
    return Path(folder) / f"part-{block:06d}.parquet"


def done(path, block, keep_bad):
    """Whether the part `path` of `block` is there and of these images. One with bad images counts
    only when `keep_bad` (the user goes on without them): they may have been replaced."""
    if not path.exists():
        return False
    try:
        table = pq.read_table(path, columns=["error"])
    except pa.ArrowInvalid:
        return False
    if (table.schema.metadata or {}).get(IMAGES) != content_of(block).encode():
        return False
    return keep_bad or table["error"].null_count == len(table)


def pending(folder, blocks, keep_bad):
    """Indices of the blocks still to be done."""
    return [i for i, block in enumerate(blocks) if not done(part_path(folder, i), block, keep_bad)]


def write_part(path, images, logits, errors, keep_logits):
    """Write a block's results: `images` are Images, logits float32 (N, classes), errors {row:
    reason}; rows with an error have no other values.

    Whole or not at all, and the same bytes whoever writes it: a block that is done twice changes
    nothing. The temporary name is unique among hosts, unlike a process id.
    """
    top5, scores = metrics.best(logits)
    columns = {"top5": top5, "scores": scores}
    schema = SCHEMA
    if keep_logits:
        columns["logits"] = logits
        schema = schema.append(pa.field("logits", pa.list_(pa.float32(), logits.shape[1])))
    columns = {name: [row if i not in errors else None for i, row in enumerate(values)]
               for name, values in columns.items()}
    columns["name"] = [image.name for image in images]
    columns["label"] = [image.label for image in images]
    columns["error"] = [errors.get(i) for i in range(len(images))]
    schema = schema.with_metadata({IMAGES: content_of(images)})
    table = pa.table([pa.array(columns[f.name], f.type) for f in schema], schema=schema)
    part = Path(path).with_name(f".{uuid.uuid4().hex}.{Path(path).name}")
    try:
        pq.write_table(table, part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def read_part(path, block):
    """The rows of a part as dicts. Failure when it is absent, or not of these images: then some
    would be lost or counted twice."""
    try:
        table = pq.read_table(path, columns=["name", "label", "top5", "error"])
    except (FileNotFoundError, pa.ArrowInvalid) as e:
        raise cli.Failure(f"{path} is missing or damaged ({e})",
                          "delete it and run again") from None
    if table["name"].to_pylist() != [image.name for image in block]:
        raise cli.Failure(f"{path} does not hold the names of its block",
                          "delete it and run again")
    return table.to_pylist()


def read_results(folder, blocks):
    """All parts, one at a time: (a metrics.Score, None without labels; {name: error})."""
    counts, total, bad = [0] * 5, 0, {}
    for i, block in enumerate(blocks):
        for row in read_part(part_path(folder, i), block):
            if row["error"] is not None:
                bad[row["name"]] = row["error"]
            elif row["label"] is not None:
                total += 1
                if row["label"] in row["top5"]:
                    rank = row["top5"].index(row["label"])
                    counts = [c + (k >= rank) for k, c in enumerate(counts)]
    if blocks[0][0].label is None:
        return None, bad
    return metrics.Score(counts, total, missing=sorted(bad)), bad
