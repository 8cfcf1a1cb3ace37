"""Top-1 and Top-5 of ShiftViT's offline model, joined with the labels by file and row.

    python3 shiftvit_postprocess.py --result-dir shiftvit/val-out/2022_08_09-20_37_12 --gt-path shiftvit/val-gt.npy

    Acc@Top1:0.7930, Acc@Top5:0.9462
    top1=79.30% top5=94.62% good=39650 total=50000
"""
import argparse

import numpy as np

from common import cli
from common.data import dataset
from common.score import metrics


def get_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--result-dir", required=True, help="folder that ais_bench wrote (a run, or the parent of one)")
    parser.add_argument("--gt-path", required=True, help=".npy file that shiftvit_preprocess.py wrote")
    metrics.add_arguments(parser)
    return parser.parse_args(argv)


def load_ground_truth(path):
    """Return the Manifest in a ground-truth .npy: ours (see save_ground_truth), or ModelZoo's plain integers (bins, batch),
    whose row i belongs to `batch-0000i.bin`. Failure when it is neither."""
    try:
        table = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise cli.Failure(f"ground truth {path} does not exist", "run shiftvit_preprocess.py to its end") from None
    except ValueError as e:
        raise cli.Failure(f"ground truth {path} is no .npy file ({e})", "run shiftvit_preprocess.py again") from None
    table = table.reshape(len(table), -1)
    if table.dtype.names == ("file", "row", "image", "label"):
        rows = dataset.Rows.of((str(r["image"]), str(r["file"]), int(r["row"]), int(r["label"]))
                               for r in table.flat if r["label"] >= 0)
        return dataset.Manifest(rows, {str(f): table.shape[1] for f in table["file"][:, 0]}, {})
    if table.dtype.kind not in "iu":
        raise cli.Failure(f"ground truth {path} holds {table.dtype}, not labels", "run shiftvit_preprocess.py again")
    rows = [dataset.Row(f"batch-{i:05d}[{j}]", f"batch-{i:05d}", j, int(label))
            for i, labels in enumerate(table) for j, label in enumerate(labels)]
    return dataset.Manifest(rows, {f"batch-{i:05d}": table.shape[1] for i in range(len(table))}, {})


def main():
    args = get_args()
    manifest = load_ground_truth(args.gt_path)
    if args.manifest:
        manifest.info = dataset.Manifest.load(args.manifest).info
    score = metrics.evaluate(args.result_dir, manifest, args.allow_partial)
    print(f"Acc@Top1:{score.counts[0] / score.total:.4f}, Acc@Top5:{score.counts[4] / score.total:.4f}")
    metrics.finish(score, args)


if __name__ == "__main__":
    cli.run(main)
