"""ImageNet's validation images → .bin files for Twins: short side 256 bicubic, centre crop 224.

    python3 Twins_preprocess.py --root_path data/imagenet/val --bin_path bin_path/

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
    parser.add_argument("--root_path", default="data/imagenet/val",
                        help="folder of the images, one folder for each class or flat; or its "
                             "parent (default: %(default)s)")
    parser.add_argument("--bin_path", default="bin_path",
                        help="folder for the bins (default: %(default)s)")
    preprocess.add_arguments(parser)
    return parser.parse_args(argv)


def main():
    args = get_args()
    preprocess.step(Path(__file__).parent, args.root_path, args.bin_path, args)


if __name__ == "__main__":
    cli.run(main)
