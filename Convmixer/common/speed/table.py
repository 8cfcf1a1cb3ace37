"""Tables of what was measured, beside what ModelZoo publishes.

    python3 -m common.speed.table build/perf_bs1_openvino.json build/perf_bs8_openvino.json
    python3 -m common.speed.table --of ShiftViT build/perf_bs8_openvino.json --of SPACH …
    python3 -m common.speed.table --demo build/demo --of ShiftViT bs8_openvino --of SPACH …

The first is throughput per batch size, the second that of several models, whose paths start in
their folders; the third the demo of several models, of the run that is named for each: there the
answers of torch and of the offline model are compared image by image.
"""
import argparse
import csv
import os
from pathlib import Path

from common import cli, published
from common.speed import bench

DIFFER = 0.01  # of the images; float16 on an NPU may turn an answer that two classes share


def get_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", metavar="DIR", help="the demo's folder in each model folder")
    parser.add_argument("--of", nargs="+", action="append", default=[], metavar="WORD",
                        help="a model folder and its perf_*.json, or with --demo its run; once for "
                             "each")
    parser.add_argument("paths", nargs="*", help="perf_*.json")
    args = parser.parse_args(argv)
    if bool(args.of) == bool(args.paths):
        parser.error("give either perf_*.json or --of")
    if args.demo and any(len(words) != 2 for words in args.of):
        parser.error("--demo needs --of FOLDER RUN for each model")
    return args


def table(head, rows, noisy=()):
    """Print rows of strings under `head`, columns aligned, numbers to the right; then the reasons
    of the figures that are `noisy`."""
    width = [max(map(len, column)) for column in zip(head, *rows)]
    for row in [head, ["-" * w for w in width], *rows]:
        first, *others = (cell.rjust(w) for cell, w in zip(row, width))
        print("  ".join([row[0].ljust(len(first)), *others]))
    for why in noisy:
        print(f"note: {why}: measure again on an idle host")


def marked(figure):
    """The fps of a figure as text, "31.5 noisy" where it means little; "-" for none."""
    if not figure:
        return "-"
    return f"{figure['fps']:.1f}{' noisy' if bench.noise(figure) else ''}"


def read(path, todo):
    """A result, after comparing what it was made from with what is at hand."""
    content = cli.read_json(path, todo)
    bench.chain(path, todo)
    return content


def alike(online, offline, folder, todo):
    """How many images have the same Top-1 in online.json and in the answers beside the offline
    model's result, which is in `folder`."""
    told = offline.get("answers_csv") or {"file": "answers_….csv"}
    path = Path(folder, told["file"])
    if not path.exists() or cli.sha256(path) != told["sha256"]:
        raise cli.Failure(f"{path} is not what the scoring wrote", f"remove {folder}, then {todo}")
    with open(path, newline="", encoding="utf-8") as f:
        theirs = {row["image"]: row["class1"] for row in csv.DictReader(f)}
    return sum(str(ours) == theirs.get(image) for image, ours in online["answers"].items())


def demo_row(build, run, todo):
    """What the demo in the folder `build` gave, run from its model folder: (cells of its row,
    last line of eval, whether the answers agree, [notes], what computed it)."""
    about = published.load()
    online = read(f"{build}/online.json", todo)
    offline = read(f"{build}/eval_{run}.json", todo)
    perf = read(f"{build}/perf_{run}.json", todo)
    same, images = alike(online, offline, build, todo), len(online["answers"])
    fps = about.get("fps", {}).get(str(perf["batch"]))
    top1 = about.get("top1")
    noise = {"fps torch": bench.noise(online["produced_by"]), "fps offline": bench.reasons(perf)}
    cells = [about.model, str(offline["total"]), f"{online['top1']:.2f}%",
             f"{offline['top1']:.2f}%", f"{offline['top5']:.2f}%", f"{same}/{images}",
             marked(online["produced_by"]), marked(perf),
             f"{top1:g}%" if top1 else "-", f"{fps:g} ({about.get('chip')})" if fps else "-"]
    notes = [f"{about.model}, {which}: {why}" for which, why in noise.items() if why]
    where = "this NPU" if perf.get("engine", "ascend") == "ascend" else (
        f"{perf['engine']} on this {perf.get('device', 'CPU')}, {perf['precision']}")
    by = f"{where}, batch {perf['batch']}"
    return cells, offline["line"], images - same <= DIFFER * images, notes, by


