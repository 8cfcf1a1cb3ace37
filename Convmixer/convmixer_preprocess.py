"""ImageNet's validation images → .bin files for ConvMixer: short side 233 bicubic, centre crop 224.

    python3 convmixer_preprocess.py --image-path ILSVRC2012/images \\
        --prep-image prep_bs4 --batch-size 4

With --batch-size above 1 a bin holds a whole batch (input_00000.bin), the last one filled up with
zeros; with 1 it holds one image and has its name. manifest.json beside the bins says what is what.
"""
import argparse
from pathlib import Path

from common import cli
from common.data import preprocess


def get_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    # ModelZoo's page explains --datasets_path and --batch_size, its script has the others.
    parser.add_argument("--image-path", "--datasets_path", required=True,
                        help="folder of the images, flat or one for each class; or its parent")
    parser.add_argument("--prep-image", default="prep_image_bs1",
                        help="folder for the bins (default: %(default)s)")
    preprocess.add_arguments(parser)
    return parser.parse_args(argv)


def main():
    args = get_args()
    preprocess.step(Path(__file__).parent, args.image_path, args.prep_image, args,
                    batch_name="input_{:05d}")


if __name__ == "__main__":
    cli.run(main)
