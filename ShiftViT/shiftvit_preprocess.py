"""ImageNet validation images → .bin files for ShiftViT: short side 256 bicubic, centre crop 224, ImageNet's mean and std.

    python3 shiftvit_preprocess.py --data-root /path/to/imagenet --save-dir shiftvit/val-bin --gt-path shiftvit/val-gt.npy

The ground truth is a .npy table, one row a bin and one column an image in it: file, row, image name, label. With
--batch-size above 1 a bin holds a whole batch (batch-00000.bin); the last one is padded, its padding marked label -1.
"""
import argparse
from pathlib import Path

import numpy as np

from common import cli
from common.data import dataset, preprocess, transforms


def get_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", required=True,
                        help="folder that holds val/ (a folder a class, or flat with val_label.txt)")
    parser.add_argument("--save-dir", required=True, help="folder for the bins")
    parser.add_argument("--gt-path", required=True, help=".npy file for the labels")
    parser.add_argument("--batch-size", type=preprocess.positive, default=1, help="images in a bin (default: 1)")
    preprocess.add_arguments(parser)
    return parser.parse_args(argv)


def save_ground_truth(manifest, path):
    """Write the manifest's rows as a structured array (bins, batch size): file, row, image, label; padding has label -1."""
    width = max((len(name) for row in manifest.rows for name in (row.image, row.file)), default=1)
    table = np.zeros((len(manifest.files), max(manifest.files.values(), default=1)),
                     [("file", f"U{width}"), ("row", "i4"), ("image", f"U{width}"), ("label", "i4")])
    table["label"] = -1
    table["file"] = np.array(list(manifest.files))[:, None]
    table["row"] = np.arange(table.shape[1])
    place = {name: i for i, name in enumerate(manifest.files)}
    for row in manifest.rows:
        table[place[row.file], row.row] = row.file, row.row, row.image, row.label
    with cli.whole_file(path) as part, open(part, "wb") as f:
        np.save(f, table)


def main():
    args = get_args()
    data = dataset.find(args.data_root)
    unlabelled = [i.path.name for i in data.images if i.label is None]
    if unlabelled:
        raise cli.Failure(f"{data.root} holds {len(unlabelled)} images without labels and no val_label.txt",
                          "put val_label.txt beside the images, or give a folder for each class")
    manifest = preprocess.run(data, args.save_dir, transforms.published(Path(__file__).parent), args, args.batch_size)
    save_ground_truth(manifest, args.gt_path)
    print(f"wrote {args.gt_path} ({len(manifest.rows)} labels)")


if __name__ == "__main__":
    cli.run(main)
