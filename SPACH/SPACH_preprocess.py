"""ImageNet's validation images → .bin files for SPACH: short side 256 bicubic, centre crop 224.

    python3 SPACH_preprocess.py --src-path /path/to/imagenet/val --save-path prep_dataset

A bin holds one image and has its name; with --batch-size above 1 it holds a whole batch
(batch-00000.bin), the last one filled up with zeros. manifest.json beside the bins says which row
is which image.
"""
import argparse
from pathlib import Path

from common import cli
from common.data import preprocess


def get_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    # ModelZoo's page explains --data_dir and --save_dir, its script has the others.
    parser.add_argument("--src-path", "--data_dir", required=True,
                        help="folder of the images, flat or one for each class; or its parent")
    parser.add_argument("--save-path", "--save_dir", required=True, help="folder for the bins")
    preprocess.add_arguments(parser)
    return parser.parse_args(argv)


def main():
    args = get_args()
    preprocess.step(Path(__file__).parent, args.src_path, args.save_path, args)


if __name__ == "__main__":
    cli.run(main)
