"""Throughput from .bin to result files: the time of reading, running and writing, as ais_bench
does them.

    python3 -m tools.inspect.bench_bins --json frombin_bs8.json --bins build/prep \
        --model m_bs8.om --perf perf_bs8.json \
        -- python3 -m ais_bench --model m_bs8.om --outfmt BIN

The clock runs between two lines that every release of ais_bench prints at once: `warm up … done`
before the first image is read, and `Performance Summary` after the last result is written. So
it holds neither the start of the process nor the loading of the model. The bins are read once
before, so they come from the system's cache. --input and --output are added to the command.
"""
import argparse
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from common import cli, provenance
from common.data import manifest as manifests
from common.speed import bench, measure

BEGIN, END = "warm up", "Performance Summary"
KEPT = ("engine", "engine_version", "device", "precision", "batch", "demo")


def get_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", required=True, help="file for the result")
    parser.add_argument("--bins", required=True, type=Path,
                        help="folder that the preprocessing step wrote")
    parser.add_argument("--model", required=True, help="offline model that the command runs")
    parser.add_argument("--perf", required=True, help="JSON that common.speed.bench wrote: its "
                        "fps says how many images make --seconds")
    parser.add_argument("--seconds", type=float, default=5,
                        help="length of a run, roughly (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3,
                        help="runs; the median one counts (default: %(default)s)")
    parser.add_argument(bench.AGAIN, action="store_true", help="join what --json has")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="-- and the command")
    return bench.parse_args(parser, argv)


def choose(files, batch, images):
    """Stems of `files` ({stem: rows}) with about `images` rows: three batches or more, and no
    short last batch where there are enough for a whole one."""
    rows = next(iter(files.values()))
    enough = min(len(files), max(3 * batch, round(images)) // rows)
    share = max(1, batch // rows)  # files of a batch
    return list(files)[:max(enough // share * share, min(share, len(files)))]


def lay_out(source, manifest, stems, folder):
    """Fill `folder` with the bins `stems` and their manifest; returns how many images that is.
    A bin gets a second name: ais_bench refuses soft links, and files that others may write."""
    folder.mkdir(mode=0o750)
    for stem in stems:
        target = folder / f"{stem}.bin"
        try:
            os.link(source / target.name, target)
        except OSError:  # a file system without hard links
            shutil.copy(source / target.name, target)
        target.read_bytes()
    rows = [row for row in manifest.rows if row.file in set(stems)]
    files = {stem: manifest.files[stem] for stem in stems}
    manifests.Manifest(rows, files, manifest.info).save(folder)
    for path in folder.iterdir():
        path.chmod(path.stat().st_mode & ~0o022)
    return len(rows)


def seconds(lines, clock=time.perf_counter):
    """Seconds between the two lines that matter, of `lines` as they come; None without both."""
    begin = taken = None
    for line in lines:
        print(line, end="", flush=True)
        if begin is None and BEGIN in line and "done" in line:
            begin = clock()
        elif begin is not None and taken is None and END in line:
            taken = clock() - begin
    return taken


def run(command, bins, out, wanted):
    """One timed run over the folder `bins`; Failure unless it writes `wanted` results."""
    out.mkdir(mode=0o750)
    with subprocess.Popen([*command, "--input", str(bins), "--output", str(out)],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8",
                          errors="replace") as process:
        taken = seconds(process.stdout)
    if process.returncode:
        raise cli.Failure(f"ais_bench ended with status {process.returncode}",
                          "see its messages above")
    if taken is None:
        raise cli.Failure("ais_bench printed no `warm up … done` and `Performance Summary`, which"
                          " the clock needs", "make bench gives the computation's figure")
    written = sum(1 for path in out.rglob("*_0.*") if path.is_file())
    if written != wanted:
        raise cli.Failure(f"ais_bench wrote {written} results for {wanted} bins",
                          "see its messages above")
    return taken


def main():
    args = get_args()
    perf = cli.read_json(args.perf, "make bench")
    bench.chain(args.model)
    if cli.sha256(args.model) not in {file["sha256"] for file in perf["made"]["from"].values()}:
        raise cli.Failure(f"{args.perf} is the timing of another model than {args.model}",
                          "make bench, or give the timing of this model")
    manifest = manifests.Manifest.load(args.bins)
    manifest.check_bins(args.bins)
    stems = choose(manifest.files, perf["batch"], args.seconds * perf["fps"])
    folder = Path(args.json).parent
    folder.mkdir(parents=True, exist_ok=True)
    with measure.alone(), tempfile.TemporaryDirectory(dir=folder, prefix="frombin_") as scratch:
        scratch = Path(scratch)
        images = lay_out(args.bins, manifest, stems, scratch / "bins")
        others = measure.Others()
        taken = sorted(run(args.command, scratch / "bins", scratch / f"out{turn}", len(stems))
                       for turn in range(args.repeats))
        busy = others.share() if perf["device"] == "CPU" else None
    result = bench.median([{"fps": images / t} for t in taken], busy)
    result.update(images=images, seconds=taken)
    if args.again:
        result = bench.joined(bench.first_round(args.json, bench.arguments()), result)
    kept = {k: perf[k] for k in KEPT if k in perf}
    inputs = [args.model, args.bins / "manifest.json"]
    cli.write_json(args.json, {
        **kept, **result, **measure.conditions(),
        "made": provenance.made(args.json, inputs, bench.arguments())})
    print(f"{result['fps']:.1f} fps at batch {perf['batch']} ({kept.get('engine', '?')}, "
          f"{kept.get('precision', '?')}, from .bin to result files, {images} images in "
          f"{images / result['fps']:.2f} s){bench.noted(bench.noise(result))}")


if __name__ == "__main__":
    cli.run(main)
