"""Top-1 and Top-5 of Twins' offline model; no image is decoded for it.

    python3 Twins_postprocess.py --pred result/alt_gvt_large_bs8 --input_path data/imagenet/val

    Accuracy of the network on the 50000 val images: 83.7%
    top1=83.70% top5=96.57% good=41850 total=50000

Which rows of whole-batch files are which images is in the manifest.json beside the bins; it is
found through ais_bench's summary, or given with --manifest.
"""
import argparse
from pathlib import Path

from common import cli
from common.score import script

FOLDER = Path(__file__).parent


def get_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pred", default="result/dumpOutput_device0/",
                        help="folder that the inference tool wrote, or the parent of one run "
                             "(default: %(default)s)")
    parser.add_argument("--input_path", default="bin_path",
                        help="folder of the images, or flat with val_label.txt; or that of the "
                             "bins, which knows the labels (default: %(default)s)")
    script.add_arguments(parser)
    return parser.parse_args(argv)


def main():
    args = get_args()
    found = script.open_run(args, args.pred, args.input_path)
    known = script.labels(found, args.input_path, FOLDER)
    score = script.evaluate(found, known, args, FOLDER)
    top1 = 100 * score.counts[0] / score.total
    print(f"Accuracy of the network on the {score.total} val images: {top1:.1f}%")
    script.finish(score, found, args)


if __name__ == "__main__":
    cli.run(main)
