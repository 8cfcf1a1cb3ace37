"""Seeded crops of the photographs: a small data set of a real kind, and images to calibrate with.

    python3 -m tools.real.crops --photographs build/real/photographs --out build/real/data

writes data/val/<synset>/ (24 crops of each of twelve photographs, labelled as a person sees) and
data/calib/ (crops of the photographs that show no class; they are never scored).
"""
import argparse
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from common import cli
from tools.real.fetch import PHOTOGRAPHS

SYNSETS = Path(__file__).resolve().parents[2] / "common/imagenet_synsets.txt"
CROPS = 24
AREA = (0.6, 1.0)  # share of a photograph that a crop keeps


def get_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path, required=True, help="folder that fetch wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder of the data set")
    return parser.parse_args(argv)


def crop(image, rng):
    """A random part of a PIL image, in its proportions, mirrored half of the time."""
    side = rng.uniform(*AREA) ** 0.5
    width, height = (int(n * side) for n in image.size)
    left = int(rng.integers(0, image.width - width + 1))
    top = int(rng.integers(0, image.height - height + 1))
    part = image.crop((left, top, left + width, top + height))
    return part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else part


def write_crops(photograph, folder, seed):
    """Write CROPS seeded crops of a photograph into `folder` as JPEGs of high quality."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    image = Image.open(photograph).convert("RGB")
    for number in range(CROPS):
        name = f"{photograph.stem}_{number:02d}.jpg"
        crop(image, rng).save(folder / name, quality=95)


def main():
    args = get_args()
    synsets = SYNSETS.read_text().split()
    part = args.out.with_name(f".{args.out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    for seed, (name, label) in enumerate(PHOTOGRAPHS.items()):
        folder = part / "calib" if label is None else part / "val" / synsets[label]
        write_crops(args.photographs / Path(name).name, folder, seed)
    shutil.rmtree(args.out, ignore_errors=True)
    part.rename(args.out)
    scored = sum(label is not None for label in PHOTOGRAPHS.values())
    print(f"wrote {args.out}: {scored * CROPS} crops of {scored} photographs in val/, "
          f"{(len(PHOTOGRAPHS) - scored) * CROPS} for calibration")


if __name__ == "__main__":
    cli.run(main)