def demo(args):
    """Print a row per model: torch and offline model on the demo images, and ModelZoo's
    figures. Failure when the two disagree."""
    top, rows = os.getcwd(), []
    for folder, run in args.of:
        os.chdir(folder)  # the paths in its records start there
        place = args.demo.replace("{}", folder)
        again = "make demo" if folder == "." else f"make -C {folder} demo"
        rows.append(demo_row(place, run, again))
        os.chdir(top)
    by = "; ".join(sorted({row[4] for row in rows}))
    print(f"\nDemo: generated images of ten classes, seeded weights, {by}. "
          "Only the two columns at the right are ModelZoo's, on ImageNet.")
    table(["model", "images", "Top-1 torch", "Top-1 offline", "Top-5", "agree",
           "fps torch", "fps offline", "published Top-1", "published fps"],
          [row[0] for row in rows], [note for row in rows for note in row[3]])
    wrong = [cells[0] for cells, _, agree, *_ in rows if not agree]
    if wrong:
        raise cli.Failure(f"torch and the offline model answer otherwise for {', '.join(wrong)}",
                          "make compare names the images")
    for cells, line, *_ in rows:
        print(f"{line} {cells[0]}" if len(rows) > 1 else line)


def best_of(perfs):
    """The smallest batch whose fastest repeat reaches the slowest repeat of the batch with the
    highest fps: its figure cannot be told from the best. Noisy ones do not count; None without
    others."""
    sound = [perf for perf in perfs if not bench.noise(perf)]
    if not sound:
        return None
    highest = max(sound, key=lambda perf: perf["fps"])
    bar = min(highest.get("repeats") or [highest["fps"]])
    return min(perf["batch"] for perf in sound
               if max(perf.get("repeats") or [perf["fps"]]) >= bar)


def rows_of(files, todo):
    """The contents of perf_….json, a row of the table for each, and notes on noisy ones."""
    perfs = [read(f, todo) for f in files]
    best, rows, notes = best_of(perfs), [], []
    for perf in perfs:
        ms = perf.get("ms", {})
        times = [f"{ms[k]:.2f}" if k in ms else "-" for k in ("median", "p90", "p95", "p99")]
        rows.append([str(perf["batch"]), *times, marked(perf), marked(perf.get("several")),
                     "best" if perf["batch"] == best and len(perfs) > 1 else ""])
        if bench.reasons(perf):
            notes.append(f"batch {perf['batch']}: {bench.reasons(perf)}")
    return perfs, rows, notes


def print_rows(rows, notes, head=()):
    table([*head, "batch", "latency ms (p50)", "p90", "p95", "p99", "images/s, one at a time",
           "images/s, several at once", ""], rows, notes)


def throughput(files):
    """Print a row per batch size; the best is marked."""
    perfs, rows, notes = rows_of(files, "make bench")
    first = perfs[0]
    where = bench.counted(first, first.get("cpu") or first.get("soc") or first["device"])
    print(f"{first.get('engine', 'ascend')} {first.get('engine_version', '')}, "
          f"{first.get('precision', '')}, {where}"
          f"{', demo weights' if first.get('demo') else ''}, compute only")
    print_rows(rows, notes)


def of_models(models):
    """Print a row for each batch size of each of `models`, lists of a folder and its files."""
    top, rows, notes = os.getcwd(), [], []
    for folder, *files in models:
        os.chdir(folder)  # the paths in its records start there
        _, mine, said = rows_of(files, f"make -C {folder} sweep")
        os.chdir(top)
        rows += [[folder, *row] for row in mine]
        notes += [f"{folder}, {note}" for note in said]
    print_rows(rows, notes, ["model"])


def main():
    args = get_args()
    if args.demo:
        demo(args)
    elif args.of:
        of_models(args.of)
    else:
        throughput(args.paths)


if __name__ == "__main__":
    cli.run(main)
