"""JPEG files to .bin files: our threads beside torchvision's transforms in as many processes.

    python3 -m benchmarks.prep --json build/benchmarks/prep.json

The images are generated: 500x375, about 100 KB each, as ImageNet's are on average. All sides read
from the disk's cache and write the same bytes, which is checked before anything is timed.
"""
import argparse
import contextlib
import functools
import hashlib
import io
import multiprocessing
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from benchmarks import measure
from common.data import dataset, fast_jpeg, preprocess, transforms

RECIPE = transforms.Recipe()
ONE = "torchvision, 1 process"


def get_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000,
                        help=f"at least {fast_jpeg.WORTH}, else numba is not used "
                             "(default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2,
                        help="our threads, the peer's processes (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--folder", help="where to make the temporary folder")
    parser.add_argument("--json", metavar="FILE", help="write the figures there")
    return parser.parse_args(argv)


def photograph(seed):
    """Bytes of a JPEG of about 100 KB: soft shapes, and grain as a photograph has it."""
    rng = np.random.default_rng(seed)
    shapes = Image.fromarray(rng.integers(0, 256, (19, 25, 3), np.uint8))
    shapes = np.asarray(shapes.resize((500, 375), Image.Resampling.BICUBIC))
    grain = Image.fromarray(rng.normal(128, 28, (375, 500, 3)).clip(0, 255).astype(np.uint8))
    grain = np.asarray(grain.filter(ImageFilter.GaussianBlur(0.8)), np.int16) - 128
    out = io.BytesIO()
    picture = (shapes + grain).clip(0, 255).astype(np.uint8)
    Image.fromarray(picture).save(out, "JPEG", quality=95)
    return out.getvalue()


@functools.lru_cache(maxsize=None)
def theirs():
    """The documented recipe, as torchvision's users write it."""
    from torchvision import transforms as tv

    return tv.Compose([tv.Resize(RECIPE.resize, tv.InterpolationMode.BICUBIC),
                       tv.CenterCrop(RECIPE.crop), tv.ToTensor(),
                       tv.Normalize(RECIPE.mean, RECIPE.std)])


def convert(path, folder):
    """The peer's step for one image."""
    from torchvision.datasets.folder import default_loader

    theirs()(default_loader(path)).numpy().tofile(folder / f"{Path(path).stem}.bin")


def ours(data, folder, workers, worth):
    """What the model folders' *_preprocess.py run, here without what it prints; numba is used
    from `worth` images on."""
    options = argparse.Namespace(jobs=workers, limit=None, allow_partial=False, input="float32")
    fast_jpeg.WORTH = worth
    quiet = io.StringIO()
    with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
        preprocess.run(data, folder, RECIPE, options)


def digests(folder):
    """{name: SHA-256} of the bins in `folder`."""
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.glob("*.bin")}


def draw(folder, count):
    """`count` JPEGs in a folder, 50 of them different; returns the Dataset and these 50."""
    (folder / "val").mkdir(parents=True)
    different = [photograph(seed) for seed in range(min(count, 50))]
    names = [f"image_{i:05d}.JPEG" for i in range(count)]
    for i, name in enumerate(names):
        (folder / "val" / name).write_bytes(different[i % len(different)])
    (folder / "val_label.txt").write_text("".join(f"{name} {i % 1000}\n"
                                                  for i, name in enumerate(names)))
    return dataset.find(folder), different


def end_to_end(args, temp, data):
    """{side: seconds} for all images, from files to files; the names of the sides in order."""
    import torch

    paths, n = [image.path for image in data.images], args.workers
    names = [ONE, f"torchvision, {n} processes", f"ours, {n} threads",
             f"ours without numba, {n} threads"]
    folders = {name: temp / str(i) for i, name in enumerate(names)}
    one, many, quick, slow = (folders[name] for name in names)
    with multiprocessing.get_context("spawn").Pool(n, torch.set_num_threads, (1,)) as pool:
        sides = dict(zip(names, (
            lambda: [convert(path, one) for path in paths],
            lambda: pool.starmap(convert, [(path, many) for path in paths], 16),
            lambda: ours(data, quick, n, 0),
            lambda: ours(data, slow, n, args.images + 1)), strict=True))

        def fresh(name):
            shutil.rmtree(folders[name], ignore_errors=True)
            folders[name].mkdir()
            os.sync()  # what the side before has left to write is not this side's work

        for name, side in sides.items():
            fresh(name)
            side()
            written = digests(folders[name])
            if written != digests(one) or len(written) != args.images:
                raise SystemExit(f"{name} does not write the same bytes as {ONE}")
        return measure.interleave(sides, args.rounds, before=fresh), names


def in_memory(args, files):
    """{side: seconds} for `files` (bytes), decoded from memory into an array, on one core."""
    shape, tools = (3, RECIPE.crop, RECIPE.crop), fast_jpeg.compiled()
    out = np.empty(shape, np.float32)

    def peer():
        for content in files:
            theirs()(Image.open(io.BytesIO(content)).convert("RGB")).numpy()

    def quick():
        for content in files:
            if not fast_jpeg.from_bytes(content, RECIPE, out, tools):
                raise SystemExit("an image does not take the fast way")

    return measure.interleave({"torchvision": peer, "ours": quick}, 3 * args.rounds)


def main():
    args = get_args()
    if not fast_jpeg.compiled():
        raise SystemExit("OpenCV or numba is missing: there is nothing to compare")
    import torch

    torch.set_num_threads(1)  # as in DataLoader's workers; more make such small images slower
    with tempfile.TemporaryDirectory(dir=args.folder) as temp:
        data, files = draw(Path(temp) / "data", args.images)
        times, (_, many, quick, slow) = end_to_end(args, Path(temp), data)
    memory = in_memory(args, files)
    rows = [[name, f"{measure.per_second(taken, args.images):.0f}",
             measure.shown(measure.ratio(times, ONE, name)),
             measure.shown(measure.ratio(times, many, name)) if name in (quick, slow) else ""]
            for name, taken in times.items()]
    rows += [[f"in memory, one core: {name}", f"{measure.per_second(taken, len(files)):.0f}",
              measure.shown(measure.ratio(memory, "torchvision", name)), ""]
             for name, taken in memory.items()]
    same, inside = measure.ratio(times, many, quick), measure.ratio(memory, "torchvision", "ours")
    size = sum(map(len, files)) / len(files) / 1000
    n = args.workers
    head = ["side", "images/s", "beside torchvision in 1 process", f"in {n} processes"]
    claim = f"JPEG to .bin, end to end, {n} threads beside torchvision in {n} processes"
    measure.finish(args, "Preprocessing", head, rows, [
        (claim, same[0], 1.5),
        ("in memory, one core beside one core of torchvision", inside[0], 2.5)],
        [f"{args.images} JPEGs of {size:.0f} KB on average, .bin files of 602 KB; every side "
         "writes the same bytes."])


if __name__ == "__main__":
    main()
