"""Images → .bin files for ais_bench (C order, no header) and a manifest that says what is what.

A row of a bin is an image: float32 3×crop×crop, or with --input uint8 its bytes crop×crop×3. The
five models' *preprocess* scripts call step(). It runs at every make: it looks at the size and the
times of all images, makes the bins whose images or settings changed, and leaves the rest alone.
"""
from __future__ import annotations

import argparse
import gc
import hashlib
import os
from pathlib import Path

import PIL  # its release alone, which decides some bits of a bin

from common import cli, provenance, published
from common.data import bins, dataset, names
from common.data import recipe as recipes
from common.data.manifest import NAME, Manifest, Row

CODE = ("bins.py", "recipe.py", "transforms.py")  # what shapes a bin; fast_jpeg.py does not

GO_ON = "or go on without them: --allow-partial (make: ALLOW_PARTIAL=1)"


def add_arguments(parser):
    """Options that every preprocessing script has besides ModelZoo's own."""
    parser.add_argument("--batch-size", "--batch_size", type=positive, default=1,
                        help="images in a bin (default: 1)")
    parser.add_argument("--jobs", type=positive, default=cli.cores(),
                        help="images worked on at a time (default: the cores, %(default)s)")
    parser.add_argument("--limit", type=positive, metavar="N",
                        help="only N images, spread evenly over the dataset")
    parser.add_argument("--input", choices=("float32", "uint8"), default="float32",
                        help="what the bins hold: normalised planes, or an image's bytes for an "
                             "offline model that normalises them (AIPP) (default: %(default)s)")
    parser.add_argument("--allow-partial", action="store_true",
                        help="go on without images that cannot be read; every later output says "
                             "how many are missing")


def positive(text):
    """argparse type: an integer above 0."""
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive integer")
    return int(text)


def step(folder, root, save_dir, args, key="preprocessing", **more):
    """The whole step of a model: images under `root` → bins in `save_dir`; returns the Manifest.

    folder: the model's, whose published.json has the recipe under `key`; more: see run(). Where the
    images are not at hand, bins of the same settings that are whole are enough.
    """
    recipe = recipes.published(folder, key)
    if not os.path.exists(root) and (Path(save_dir) / NAME).exists():
        return _without_images(root, save_dir, recipe, args)
    gc.set_threshold(100_000)  # saves a fifth for 50,000 images that are up to date
    about = published.load(folder)
    data = dataset.find(root, classes=about.classes, known=about.names)
    return run(data, save_dir, recipe, args, args.batch_size, **more)


def _without_images(root, save_dir, recipe, args):
    manifest = Manifest.load(save_dir)
    wanted = {"dataset": str(root), "recipe": recipe.as_dict(), "dtype": args.input,
              "batch_size": args.batch_size,
              "limit": _limit(args.limit, manifest.info.get("dataset_total", 0))}
    other = [key for key, value in wanted.items() if manifest.info.get(key) != value]
    if other:
        raise cli.Failure(f"the bins in {save_dir} were made with another {cli.some(other)}, and "
                          f"{root} does not exist", "give the images (DATA=), or the same settings")
    manifest.check_bins(save_dir)
    print(f"{root} is not here; {save_dir} has its {len(manifest.files)} bins of "
          f"{len(manifest.rows)} images")
    return manifest


