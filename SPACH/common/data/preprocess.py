"""Images → .bin files for ais_bench, C order, no header: float32 3×crop×crop a row, or bytes crop×crop×3; with a manifest.

The model folders' *_preprocess.py call `run()`. It works in threads (Pillow, OpenCV and file writes release Python's lock,
so nothing has to be forked or pickled), takes up an interrupted run where it stopped, and never gives a bin its name
before it is whole. `.journal` in the folder says from which source each bin was made.
"""
import argparse
import concurrent.futures
import hashlib
import json
import os
import shutil
import threading
from pathlib import Path

import numpy as np
from PIL import UnidentifiedImageError

from common import cli
from common.data import dataset, transforms
from common.data import fast_jpeg as fast
from common.data.rows import Files, Rows, pack, pieces, unpack

AT_A_TIME = 2000  # bins that wait for a thread
PIECE = 16  # images that a thread works on before it reports; for each alone that is a twelfth of the time


def add_arguments(parser):
    """Options that every preprocessing script has besides ModelZoo's own."""
    parser.add_argument("--jobs", type=positive, default=cli.cores(),
                        help="images worked on at a time (default: the cores, %(default)s)")
    parser.add_argument("--limit", type=positive, metavar="N", help="only N images, spread evenly over the dataset")
    parser.add_argument("--input", choices=("float32", "uint8"), default="float32",
                        help="what the bins hold: normalised planes, or an image's bytes for an offline model that "
                             "normalises them itself (AIPP) (default: %(default)s)")
    parser.add_argument("--allow-partial", action="store_true",
                        help="go on without images that cannot be read; every later output says how many are missing")


def positive(text):
    """argparse type: an integer above 0."""
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive integer")
    return int(text)


def run(data, save_dir, recipe, args, batch_size=1, batch_name="batch-{:05d}"):
    """Write the bins of Dataset `data` into `save_dir` and return their Manifest.

    batch_size 1: one bin an image, named by the image's stem. Above: whole batches named by `batch_name`; the last one
    is padded with zeros up to batch_size rows, and the manifest records which rows are images, so that none is dropped
    and none is counted twice. Images that cannot be read are all listed at the end and fail the step, unless
    args.allow_partial. Raises Failure.
    """
    total, data = len(data.images), data.subset(args.limit)
    save_dir = Path(save_dir)
    save_dir.mkdir(parents=True, exist_ok=True)
    with cli.lock(save_dir / ".lock"):
        return _run(data, total, save_dir, recipe, args, batch_size, batch_name)


