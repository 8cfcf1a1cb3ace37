"""The list of inputs that the older benchmark tool reads (.info): a line `<index> <path> <width> <height>` for each file.

    python3 get_info.py bin ./prep_bin ./spnasnet_100_val.info 224 224
    python3 get_info.py jpg /root/datasets/imagenet/val ./spnasnet_100_jpg.info

`bin` lists the .bin files of a folder with the width and height given, `jpg` its JPEG images with their own. The index
counts from 0, in natural order of the names.
"""
import argparse
import os
from pathlib import Path

from PIL import Image

from common import cli
from common.data import dataset, preprocess


def get_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    for kind, suffixes in (("bin", (".bin",)), ("jpg", (".jpg", ".jpeg"))):
        sub = kinds.add_parser(kind, help=f"list the {' and '.join(suffixes)} files of a folder")
        sub.set_defaults(suffixes=suffixes)
        sub.add_argument("folder", metavar="DIR", type=Path, help="folder of the files")
        sub.add_argument("info", metavar="INFO", help="file to write")
        if kind == "bin":
            sub.add_argument("width", metavar="W", type=preprocess.positive, help="width of the input, in pixels")
            sub.add_argument("height", metavar="H", type=preprocess.positive, help="height of the input, in pixels")
        sub.add_argument("--seen-from", metavar="FOLDER",
                         help="where the tool will be started, when that is not here: the paths lead from there")
    return parser.parse_args(argv)


def find(folder, suffixes):
    """Files of `folder` whose ending is one of `suffixes` in any case, in natural order; Failure when there are none."""
    if not folder.is_dir():
        raise cli.Failure(f"folder {folder} does not exist", "give the folder of the bins or images")
    files = [f for f in folder.iterdir() if f.suffix.lower() in suffixes and not f.name.startswith(".") and f.is_file()]
    if not files:
        raise cli.Failure(f"no {' or '.join(suffixes)} files in {folder}", "give the folder that holds them")
    return sorted(files, key=lambda f: dataset.natural(f.name))


def size(path):
    """(width, height) in pixels as the file's header says; nothing is decoded. Failure when it is no image."""
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, Image.DecompressionBombError) as e:
        raise cli.Failure(f"{path} cannot be read ({e})", "replace the image, or move it away") from None


def main():
    args = get_args()
    lines = []
    for index, path in enumerate(find(args.folder, args.suffixes)):
        width, height = (args.width, args.height) if args.kind == "bin" else size(path)
        listed = os.path.relpath(path, args.seen_from) if args.seen_from else str(path)
        if len(listed.split()) != 1:
            raise cli.Failure(f"{listed!r} has a space in it, and the tool splits its lines there", "give another folder")
        lines.append(f"{index} {listed} {width} {height}\n")
    with cli.whole_file(args.info) as part:
        part.write_text("".join(lines))
    print(f"wrote {args.info} ({len(lines)} files)")


if __name__ == "__main__":
    cli.run(main)
