"""ImageNet's validation images → .bin files for ShiftViT: short side 256 bicubic, centre crop 224.

    python3 shiftvit_preprocess.py --data-root /path/to/imagenet --save-dir shiftvit/val-bin \\
        --gt-path shiftvit/val-gt.npy

The ground truth is a .npy table with one row for each bin and one column for each image in it:
file, row, image name, label. With --batch-size above 1 a bin holds a whole batch
(batch-00000.bin); the last one is filled up with zeros, which have label -1.
"""
import argparse
from pathlib import Path

from common import cli
from common.data import preprocess


def get_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", required=True,
                        help="folder that holds val/ (one folder for each class, or flat with "
                             "val_label.txt)")
    parser.add_argument("--save-dir", required=True, help="folder for the bins")
    parser.add_argument("--gt-path", required=True, help=".npy file for the labels")
    preprocess.add_arguments(parser)
    return parser.parse_args(argv)


def save_ground_truth(manifest, path):
    """Write the manifest's rows as a structured array (bins, batch size): file, row, image, label;
    padding has label -1."""
    import numpy as np

    width = max(len(name) for row in manifest.rows for name in (row.image, row.file))
    columns = [("file", f"U{width}"), ("row", "i4"), ("image", f"U{width}"), ("label", "i4")]
    table = np.zeros((len(manifest.files), max(manifest.files.values())), columns)
    table["label"] = -1
    table["file"] = np.array(list(manifest.files))[:, None]
    table["row"] = np.arange(table.shape[1])
    place = {name: i for i, name in enumerate(manifest.files)}
    for row in manifest.rows:
        table[place[row.file], row.row] = row.file, row.row, row.image, row.label
    with cli.whole_file(path) as part, open(part, "wb") as f:
        np.save(f, table)
    print(f"wrote {path} ({len(manifest.rows)} labels)")


def main():
    args = get_args()
    manifest = preprocess.step(Path(__file__).parent, args.data_root, args.save_dir, args)
    save_ground_truth(manifest, args.gt_path)


if __name__ == "__main__":
    cli.run(main)
