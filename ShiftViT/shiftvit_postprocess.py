"""Top-1 and Top-5 of ShiftViT's offline model, joined with the labels by file and row.

    python3 shiftvit_postprocess.py --result-dir shiftvit/val-out/run --gt-path shiftvit/val-gt.npy

    Acc@Top1:0.7930, Acc@Top5:0.9462
    top1=79.30% top5=94.62% good=39650 total=50000
"""
import argparse
from pathlib import Path

import numpy as np

from common import cli
from common.data.manifest import Manifest, Row
from common.score import script

FOLDER = Path(__file__).parent


def get_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--result-dir", required=True,
                        help="folder that ais_bench wrote, or the parent of one run")
    parser.add_argument("--gt-path", required=True,
                        help=".npy file that shiftvit_preprocess.py wrote")
    script.add_arguments(parser)
    return parser.parse_args(argv)


def load_ground_truth(path):
    """Return the Manifest of a ground-truth .npy.

    Ours is a table with file, row, image and label; ModelZoo's holds plain integers (bins,
    batch), whose row i belongs to `batch-0000i.bin`. Failure when it is neither.
    """
    todo = "run shiftvit_preprocess.py to its end"
    try:
        table = np.load(path, allow_pickle=False)
        table = table.reshape(len(table), -1)
    except FileNotFoundError:
        raise cli.Failure(f"ground truth {path} does not exist", todo) from None
    except (AttributeError, ValueError, TypeError, EOFError) as e:  # the first for an .npz
        raise cli.Failure(f"ground truth {path} is no .npy file ({e})", todo) from None
    if table.dtype.names == ("file", "row", "image", "label"):
        rows = [Row(str(r["image"]), str(r["file"]), int(r["row"]), int(r["label"]))
                for r in table.flat if r["label"] >= 0]
        files = map(str, table["file"][:, 0])
    elif table.dtype.kind in "iu":
        files = [f"batch-{i:05d}" for i in range(len(table))]
        rows = [Row(f"{file}[{j}]", file, j, int(label))
                for file, labels in zip(files, table) for j, label in enumerate(labels)]
    else:
        raise cli.Failure(f"ground truth {path} holds {table.dtype}, not labels", todo)
    return Manifest(rows, dict.fromkeys(files, table.shape[1]), {})


def check(truth, known, path):
    """Failure when the ground truth and the bins' Manifest are of different images or labels."""
    labels = {(row.file, row.row): row.label for row in truth.rows}
    wanted = {(row.file, row.row): row.label for row in known.rows}
    differ = [f"{file}[{row}]" for file, row in labels.keys() | wanted.keys()
              if labels.get((file, row)) != wanted.get((file, row))]
    if differ:
        raise cli.Failure(f"{len(differ)} labels of {path} are not those of the bins: "
                          f"{cli.some(sorted(differ))}", "run shiftvit_preprocess.py again")


def main():
    args = get_args()
    known = load_ground_truth(args.gt_path)
    found = script.open_run(args, args.result_dir)
    if found.bins:
        truth, known = known, Manifest.load(found.bins)
        check(truth, known, args.gt_path)
    found.inputs.append(args.gt_path)
    score = script.evaluate(found, known, args, FOLDER)
    top1, top5 = (score.counts[k] / score.total for k in (0, 4))
    print(f"Acc@Top1:{top1:.4f}, Acc@Top5:{top5:.4f}")
    script.finish(score, found, args)


if __name__ == "__main__":
    cli.run(main)
