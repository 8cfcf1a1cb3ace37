"""Top-1 and Top-5 of SPACH's offline model, joined with the labels by name.

    python3 SPACH_postprocess.py --txt-path result/result_bs8 --label-path /path/to/imagenet/val_label.txt

    {key: Top1 accuracy, value: 81.50%}{key: Top5 accuracy, value: 95.60%}
    top1=81.50% top5=95.60% good=40750 total=50000

Results may be TXT, NPY or BIN; BIN holds float16 when atc was given --output_type=FP16, which the size of a file tells.
"""
import argparse

from common import cli
from common.data import dataset
from common.score import metrics, results


def get_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--txt-path", required=True, help="folder that ais_bench wrote (a run, or the parent of one)")
    # ModelZoo's page explains --label_path, its script has the other.
    parser.add_argument("--label-path", "--label_path", required=True,
                        help="val_label.txt, or the images' folder when it has a folder for each class")
    metrics.add_arguments(parser)
    return parser.parse_args(argv)


def main():
    args = get_args()
    manifest = dataset.labelled(args.label_path, args.manifest or results.manifest_of(args.txt_path))
    score = metrics.evaluate(args.txt_path, manifest, args.allow_partial)
    print(f"{{key: Top1 accuracy, value: {score.percent(1)}%}}{{key: Top5 accuracy, value: {score.percent(5)}%}}")
    metrics.finish(score, args)


if __name__ == "__main__":
    cli.run(main)