def run(data, save_dir, recipe, args, batch_size=1, batch_name="batch-{:05d}"):
    """Write the bins of Dataset `data` into `save_dir` and return their Manifest.

    batch_size 1: one bin for each image, see names.stems(). Above: whole batches, named by
    `batch_name`; the last one is filled up with zeros. Failure, after all that can be read is done,
    when images cannot be read and not args.allow_partial.
    """
    save_dir = Path(save_dir)
    if data.strays and not args.allow_partial:
        raise cli.Failure(f"{data.root}: {len(data.strays)} files are no images by their endings: "
                          f"{cli.some(data.strays)}", f"move them away, {GO_ON}")
    total, data = len(data.images), data.subset(args.limit)
    plan = _plan(data.images, batch_size, batch_name)
    side, raw = recipe.crop, args.input == "uint8"
    settings = {"recipe": recipe.as_dict(), "dtype": args.input,
                "shape": [side, side, 3] if raw else [3, side, side],
                "batch_size": batch_size, "pillow": PIL.__version__, "code": code_digest()}
    layout = f"{data.layout}, demo" if data.demo else data.layout
    how = f"{recipe}, normalised in the model" if raw else recipe
    print(f"{len(data.images)} images of {data.root} ({layout}) → {save_dir}, {how}")
    for note in data.notes:
        print(f"note: {note}")

    old, time = _before(save_dir)
    sources, bad, made = bins.bring_up_to_date(plan, save_dir, settings, args.jobs, old)
    _check_bad(bad, len(data.images), args.allow_partial)
    bad.update(dict.fromkeys(data.strays, "is no image by its ending"))
    rows = [Row(image.name, stem, i, image.label) for stem, images in plan.items()
            for i, image in enumerate(images) if image.name not in bad]
    manifest = Manifest(rows, dict.fromkeys((row.file for row in rows), batch_size), {
        "dataset": str(data.root), "layout": data.layout, "demo": data.demo,
        "labels_from": data.labels_from, "notes": list(data.notes), "classes": data.classes,
        "class_names": list(data.known),
        "dataset_total": total, "limit": _limit(args.limit, total),
        "bad": dict(sorted(bad.items())), **settings, "images_digest": _digest(sources)})
    size = bins.row_bytes(settings) * batch_size
    manifest.info["probe"] = bins.probe(list(manifest.files), size, save_dir)
    changed = _save(manifest, old, time, save_dir)
    partial = f", {len(bad)} missing (partial)" if bad else ""
    said = f"{len(manifest.files)} bins of {len(rows)} images{partial}"
    if made:
        print(f"wrote {said} and manifest.json to {save_dir}")
    else:
        print(f"{'wrote manifest.json of' if changed else 'up to date:'} {said} in {save_dir}")
    return manifest


def _before(folder):
    """(Manifest, its time) of the run before; two None where it is absent or damaged."""
    try:
        return Manifest.load(folder), os.stat(folder / NAME).st_mtime_ns
    except (cli.Failure, OSError):
        return None, None


def _save(new, old, time, folder):
    """Write manifest.json; return whether it changed.

    Make runs the later steps when its time changes: one that says the same of the images keeps its
    time, and the name of their folder.
    """
    path = folder / NAME
    same = old is not None and _said(old) == _said(new)
    if same:
        new.info.update((key, old.info[key]) for key in ("dataset", "made") if key in old.info)
    else:
        path.unlink(missing_ok=True)
        new.info["made"] = provenance.made(path, [])
    if not path.exists():
        new.save(folder)
        if same:  # bins.py took it away while bins were missing
            os.utime(path, ns=(time, time))
    return not same


def _said(manifest):
    """What a Manifest says of the images; where they are changes no figure."""
    info = {key: value for key, value in manifest.info.items() if key not in ("dataset", "made")}
    return manifest.rows, manifest.files, info


def _limit(limit, total):
    """What of --limit takes effect: None when there are not more images."""
    return limit if limit and limit < total else None


def _check_bad(bad, images, allow_partial):
    for name, why in sorted(bad.items()):
        print(f"bad image: {name if name.isprintable() else ascii(name)}: {why}")
    if len(bad) == images:
        raise cli.Failure(f"none of the {images} images could be read, listed above",
                          "is the dataset unpacked?")
    if bad and not allow_partial:
        raise cli.Failure(f"{len(bad)} of {images} images could not be read, listed above",
                          f"replace them and run again, {GO_ON}")


def _plan(images, batch_size, batch_name):
    """{stem of a bin: the images that it holds}, in order."""
    if batch_size == 1:
        stems = names.stems([image.name for image in images])
        return {stem: [image] for stem, image in zip(stems, images)}
    starts = range(0, len(images), batch_size)
    return {batch_name.format(i): images[at:at + batch_size] for i, at in enumerate(starts)}


def code_digest():
    """A hash of the code that shapes a bin."""
    texts = [Path(__file__).with_name(name).read_bytes() for name in CODE]
    return hashlib.sha256(b"".join(texts)).hexdigest()[:16]


def _digest(sources):
    """SHA-256 over the names, sizes and CRC-32 of all images that are in bins."""
    lines = (f"{name}\0{size}\0{crc}\n" for images in sources.values()
             for name, size, _, _, crc in images)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
