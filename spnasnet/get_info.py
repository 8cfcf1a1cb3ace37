"""The list of inputs that the older benchmark tool reads: lines `<index> <path> <width> <height>`.

    python3 get_info.py bin ./prep_bin ./spnasnet_100_val.info 224 224
    python3 get_info.py jpg /root/datasets/imagenet/val ./spnasnet_100_jpg.info

`bin` lists the .bin files of a folder with the width and height given, `jpg` its JPEG images with
their own. The index counts from 0, in natural order of the names.
"""
from __future__ import annotations

import argparse
import os
from pathlib import Path

from common import cli
from common.data import names

ENDINGS = {"bin": (".bin",), "jpg": (".jpg", ".jpeg")}


def pixels(text):
    """A width or height; argparse turns the ValueError into a line."""
    if int(text) < 1:
        raise ValueError
    return int(text)


def get_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    for kind, endings in ENDINGS.items():
        sub = kinds.add_parser(kind, help=f"list the {' and '.join(endings)} files of a folder")
        sub.add_argument("folder", metavar="DIR", type=Path, help="folder of the files")
        sub.add_argument("info", metavar="INFO", help="file to write")
        if kind == "bin":
            sub.add_argument("width", metavar="W", type=pixels, help="width of the input")
            sub.add_argument("height", metavar="H", type=pixels, help="height of the input")
        sub.add_argument("--seen-from", metavar="FOLDER",
                         help="where the tool will be started, when not here")
    return parser.parse_args(argv)


def find(folder, endings):
    """Files of `folder` with one of `endings` in any case, naturally sorted; Failure if none."""
    if not folder.is_dir():
        raise cli.Failure(f"folder {folder} does not exist", "give that of the bins or images")
    files = [path for path in folder.glob("[!.]*") if path.suffix.lower() in endings]
    if not files:
        raise cli.Failure(f"no {' or '.join(endings)} files in {folder}",
                          "give the folder that holds them")
    return sorted(files, key=lambda path: names.natural(path.name))


def size(path):
    """(width, height) of an image by its header; Failure when it is none.

    ImageNet has a PNG under the name of a JPEG.
    """
    from common.data import transforms  # bins need no Pillow

    try:
        with transforms.open_image(path) as image:
            return image.size
    except Exception as e:  # whatever a decoder raises
        raise cli.Failure(f"{path} cannot be read ({transforms.why(e)})",
                          "replace the image, or move it away") from None


def main():
    args = get_args()
    lines = []
    for index, path in enumerate(find(args.folder, ENDINGS[args.kind])):
        width, height = (args.width, args.height) if args.kind == "bin" else size(path)
        listed = os.path.relpath(path, args.seen_from) if args.seen_from else str(path)
        if len(listed.split()) != 1:
            raise cli.Failure(f"{listed!r} has a space in it, and the tool splits its lines there",
                              "give another folder")
        lines.append(f"{index} {listed} {width} {height}\n")
    with cli.whole_file(args.info) as part:
        part.write_text("".join(lines))
    print(f"wrote {args.info} ({len(lines)} files)")


if __name__ == "__main__":
    cli.run(main)
