"""Throughput from .bin to result files: the wall time of reading, running and writing, as ais_bench does them.

    python3 -m tools.inspect.bench_bins --json frombin_bs8.json --bins build/prep --perf perf_bs8.json -- \
        python3 -m ais_bench --model m_bs8.om --outfmt BIN --batchsize 8

The clock runs between two lines that every release of ais_bench prints at once, its `warm up … done` before the first image is
read and its `Performance Summary` after the last result is written; so it holds neither the start of the process nor the
loading of the model. The bins are read once before, so they come from the system's cache. `--input` and `--output` are added.
"""
import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path

from common import cli
from common.ascend import infer
from common.data import dataset
from common.speed import bench

BEGIN, END = "warm up", "Performance Summary"


def get_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", required=True, help="file for the result")
    parser.add_argument("--bins", required=True, type=Path, help="folder that the preprocessing step wrote")
    parser.add_argument("--perf", required=True, help="JSON that common.speed.bench wrote: batch, and how many images make --seconds")
    parser.add_argument("--seconds", type=float, default=5, help="length of a run, roughly (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=1, help="runs; the median one counts (default: 1)")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="-- and the command")
    args = parser.parse_args(argv)
    args.command = args.command[1:] if args.command[:1] == ["--"] else args.command
    if not args.command or args.repeats < 1:
        parser.error("give the command after --, and --repeats of 1 or more")
    return args


def choose(files, batch, images):
    """Return stems of `files` ({stem: rows}) with about `images` rows: three batches or more, and no short last batch where
    there are enough for a whole one."""
    rows = next(iter(files.values()))
    enough = min(len(files), max(3 * batch, round(images)) // rows)
    share = max(1, batch // rows)  # files of a batch
    return list(files)[:max(enough // share * share, min(share, len(files)))]


def link(source, target):
    """Give a file a second name: ais_bench refuses soft links. A file system without hard links gets a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy(source, target)


class Clock:
    """Sees the lines of ais_bench as they come; `seconds` between the two that matter, None without both."""

    def __init__(self):
        self.begin = self.seconds = None

    def __call__(self, line):
        if self.begin is None and BEGIN in line and "done" in line:
            self.begin = time.perf_counter()
        elif self.begin is not None and self.seconds is None and END in line:
            self.seconds = time.perf_counter() - self.begin


def main():
    args = get_args()
    perf = cli.read_json(args.perf, "run the pure inference first (make bench)")
    manifest = dataset.Manifest.load(args.bins)
    stems = choose(manifest.files, perf["batch"], args.seconds * perf["fps"])
    wanted = set(stems)
    rows = [row for row in manifest.rows if row.file in wanted]
    images = len(rows)
    seconds = []
    Path(args.json).parent.mkdir(parents=True, exist_ok=True)
    with bench.alone(), tempfile.TemporaryDirectory(dir=str(Path(args.json).parent), prefix="frombin_") as scratch:
        chosen = Path(scratch) / "bins"
        chosen.mkdir()
        for name in [f"{stem}.bin" for stem in stems]:
            link(args.bins / name, chosen / name)
            (chosen / name).read_bytes()
        dataset.Manifest(rows, {stem: manifest.files[stem] for stem in stems}, manifest.info).save(chosen)
        if perf["device"] == "NPU":
            os.umask(0o027)
            infer.tidy(chosen)
        others = bench.Others()
        for turn in range(args.repeats):
            clock, out = Clock(), Path(scratch) / f"out{turn}"
            out.mkdir()
            bench.run([*args.command, "--input", str(chosen), "--output", str(out)], "ais_bench", clock)
            if clock.seconds is None:
                raise cli.Failure("ais_bench printed no `warm up … done` and `Performance Summary`, which the clock needs",
                                  "this release's figure from .bin cannot be taken; make bench gives the computation's")
            written = sum(1 for p in out.rglob("*_0.*") if p.is_file())
            if written != len(stems):
                raise cli.Failure(f"ais_bench wrote {written} results for {len(stems)} bins", "see its messages above")
            seconds.append(clock.seconds)
        busy = others.share() if perf["device"] == "CPU" else None
    seconds.sort()
    figures = [images / s for s in seconds]
    result = {"fps": figures[len(figures) // 2], "images": images, "seconds": seconds, "repeats": figures,
              "spread": bench.spread(figures), "others": busy}
    kept = {k: perf[k] for k in ("engine", "engine_version", "device", "precision", "batch", "demo") if k in perf}
    cli.write_json(args.json, {**kept, **result, **bench.conditions(), "command": args.command})
    bench.warn(result)
    what = ", ".join(str(kept.get(k, "?")) for k in ("engine", "precision"))
    print(f"{result['fps']:.1f} fps at batch {perf['batch']} ({what}, from .bin to result files, {images} images in "
          f"{seconds[len(seconds) // 2]:.2f} s)")


if __name__ == "__main__":
    cli.run(main)
