"""Top-1 and Top-5 of SPACH's offline model, joined with the labels by name.

    python3 SPACH_postprocess.py --txt-path result/result_bs8 --label-path imagenet/val_label.txt

    {key: Top1 accuracy, value: 81.50%}{key: Top5 accuracy, value: 95.60%}
    top1=81.50% top5=95.60% good=40750 total=50000

Results may be TXT, NPY or BIN; BIN holds float16 when atc was given --output_type=FP16, which
the size of a file tells.
"""
import argparse
from pathlib import Path

from common import cli
from common.score import script

FOLDER = Path(__file__).parent


def get_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--txt-path", help="folder that ais_bench wrote, or the parent of one run")
    # ModelZoo's page explains --label_path, its script has the other.
    parser.add_argument("--label-path", "--label_path",
                        help="val_label.txt, or the images' folder; without it the labels that "
                             "the preprocessing found")
    script.add_arguments(parser)
    return parser.parse_args(argv)


def main():
    args = get_args()
    if args.txt_path is None:
        raise cli.Usage("--txt-path is not given", "give the folder that ais_bench wrote")
    found = script.open_run(args, args.txt_path, args.label_path)
    known = script.labels(found, args.label_path, FOLDER)
    score = script.evaluate(found, known, args, FOLDER)
    print(f"{{key: Top1 accuracy, value: {score.percent(1)}%}}"
          f"{{key: Top5 accuracy, value: {score.percent(5)}%}}")
    script.finish(score, found, args)


if __name__ == "__main__":
    cli.run(main)
