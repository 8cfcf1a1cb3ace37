"""JPEG files to .bin files: ours against torchvision's transforms, in one process and in as many as we have threads.

    python3 -m benchmarks.prep --json build/benchmarks/prep.json

The images are generated: 500x375, about 100 KB each, as ImageNet's are on average. All sides read from the disk's cache
and write the same bytes, which is checked before anything is timed.
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
from common.data import dataset, preprocess, transforms
from common.data import fast_jpeg as fast

RECIPE = transforms.Recipe()
SIDES = ("torchvision, 1 process", "torchvision, {} processes", "ours, {} threads", "ours without numba, {} threads")


def get_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000, help=f"at least {fast.WORTH}, else numba is not used "
                        "(default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="our threads, the peer's processes (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--folder", help="where to make the temporary folder (default: the system's)")
    parser.add_argument("--json", metavar="FILE", help="write the figures there")
    return parser.parse_args(argv)


def photograph(seed):
    """Bytes of a JPEG of about 100 KB: soft shapes, and grain as a photograph has it."""
    rng = np.random.default_rng(seed)
    shapes = Image.fromarray(rng.integers(0, 256, (19, 25, 3), np.uint8)).resize((500, 375), Image.Resampling.BICUBIC)
    grain = Image.fromarray(rng.normal(128, 28, (375, 500, 3)).clip(0, 255).astype(np.uint8))
    grain = np.asarray(grain.filter(ImageFilter.GaussianBlur(0.8)), np.int16) - 128
    out = io.BytesIO()
    Image.fromarray((np.asarray(shapes) + grain).clip(0, 255).astype(np.uint8)).save(out, "JPEG", quality=95)
    return out.getvalue()


@functools.lru_cache(maxsize=None)
def theirs():
    """The documented recipe, as torchvision's users write it."""
    from torchvision import transforms as tv

    return tv.Compose([tv.Resize(RECIPE.resize, tv.InterpolationMode.BICUBIC), tv.CenterCrop(RECIPE.crop), tv.ToTensor(),
                       tv.Normalize(RECIPE.mean, RECIPE.std)])


def convert(path, folder):
    """The peer's step for one image."""
    from torchvision.datasets.folder import default_loader

    theirs()(default_loader(str(path))).numpy().tofile(folder / f"{path.stem}.bin")


def ours(data, folder, workers, worth):
    """What the model folders' *_preprocess.py run, here without what it prints."""
    options = argparse.Namespace(jobs=workers, limit=None, allow_partial=False, input="float32")
    fast.WORTH = worth
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        preprocess.run(data, folder, RECIPE, options)


def digests(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.glob("*.bin")}


def end_to_end(args, temp):
    """Seconds of each side for all images, from files to files."""
    import torch

    (temp / "data/val").mkdir(parents=True)
    different = [photograph(seed) for seed in range(min(args.images, 50))]
    for i in range(args.images):
        (temp / f"data/val/image_{i:05d}.JPEG").write_bytes(different[i % len(different)])
    (temp / "data/val_label.txt").write_text("".join(f"image_{i:05d}.JPEG 0\n" for i in range(args.images)))
    size = sum(map(len, different)) / len(different)
    data = dataset.find(temp / "data")
    paths = [image.path for image in data.images]
    with multiprocessing.get_context("spawn").Pool(args.workers, torch.set_num_threads, (1,)) as pool:
        folders = {name.format(args.workers): temp / str(i) for i, name in enumerate(SIDES)}
        one, many, quick, slow = folders
        sides = {
            one: lambda: [convert(path, folders[one]) for path in paths],
            many: lambda: pool.starmap(convert, [(path, folders[many]) for path in paths], 16),
            quick: lambda: ours(data, folders[quick], args.workers, 0),
            slow: lambda: ours(data, folders[slow], args.workers, args.images + 1)}

        def fresh(name):
            shutil.rmtree(folders[name], ignore_errors=True)
            folders[name].mkdir()
            os.sync()  # what the side before has left to write, and what is deleted here, is not this side's work

        for name, side in sides.items():
            fresh(name)
            side()
            if digests(folders[name]) != digests(folders[one]) or len(digests(folders[name])) != args.images:
                raise SystemExit(f"{name} does not write the same bytes as {one}")
        return measure.interleave(sides, args.rounds, before=fresh), different, size


def in_memory(args, files):
    """Seconds of both sides for `files` (bytes), decoded from memory into an array, on one core."""
    out, tools = np.empty((3, RECIPE.crop, RECIPE.crop), np.float32), fast.compiled()

    def peer():
        for content in files:
            theirs()(Image.open(io.BytesIO(content)).convert("RGB")).numpy()

    def quick():
        for content in files:
            if not fast.from_bytes(content, RECIPE, out, tools):
                raise SystemExit("an image does not take the fast way")

    return measure.interleave({"torchvision": peer, "ours": quick}, 3 * args.rounds)


def main():
    args = get_args()
    if not fast.compiled():
        raise SystemExit("OpenCV or numba is missing: there is nothing to compare")
    import torch

    torch.set_num_threads(1)  # as in DataLoader's workers; more make such small images slower
    with tempfile.TemporaryDirectory(dir=args.folder) as temp:
        times, files, size = end_to_end(args, Path(temp))
    one, many, quick, slow = times
    memory = in_memory(args, files)
    rows = [[name, f"{args.images / min(times[name]):.0f}", measure.shown(measure.ratio(times, one, name))] for name in times]
    rows += [[f"in memory, one core: {name}", f"{len(files) / min(memory[name]):.0f}",
              measure.shown(measure.ratio(memory, "torchvision", name))] for name in memory]
    end, same = measure.ratio(times, one, quick), measure.ratio(times, many, quick)
    inside = measure.ratio(memory, "torchvision", "ours")
    measure.finish(args, "Preprocessing", ["side", "images/s", "against torchvision, 1 process"], rows, [
        ("JPEG to .bin, end to end, against torchvision in 1 process", end[0], 3.5),
        ("in memory on one core, against torchvision", inside[0], 2.5)],
        [f"{args.images} JPEGs of {size / 1000:.0f} KB on average, .bin files of 602 KB; every side writes the same bytes.",
         f"Against torchvision in {args.workers} processes: {measure.shown(same)}."])


if __name__ == "__main__":
    main()
