"""ImageNet validation images → .bin files for ConvMixer: short side 233 bicubic, centre crop 224, ImageNet's mean and std.

    python3 convmixer_preprocess.py --image-path ILSVRC2012/images --prep-image prep_image_bs4 --batch-size 4

With --batch-size above 1 a bin holds a whole batch (input_00000.bin), the last one padded with zeros; with 1 it holds
one image and bears its name. manifest.json beside the bins says which row is which image and which is padding.
"""
import argparse
from pathlib import Path

from common import cli
from common.data import dataset, preprocess, transforms


def get_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    # ModelZoo's page explains --datasets_path and --batch_size, its script has the others.
    parser.add_argument("--image-path", "--datasets_path", required=True,
                        help="folder of the images, flat or a folder a class, or their parent")
    parser.add_argument("--prep-image", default="prep_image_bs1", help="folder for the bins (default: %(default)s)")
    parser.add_argument("--batch-size", "--batch_size", type=preprocess.positive, default=1,
                        help="images in a bin (default: 1)")
    preprocess.add_arguments(parser)
    return parser.parse_args(argv)


def main():
    args = get_args()
    recipe = transforms.published(Path(__file__).parent)
    preprocess.run(dataset.find(args.image_path), args.prep_image, recipe, args, args.batch_size, "input_{:05d}")


if __name__ == "__main__":
    cli.run(main)
