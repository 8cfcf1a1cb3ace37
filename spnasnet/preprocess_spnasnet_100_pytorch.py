"""ImageNet's validation images → .bin files for spnasnet_100: 256×256 bilinear, centre crop 224.

    python3 preprocess_spnasnet_100_pytorch.py /root/datasets/imagenet/val ./prep_bin

The image is squashed to 256×256, whatever its shape: ModelZoo's published accuracy was measured so.
--keep-aspect brings the short side to 256 instead, which is timm's own evaluation of this network.
manifest.json beside the bins says which it was.
"""
import argparse
from pathlib import Path

from common import cli
from common.data import preprocess


def get_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("src", metavar="SRC",
                        help="folder of the images: flat with val_label.txt beside it, or one for "
                             "each class; or its parent")
    parser.add_argument("dst", metavar="DST", help="folder for the bins")
    parser.add_argument("--keep-aspect", action="store_true",
                        help="short side 256 instead of 256×256, as timm evaluates")
    preprocess.add_arguments(parser)
    return parser.parse_args(argv)


def main():
    args = get_args()
    preprocess.step(Path(__file__).parent, args.src, args.dst, args,
                    key="preprocessing_timm" if args.keep_aspect else "preprocessing")


if __name__ == "__main__":
    cli.run(main)
