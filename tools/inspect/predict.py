"""Top-5 of an offline model for photographs, and a picture of what it saw.

    make predict IMAGE=photo.jpg PNG=answer.png
    python3 -m tools.inspect.predict photo.jpg folder/ - --model build/shiftvit2-bs1.om \
        -- python3 -m common.ascend.infer

An image is a file, a folder means the images in it, - the one on standard input. After --
comes the command that runs the offline model, with ais_bench's flags. Photographs are turned
as their EXIF orientation says, which eval, as torchvision, does not do. An image that cannot
be read is named, the others are answered, and the exit status is 1.
"""
from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from common import cli, published
from common.data import manifest as manifests
from common.data import transforms
from common.data.labels import SYNSETS
from common.score import results
from common.speed import bench
from tools.inspect import class_names, photo

TOP = 5
ENGINES = {"openvino": "OpenVINO", "onnxruntime": "ONNX Runtime", "ascend": "CANN"}


def get_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="+", help="files, folders, or - for standard input")
    parser.add_argument("--model", required=True, help="offline model")
    parser.add_argument("--batchsize", type=int, default=1,
                        help="its batch, where its record does not say (default: 1)")
    parser.add_argument("--input", choices=("float32", "uint8"), default="float32",
                        help="what it takes (default: %(default)s)")
    parser.add_argument("--work", default=".", metavar="DIR",
                        help="folder for the files in between (default: this one)")
    parser.add_argument("--from", dest="start", type=Path, default=Path(), metavar="DIR",
                        help="where the paths of images and of --png start (default: here)")
    parser.add_argument("--look", action="store_true",
                        help="only look whether the images are there")
    parser.add_argument("--png", metavar="FILE", help="draw what the model saw and answered")
    words = list(sys.argv[1:] if argv is None else argv)
    cut = words.index("--") if "--" in words else len(words)
    args = parser.parse_args(words[:cut])
    args.command = words[cut + 1:]
    if not args.command and not args.look:
        parser.error("the command that runs the offline model is missing, after --")
    if args.png and not args.png.lower().endswith(".png"):
        parser.error(f"--png {args.png}: give a name that ends in .png (make: PNG=answer.png)")
    args.png = args.png and args.start / args.png
    return args


# ---- which images ----

def split(words, start):
    """The paths, seen from the folder `start`, that `words` name: a word together with those
    after it, as long as they are the name of a file ("my photo.jpg b.jpg" are two)."""
    words, found = " ".join(words).split(" "), []
    while words:
        longest = min(len(words), 128)  # a file's name has 255 bytes at most
        names = (" ".join(words[:n]) for n in range(longest, 0, -1))
        found.append(next((name for name in names if os.path.exists(start / name)), words[0]))
        words = words[found[-1].count(" ") + 1:]
    return [name for name in found if name]


def listing(names, start, work):
    """[(name to show, path)]: folders replaced by the images in them, standard input by a file
    in `work`."""
    listed = []
    for name in names:
        path = start / name
        if name == "-" and not path.exists():
            (work / "stdin").write_bytes(sys.stdin.buffer.read())
            listed.append(("standard input", work / "stdin"))
        elif path.is_dir():
            listed += [(inside.name, inside) for inside in photo.in_folder(path)]
        else:
            listed.append((name, path))
    if not listed:
        raise cli.Usage("no image is named", "IMAGE=photo.jpg; several, a folder, or -")
    return listed


# ---- through the offline model ----

def prepare(listed, recipe, dtype, folder):
    """Write a bin for each image that can be read, and the manifest of them, into `folder`.
    Returns the Manifest, whose rows are named by their place in `listed`, and {name: why} of
    the other images."""
    folder.mkdir()
    manifest, bad = manifests.Manifest([], {}, {"dtype": dtype, "bad": {}}), {}
    for place, (name, path) in enumerate(listed):
        if not path.exists():
            bad[name] = f"does not exist in {path.parent.resolve()}"
            continue
        try:
            picture = photo.load(path)
            content = recipe.pixels(picture) if dtype == "uint8" else recipe(picture)
        except transforms.BadImage as e:
            bad[name] = str(e)
            continue
        # ais_bench takes few characters, and two images may have one name.
        stem = f"image-{place:05d}"
        content.tofile(folder / f"{stem}.bin")
        manifest.rows.append(manifests.Row(str(place), stem, 0, None))
        manifest.files[stem] = 1
    manifest.save(folder)
    return manifest, bad


