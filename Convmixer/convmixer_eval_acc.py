"""Top-1 of ConvMixer's offline model (and Top-5), joined with the labels by name, also as ModelZoo's JSON.

    python3 convmixer_eval_acc.py --folder-davinci-target result/outputs_bs4_om --annotation-file-path \\
        ILSVRC2012/val_label.txt --result-json-path result --json-file-name result_bs4.json --batch-size 4

    top1:81.37%
    top1=81.37% top5=95.61% good=40685 total=50000

Which images a whole-batch file holds is in the manifest.json beside the bins: it is found through the summary that
ais_bench leaves beside the results, or given with --manifest.
"""
import argparse
from pathlib import Path

from common import cli
from common.data import dataset, preprocess
from common.score import metrics, results


def get_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    # ModelZoo's page explains --result_dir and --label_path, its script has the others.
    parser.add_argument("--folder-davinci-target", "--result_dir", required=True,
                        help="folder that ais_bench wrote (a run, or the parent of one)")
    parser.add_argument("--annotation-file-path", "--label_path", required=True,
                        help="val_label.txt, or the images' folder when it has a folder for each class")
    parser.add_argument("--result-json-path", default="result", help="folder for the JSON (default: %(default)s)")
    parser.add_argument("--json-file-name", help="its name (default: result_bs1.json, with --batch-size in place of the 1)")
    parser.add_argument("--batch-size", "--batch_size", type=preprocess.positive,
                        help="images in a bin, as it was preprocessed; checked against the manifest")
    metrics.add_arguments(parser)
    return parser.parse_args(argv)


def main():
    args = get_args()
    run = results.find_run(args.folder_davinci_target)
    place = args.manifest or results.manifest_of(run)
    if place is None and any(run.glob("input_[0-9][0-9][0-9][0-9][0-9]_0.*")):
        raise cli.Failure(f"{run} holds results of whole batches, and no summary beside it leads to their manifest.json",
                          "give the folder of the bins: --manifest prep_image_bs4")
    manifest = dataset.labelled(args.annotation_file_path, place)
    held = max(manifest.files.values(), default=1)
    if args.batch_size and held not in (1, args.batch_size):
        raise cli.Failure(f"--batch-size {args.batch_size}: the bins of {place} hold {held} images each",
                          f"give --batch-size {held}")
    score = metrics.evaluate(run, manifest, args.allow_partial)
    print(f"top1:{score.percent(1)}%")
    name = args.json_file_name or f"result_bs{args.batch_size or 1}.json"
    metrics.finish(score, args, table=Path(args.result_json_path) / name)


if __name__ == "__main__":
    cli.run(main)
