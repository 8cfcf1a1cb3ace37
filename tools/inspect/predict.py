"""Top-5 of an offline model for photographs, and a picture of what it saw. Run from a model's folder:

    make predict IMAGE=photo.jpg PNG=answer.png
    python3 -m tools.inspect.predict photo.jpg folder/ - --model build/shiftvit2-bs1.om -- python3 -m common.ascend.infer

An image is a file, a folder stands for the images in it, - for the one on standard input. Behind -- stands the command that
runs the offline model, with ais_bench's flags; the results are read by image name, as scoring does. An image that cannot be
read is named, the others are answered, and the exit status is 1.
"""
import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from common import cli
from common.data import dataset, transforms
from common.data.rows import natural
from common.score import results
from tools.inspect import class_names

TOP = 5
ENGINES = {"openvino": "OpenVINO", "onnxruntime": "ONNX Runtime", "ascend": "CANN"}


def get_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="+", help="files, folders, or - for standard input")
    parser.add_argument("--model", required=True, help="offline model")
    parser.add_argument("--batchsize", type=int, default=1, help="its batch (default: 1)")
    parser.add_argument("--input", choices=("float32", "uint8"), default="float32", help="what it takes (default: float32)")
    parser.add_argument("--work", default=".", metavar="DIR", help="folder for the files in between (default: this one)")
    parser.add_argument("--from", dest="start", type=Path, default=Path(), metavar="DIR", help="where the paths lead from")
    parser.add_argument("--png", metavar="FILE", help="draw what the model saw beside its answers")
    argv = list(sys.argv[1:] if argv is None else argv)
    cut = argv.index("--") if "--" in argv else len(argv)
    args = parser.parse_args(argv[:cut])
    args.command = argv[cut + 1:]
    if not args.command:
        parser.error("the command that runs the offline model is missing, behind --")
    if args.png and not args.png.lower().endswith(".png"):
        parser.error(f"--png {args.png}: give a name that ends in .png (make: PNG=answer.png)")
    args.png = args.png and args.start / args.png
    return args


def split(text, start):
    """The paths, seen from the folder `start`, that `text` names: `text` itself when that exists; else its words, each with
    those behind it as long as they are the name of a file ("my photo.jpg b.jpg" are two)."""
    words, found = text.split(" "), []
    while words:
        longest = min(len(words), 128)  # a file's name has 255 bytes at most
        take = next((n for n in range(longest, 0, -1) if os.path.exists(start / " ".join(words[:n]))), 1)
        found.append(" ".join(words[:take]))
        words = words[take:]
    return [name for name in found if name]


def listing(names, start, work):
    """Return [(name to show, path)]: folders replaced by the images in them, standard input by a file in `work`."""
    listed = []
    for name in names:
        path = start / name
        if name == "-" and not path.exists():
            (work / "stdin").write_bytes(sys.stdin.buffer.read())
            listed.append(("standard input", work / "stdin"))
        elif path.is_dir():
            inside = [p for p in path.iterdir() if p.suffix.lower() in dataset.IMAGE_SUFFIXES and not p.name.startswith(".")]
            if not inside:
                raise cli.Failure(f"no images in {path}", "folders in it are not looked into: give one that holds images")
            listed += [(p.name, p) for p in sorted(inside, key=lambda p: natural(p.name))]
        else:
            listed.append((name, path))
    return listed


def run(listed, recipe, args, work):
    """Answer the images `listed`. Returns logits float32 (N, 1000) of those that could be read, their places in `listed`, and
    {name: why} of the others."""
    (work / "bins").mkdir()
    manifest, places, bad = dataset.Manifest([], {}, {"dtype": args.input}), [], {}
    for place, (name, path) in enumerate(listed):
        try:
            picture = transforms.load(path)
        except FileNotFoundError:
            bad[name] = f"does not exist in {path.parent.resolve()}"
            continue
        except transforms.UNREADABLE as e:
            bad[name] = "is no whole image" if name == "standard input" else str(e) or type(e).__name__
            continue
        stem = f"image-{place:05d}"  # ais_bench carries few characters, and two images may have one name
        (recipe.pixels(picture) if args.input == "uint8" else recipe(picture)).tofile(work / "bins" / f"{stem}.bin")
        manifest.rows.append(dataset.Row(name, stem, 0, None))
        manifest.files[stem] = 1
        places.append(place)
    if not places:
        return np.zeros((0, dataset.CLASSES), np.float32), [], bad
    manifest.save(work / "bins")
    (work / "result").mkdir()
    command = [*args.command, "--model", args.model, "--input", str(work / "bins"), "--output", str(work / "result"),
               "--output_dirname", "run", "--outfmt", "BIN", "--batchsize", str(args.batchsize)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        print(done.stdout, end="")
        raise cli.Failure(f"the offline model {args.model} did not run", "see the messages above")
    got = results.read(work / "result" / "run", manifest)
    if got.missing or got.broken:
        raise cli.Failure(f"no result for {dataset.some([*got.missing, *got.broken])}", "run it again with DEBUG=1")
    return got.logits, places, bad


def top(logits):
    """[(class index, probability), …] of the TOP likeliest classes; softmax over float32 logits (1000,)."""
    values = np.exp(logits.astype(np.float64) - logits.max())
    best = np.argsort(-values, kind="stable")[:TOP]
    return [(int(i), float(values[i] / values.sum())) for i in best]


def main():
    args = get_args()
    meta = Path(f"{args.model}.json")
    meta = cli.read_json(meta, "make om") if meta.exists() else {}
    is_demo = bool(meta.get("demo"))
    published = cli.read_json("published.json", "run this in a model's folder, or restore the file")
    recipe = transforms.published(".")
    names, synsets = class_names.load(is_demo), dataset.SYNSETS.read_text().split()
    engine = " ".join(filter(None, [ENGINES.get(meta.get("engine"), "offline model"), meta.get("engine_version")]))
    title = ", ".join(filter(None, [engine, meta.get("precision"), meta.get("soc")]))
    Path(args.work).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="predict-", dir=args.work) as work:
        listed = listing([n for text in args.images for n in split(text, args.start)], args.start, Path(work))
        if not listed:
            raise cli.Usage("no image is named", "IMAGE=photo.jpg; several, a folder, or - for standard input")
        logits, places, bad = run(listed, recipe, args, Path(work))
        answers = [(*listed[place], top(row)) for place, row in zip(places, logits)]
        for name, _, best in answers:
            print(f"\n{name}")
            for rank, (index, share) in enumerate(best, 1):
                print(f"  {rank}  {100 * share:6.2f}%  {names[index]}" + ("" if is_demo else f"  ({synsets[index]})"))
        if answers and args.png:
            from tools.inspect import draw
            draw.answers(args.png, published["model"], title, is_demo, recipe, answers, names)
    print()
    if is_demo:
        print("note: demo weights know the ten generated classes of the demo only; on other images they guess among these")
    for name, why in bad.items():
        print(f"bad image: {name}: {why}")
    if bad:
        raise cli.Failure(f"{len(bad)} of {len(listed)} images could not be read, named above", "replace them"
                          + (f"; the others are answered{f', and drawn in {args.png}' if args.png else ''}" if answers else ""))
    drawn = f"wrote {args.png}: " if args.png else ""
    print(f"{drawn}{len(answers)} image{'s' if len(answers) > 1 else ''} answered by {published['model']} ({title}"
          f"{', demo weights' if is_demo else ''})" + ("" if args.png else "; PNG=answer.png draws what it saw"))


if __name__ == "__main__":
    cli.run(main)
