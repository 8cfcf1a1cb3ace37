"""Sort the flat archive of ImageNet's validation images into a folder for each class.

    mkdir ILSVRC2012_img_val && tar -xf ILSVRC2012_img_val.tar -C ILSVRC2012_img_val
    python3 -m tools.sort_val --images ILSVRC2012_img_val --labels val_label.txt \\
        --out imagenet/val
    make eval DATA=imagenet MODELS=ShiftViT

--labels is whatever names the classes; images and labels are joined by name, and both must add up:

    val_label.txt, val.txt            lines `ILSVRC2012_val_00000001.JPEG 65`: the index of the
                                      class among the sorted synsets, counted from 0
    LOC_val_solution.csv, valprep.sh  lines with the name of an image and then its synset
    ILSVRC2012_devkit_t12/            the official devkit, unpacked; its own order of classes is
                                      translated by synset (needs scipy)

The images are hard links, or copies where there can be no links. --images stays as it is, nothing
is written outside --out, and --out gets its name when it is whole. docs/data.md says more.
"""
import argparse
import collections
import os
import re
import secrets
import shutil
from pathlib import Path

from common import cli
from common.data import dataset, labels
from common.data.names import without_ending

# ILSVRC2012_val_00048981,n03995372 85 1 499 272 … or mv ILSVRC2012_val_00000001.JPEG n01751748/
BY_SYNSET = re.compile(r"(?:mv\s+)?([^\s,]*val_\d+[^\s,]*)[\s,]+(n\d{8})\b")
FULL, EACH = 50_000, 50
FIRST = ("n01751748", "n09193705", "n02105855")  # of images 1, 2 and 3
DEVKIT = "ILSVRC2012_validation_ground_truth.txt"


def get_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True,
                        help="folder of the unpacked images, flat")
    parser.add_argument("--labels", type=Path, required=True,
                        help="val_label.txt, a list with synsets, or the devkit's folder")
    parser.add_argument("--out", type=Path, required=True,
                        help="folder to make; call it val, and give its parent as DATA=")
    return parser.parse_args(argv)


def read(path):
    """{name of an image without ending: synset} of any of the forms above."""
    if path.is_dir():
        return of_devkit(path / "data" if (path / "data").is_dir() else path)
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    pairs = [match.groups() for match in map(BY_SYNSET.match, text.splitlines()) if match]
    if not pairs:
        synsets = list(labels.official())
        return {name: synsets[index] for name, index in labels.read_labels(path).items()}
    found = {}
    for name, synset in pairs:
        if found.setdefault(without_ending(name), synset) != synset:
            raise cli.Failure(f"{path}: {name} is of {found[without_ending(name)]} and of {synset}",
                              "keep the right line")
    return found


def of_devkit(folder):
    """The same of the devkit: line n of its ground truth is the number, from 1, of image n's class,
    and meta.mat has the synset of each number."""
    try:
        from scipy.io import loadmat
    except ImportError:
        raise cli.Failure(f"{folder}: scipy, which reads meta.mat, is not installed",
                          "pip install scipy, or give a val_label.txt") from None
    try:
        table = loadmat(folder / "meta.mat", squeeze_me=True)["synsets"]
        synsets = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in table}
        numbers = (folder / DEVKIT).read_text().split()
        return {f"ILSVRC2012_val_{i:08d}": synsets[int(n)] for i, n in enumerate(numbers, 1)}
    except (KeyError, ValueError) as e:
        raise cli.Failure(f"{folder} is not the devkit of ILSVRC 2012 ({e})",
                          "unpack ILSVRC2012_devkit_t12.tar.gz again") from None


def join(images, by_name, path):
    """{image: synset} for every image; Failure for what does not add up."""
    found, left = labels.join(by_name, images)
    without = [name for name in images if name not in found]
    wrong = sorted(set(found.values()) - set(labels.official()))
    bare = collections.Counter(map(os.path.basename, images))
    problems = cli.counted({
        f"images without a label in {path}": without,
        f"labels in {path} without an image": left,
        "synsets that are none of ImageNet's 1000": wrong,
        "names that come twice": [name for name, count in bare.items() if count > 1]})
    if problems:
        raise cli.Failure(problems, "is all of the archive here, and are these its labels?")
    return found


def check_full(found, path):
    """Failure where 50,000 images are labelled otherwise than ImageNet's are."""
    sizes = collections.Counter(found.values())
    first = [found.get(f"ILSVRC2012_val_{n:08d}.JPEG", synset) for n, synset in enumerate(FIRST, 1)]
    if len(found) == FULL and (set(sizes.values()) != {EACH} or first != list(FIRST)):
        raise cli.Failure(f"{path} does not have ImageNet's labels: image 1 is of {first[0]}, and "
                          f"classes have {min(sizes.values())} to {max(sizes.values())} images",
                          f"image 1 is of {FIRST[0]}, index 65; the devkit's numbers have another "
                          "order: give the devkit's folder")


def place(source, target):
    """Make `target` a hard link to the file `source`, or a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(os.path.realpath(source), target)
    except OSError:  # another disk, or a file system without links
        shutil.copy2(source, target)


def main():
    args = get_args()
    out = args.out
    if not out.name:
        raise cli.Usage(f"--out {out} has no name of its own", "give a new folder")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise cli.Failure(f"{out} is there and not empty", "give a new folder as --out")
    if args.images.resolve() in (out.resolve(), *out.resolve().parents):
        raise cli.Failure(f"{out} is inside {args.images}", "give a folder beside it as --out")
    images = dataset.find(args.images, labelled=False).images
    found = join([image.name for image in images], read(args.labels), args.labels)
    check_full({os.path.basename(name): synset for name, synset in found.items()}, args.labels)
    part = out.with_name(f".{secrets.token_hex(4)}.part.{out.name}")
    try:
        for image in images:
            place(image.path, part / found[image.name] / os.path.basename(image.name))
        os.replace(part, out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    print(f"wrote {len(images)} images in {len(set(found.values()))} class folders to {out}")
    print(f"next: make eval DATA={out.parent} MODELS=ShiftViT")


if __name__ == "__main__":
    cli.run(main)
