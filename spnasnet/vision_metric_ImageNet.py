"""Top-1…Top-5 of spnasnet_100's offline model, joined with the labels by name, as a JSON file.

    python3 vision_metric_ImageNet.py result/dumpOutput_device0/ imagenet/val_label.txt ./ bs1.json

    Top1 accuracy: 74.20%, Top5 accuracy: 91.94%
    top1=74.20% top5=91.94% good=37100 total=50000

Results of ais_bench and of the older benchmark tool are read alike. Whole-batch files need
--manifest, the folder of the bins.
"""
import argparse
from pathlib import Path

from common import cli
from common.score import script

FOLDER = Path(__file__).parent


def get_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result", metavar="RESULT",
                        help="folder that the inference tool wrote, or the parent of one run")
    parser.add_argument("labels", metavar="LABELS", help="val_label.txt, or the images' folder")
    parser.add_argument("out_dir", metavar="OUT_DIR", help="folder for the JSON file")
    parser.add_argument("out_name", metavar="JSON", help="name of the JSON file")
    script.add_arguments(parser)
    return parser.parse_args(argv)


def main():
    args = get_args()
    found = script.open_run(args, args.result, args.labels)
    known = script.labels(found, args.labels, FOLDER)
    score = script.evaluate(found, known, args, FOLDER)
    print(f"Top1 accuracy: {score.percent(1)}%, Top5 accuracy: {score.percent(5)}%")
    script.finish(score, found, args, table=Path(args.out_dir) / args.out_name)


if __name__ == "__main__":
    cli.run(main)