def _run(data, total, save_dir, recipe, args, batch_size, batch_name):
    count = -(-len(data.images) // batch_size)
    names = (i.stem for i in data.images) if batch_size == 1 else map(batch_name.format, range(count))
    bins = Files(pack(names), np.full(count, batch_size, np.int32))  # a bin is its index there from here on

    def images_of(at):
        return data.images[at * batch_size:(at + 1) * batch_size]

    raw = args.input == "uint8"
    shape = (recipe.crop, recipe.crop, 3) if raw else (3, recipe.crop, recipe.crop)
    size = batch_size * 3 * recipe.crop ** 2 * (1 if raw else 4)
    print(f"{len(data.images)} images of {data.root} ({data.layout}{', demo' if data.demo else ''}) → {save_dir}, {recipe}"
          + (", normalised in the model" if raw else ""))

    settings = [recipe.as_dict(), batch_size, args.input]
    signatures = np.fromiter((_signature(images_of(at), settings).encode() for at in range(count)), "S40", count)
    journal = _read_journal(save_dir)
    present = {e.name[:-4]: e.stat().st_size for e in os.scandir(save_dir) if e.name.endswith(".bin")}
    if present and not (save_dir / ".journal").exists():
        raise cli.Failure(f"{save_dir} holds .bin files that are not of this step ({dataset.some(sorted(present), 1)}.bin)",
                          "give another folder, or delete this one")
    for name in present.keys() - set(bins):
        (save_dir / f"{name}.bin").unlink()
    todo = np.array([at for at, (name, signature) in enumerate(zip(bins, signatures))
                     if journal.get(name) != signature.decode() or present.get(name) != size], np.int32)
    del journal, present
    if len(todo) < count:
        print(f"{count - len(todo)} of {count} bins are there already")
    if len(todo):
        (save_dir / "manifest.json").unlink(missing_ok=True)

    part = save_dir / ".part"  # unfinished bins lie here, where ais_bench does not look
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    bad = {}
    tools = fast.compiled() if min(len(todo) * batch_size, len(data.images)) >= fast.WORTH else None

    own = threading.local()

    def name_of(at):
        return unpack(bins.names[at:at + 1])[0]

    def work(at):
        name, images = name_of(at), images_of(at)
        if not hasattr(own, "rows"):  # one array a thread: fresh memory costs more than filling it again
            own.rows = np.empty((batch_size, *shape), args.input)
        rows, errors = own.rows, {}
        rows.fill(0)
        for row, image in zip(rows, images):
            try:
                fast.read(image.path, recipe, row, tools)
            except FileNotFoundError:
                errors[image.path] = "is gone"
            except UnidentifiedImageError:
                errors[image.path] = "is no image"
            except transforms.UNREADABLE as e:
                errors[image.path] = str(e) or type(e).__name__
        if len(errors) < len(images):
            try:
                (part / name).write_bytes(rows)
            except OSError as e:  # a full disk is reported without a name
                e.filename = e.filename or str(save_dir / f"{name}.bin")
                raise
            os.replace(part / name, save_dir / f"{name}.bin")
        else:
            (save_dir / f"{name}.bin").unlink(missing_ok=True)
        return at, errors

    with open(save_dir / ".journal", "a") as f, concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        tasks = []

        def finished():
            most = max(1, min(PIECE // batch_size, len(todo) // (4 * args.jobs)))  # of few, some for each thread
            for some in pieces(map(int, todo), AT_A_TIME):
                tasks[:] = [pool.submit(lambda piece=piece: [*map(work, piece)]) for piece in pieces(some, most)]
                for task in concurrent.futures.as_completed(tasks):
                    yield from task.result()
                    f.flush()
        try:
            for at, errors in cli.progress(finished(), "preprocess", len(todo), "bin"):
                bad.update(errors)
                if not errors:
                    f.write(f"{name_of(at)} {signatures[at].decode()}\n")
        finally:
            for task in tasks:
                task.cancel()
    part.rmdir()

    for path, why in sorted(bad.items()):
        print(f"bad image: {path}: {why}")
    if len(bad) == len(data.images):
        raise cli.Failure(f"none of the {len(bad)} images could be read, listed above", "is the dataset unpacked?")
    if bad and not args.allow_partial:
        raise cli.Failure(f"{len(bad)} of {len(data.images)} images could not be read, listed above",
                          "replace them and run again, or go on without them: --allow-partial (make: ALLOW_PARTIAL=1)")
    rows = Rows.of((image.path.name, name, i, image.label) for at, name in enumerate(bins)
                   for i, image in enumerate(images_of(at)) if image.path not in bad)
    manifest = dataset.Manifest(rows, Files.alike(rows, batch_size), {
        "dataset": str(data.root.resolve()), "layout": data.layout, "demo": data.demo, "dataset_total": total,
        "limit": args.limit if len(data.images) < total else None, "bad": {p.name: why for p, why in sorted(bad.items())},
        "recipe": recipe.as_dict(), "dtype": args.input, "shape": list(shape), "batch_size": batch_size})
    with cli.whole_file(save_dir / ".journal") as whole, open(whole, "w") as f:
        for at, name in enumerate(bins):
            if not bad or not any(i.path in bad for i in images_of(at)):
                f.write(f"{name} {signatures[at].decode()}\n")
    manifest.save(save_dir)
    partial = f", {len(bad)} missing (partial)" if bad else ""
    print(f"wrote {len(manifest.files)} bins of {len(rows)} images{partial} and manifest.json to {save_dir}")
    return manifest


def _signature(images, settings):
    """What a bin depends on: the settings, and name, size and time of change of its images."""
    stats = []
    for image in images:
        try:
            s = image.path.stat()
            stats.append([str(image.path.resolve()), s.st_size, s.st_mtime_ns])
        except OSError:  # gone, or a link in a circle: reading it will say so
            stats.append([str(image.path), None, None])
    return hashlib.sha1(json.dumps([settings, stats]).encode()).hexdigest()


def _read_journal(save_dir):
    """{bin stem: signature}; a last line that a kill cut short matches no signature and so counts for nothing."""
    try:
        lines = (save_dir / ".journal").read_text().split("\n")
    except FileNotFoundError:
        return {}
    return dict(line.split(" ", 1) for line in lines if " " in line)