def infer(manifest, args, work, classes):
    """Run the offline model over the bins of prepare(); logits float32 (N, classes)."""
    (work / "result").mkdir()
    command = [*args.command, "--model", args.model, "--input", str(work / "bins"),
               "--output", str(work / "result"), "--output_dirname", "run",
               "--outfmt", "BIN", "--batchsize", str(args.batchsize)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, encoding="utf-8", errors="replace")
    if done.returncode:
        print(done.stdout, end="")
        raise cli.Failure(f"the offline model {args.model} did not run", "see its messages above")
    got = results.read(work / "result/run", manifest, classes)
    if got.missing or got.broken:
        lost = [*got.missing, *got.broken]
        raise cli.Failure(f"{args.model} gave no result for {len(lost)} images", "DEBUG=1")
    return got.logits


def top(logits):
    """[(class index, probability), …] of the TOP likeliest classes; softmax of (classes,)."""
    values = np.exp(logits.astype(np.float64) - logits.max())
    best = np.argsort(-values, kind="stable")[:TOP]
    return [(int(i), float(values[i] / values.sum())) for i in best]


# ---- answers ----

def show(answers, names, is_demo):
    """Print the classes of each (name, path, [(class index, probability)])."""
    synsets = SYNSETS.read_text().split()
    for name, _, best in answers:
        print(f"\n{name}")
        for rank, (index, share) in enumerate(best, 1):
            synset = "" if is_demo or len(names) != len(synsets) else f"  ({synsets[index]})"
            print(f"  {rank}  {100 * share:6.2f}%  {names[index]}{synset}")
    print()
    if is_demo:
        print("note: demo weights know the ten generated classes of the demo only, and guess among "
              "these: make weights fetches the official ones, make real shows a real network")


def look(args):
    """Failure that names the images that are not there, before anything is compiled for them."""
    names = split(args.images, args.start)
    gone = [name for name in names if name != "-" and not (args.start / name).exists()]
    if gone or not names:
        raise cli.Failure(f"no such image: {cli.some(gone)}" if gone else "no image is named",
                          f"it is looked for in {args.start.resolve()}: IMAGE=photo.jpg, several, "
                          "a folder, or -")


def main():
    args = get_args()
    if args.look:
        return look(args)
    about, recipe = published.load(), transforms.published(".")
    bench.chain(args.model, "make om")
    facts = bench.provenance.read(args.model) or {}
    args.batchsize = facts.get("batch") or args.batchsize
    is_demo = bool(facts.get("demo"))
    names = class_names.load(is_demo, about.classes, about.names, Path(args.work, "prep"))
    engine = ENGINES.get(facts.get("engine"), "offline model")
    words = (f"{engine} {facts.get('engine_version') or ''}".strip(), facts.get("precision"),
             facts.get("soc"), facts.get("note") and "an estimate of float16 on an NPU")
    title = ", ".join(filter(None, words))
    print(f"{about.model} ({title}{', demo weights' if is_demo else ''})")
    Path(args.work).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="predict-", dir=args.work) as work:
        work = Path(work)
        listed = listing(split(args.images, args.start), args.start, work)
        manifest, bad = prepare(listed, recipe, args.input, work / "bins")
        logits = infer(manifest, args, work, about.classes) if manifest.rows else []
        answers = [(*listed[int(row.image)], top(values))
                   for row, values in zip(manifest.rows, logits)]
        show(answers, names, is_demo)
        if answers and args.png:
            from tools.inspect import draw
            draw.answers(args.png, about.model, title, is_demo, recipe, answers, names)
    for name, why in bad.items():
        print(f"bad image: {name}: {why}")
    if bad:
        drawn = f", and drawn in {args.png}" if args.png else ""
        others = f"; the others are answered{drawn}" if answers else ""
        raise cli.Failure(f"{len(bad)} of {len(listed)} images could not be read, named above",
                          f"replace them{others}")
    count = f"{len(answers)} image{'s' if len(answers) > 1 else ''}"
    said = f"{count} answered by {about.model} ({title}{', demo weights' if is_demo else ''})"
    print(f"wrote {args.png}: {said}" if args.png else f"{said}; PNG=answer.png draws what it saw")


if __name__ == "__main__":
    cli.run(main)
