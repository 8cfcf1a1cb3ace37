"""Top-1 of ConvMixer's offline model (and Top-5), joined with the labels by name.

    python3 convmixer_eval_acc.py --folder-davinci-target result/outputs_bs4_om \\
        --annotation-file-path ILSVRC2012/val_label.txt --result-json-path result \\
        --json-file-name result_bs4.json --batch-size 4

    top1:81.37%
    top1=81.37% top5=95.61% good=40685 total=50000

Which image a result `input_00000_0` is, the manifest.json beside the bins says. It is found
through the summary that ais_bench leaves beside the results, or given with --manifest. Without
one, ModelZoo's own numbering counts, where the results are as many as the labels.
"""
import argparse
from pathlib import Path

from common import cli, published
from common.data import manifest
from common.score import results, script

FOLDER = Path(__file__).parent


def get_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    # ModelZoo's page explains --result_dir and --label_path, its script has the others.
    parser.add_argument("--folder-davinci-target", "--result_dir",
                        default="./result/outputs_bs1_om/",
                        help="folder that ais_bench wrote, or the parent of one run "
                             "(default: %(default)s)")
    parser.add_argument("--annotation-file-path", "--label_path",
                        default="/opt/npu/imageNet/val_label.txt",
                        help="val_label.txt, or the images' folder (default: %(default)s)")
    parser.add_argument("--result-json-path", default="./result",
                        help="folder for the JSON (default: %(default)s)")
    parser.add_argument("--json-file-name", default="result_bs1.json",
                        help="its name (default: %(default)s)")
    parser.add_argument("--batch-size", "--batch_size", type=int,
                        help="images per bin, as it was preprocessed; checked where it is known")
    script.add_arguments(parser)
    return parser.parse_args(argv)


def by_number(found, source, batch):
    """The Manifest of results `input_NNNNN_0` that have none, as ModelZoo's script counts them:
    row r of file n is ILSVRC2012_val_(n * batch + r + 1). Failure where that cannot be so."""
    classes = published.load(FOLDER).classes
    given = manifest.labelled(source, classes=classes).rows
    label = {Path(row.image).stem: row.label for row in given}
    images = [f"ILSVRC2012_val_{i + 1:08d}" for i in range(len(label))]
    rows = [manifest.Row(image, f"input_{i // batch:05d}", i % batch, label.get(image))
            for i, image in enumerate(images)]
    files = dict.fromkeys((row.file for row in rows), batch)
    there, extra = results.result_files(found.run, files)
    if label.keys() != set(images) or there.keys() != files.keys() or extra:
        raise cli.Failure(
            f"{found.run} holds results by number ({len(there) + len(extra)} of {batch} images), "
            f"and nothing says which images they are: {source} does not have exactly as many "
            "images of ILSVRC2012_val, from 1 on",
            "give the folder of the bins (--manifest prep_image_bs4) or the right --batch-size")
    found.notes.append("there is no manifest.json: the number in a result's name is taken for "
                       "that of ILSVRC2012_val's images, as in ModelZoo's script")
    return manifest.Manifest(rows, files, {})


def main():
    args = get_args()
    source = args.annotation_file_path
    found = script.open_run(args, args.folder_davinci_target, source)
    if found.bins is None and any(found.run.glob("input_[0-9][0-9][0-9][0-9][0-9]_[01].*")):
        known = by_number(found, source, args.batch_size or 1)
    else:
        known = script.labels(found, source, FOLDER)
    held = max(known.files.values(), default=1)
    if args.batch_size and held not in (1, args.batch_size):
        raise cli.Failure(f"--batch-size {args.batch_size}: the bins hold {held} images each",
                          f"give --batch-size {held}")
    score = script.evaluate(found, known, args, FOLDER)
    print(f"top1:{score.percent(1)}%")
    script.finish(score, found, args, table=Path(args.result_json_path) / args.json_file_name)


if __name__ == "__main__":
    cli.run(main)
