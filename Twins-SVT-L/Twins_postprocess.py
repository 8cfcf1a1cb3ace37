"""Top-1 and Top-5 of Twins' offline model; an image's label is the folder that it lies in, and no image is decoded.

    python3 Twins_postprocess.py --pred result/alt_gvt_large_bs8 --input_path data/imagenet/val

    Accuracy of the network on the 50000 val images: 83.7%
    top1=83.70% top5=96.57% good=41850 total=50000

Whole-batch files need --manifest, which names the folder of the bins; with ais_bench's summary beside the results it is
found without.
"""
import argparse

from common import cli
from common.data import dataset
from common.score import metrics, results


def get_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pred", required=True, help="folder that the inference tool wrote (a run, or the parent of one)")
    parser.add_argument("--input_path", required=True,
                        help="folder of the images, a folder a class; or flat, with val_label.txt")
    metrics.add_arguments(parser)
    return parser.parse_args(argv)


def main():
    args = get_args()
    manifest = dataset.labelled(args.input_path, args.manifest or results.manifest_of(args.pred))
    score = metrics.evaluate(args.pred, manifest, args.allow_partial)
    print(f"Accuracy of the network on the {score.total} val images: {100 * score.counts[0] / score.total:.1f}%")
    metrics.finish(score, args)


if __name__ == "__main__":
    cli.run(main)
