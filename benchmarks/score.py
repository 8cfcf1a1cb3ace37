"""Scoring result files, from the folder to the counts, beside a plain loop that only reads the
same files: BIN with np.fromfile, NPY with np.load, TXT with split().

    python3 -m benchmarks.score --json build/benchmarks/score.json

The files are generated: logits of 1000 classes, one image per file, as ais_bench writes them. The
disk's cache is warm.
"""
import argparse
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import measure
from common.data.manifest import Manifest, Row
from common.published import IMAGENET
from common.score import metrics


def read_txt(path):
    """The numbers in a text."""
    return np.array(path.read_text().split(), np.float32)


READ = {"bin": lambda path: np.fromfile(path, np.float32), "npy": np.load, "txt": read_txt}


def get_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=5000,
                        help="result files of each kind (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--json", metavar="FILE", help="write the figures there")
    return parser.parse_args(argv)


def write(folder, files):
    """Write `files` results of each kind into folder/<kind>/; return their Manifest."""
    rng = np.random.default_rng(0)
    stems = [f"ILSVRC2012_val_{i:08d}" for i in range(1, files + 1)]
    for kind in READ:
        (folder / kind).mkdir()
    for stem in stems:
        logits = rng.normal(0, 3, IMAGENET).astype(np.float32)
        logits.tofile(folder / "bin" / f"{stem}_0.bin")
        np.save(folder / "npy" / f"{stem}_0.npy", logits[None])
        text = "%f " * IMAGENET % tuple(logits.tolist())
        (folder / "txt" / f"{stem}_0.txt").write_text(f"{text}\n")
    rows = [Row(f"{stem}.JPEG", stem, 0, int(rng.integers(IMAGENET))) for stem in stems]
    return Manifest(rows, dict.fromkeys(stems, 1), {})


def sides_of(folder, manifest):
    """{side: function}: for each kind the plain loop, and scoring."""
    def loop(kind):
        return lambda: [READ[kind](path) for path in sorted((folder / kind).iterdir())]

    def ours(kind):
        return lambda: metrics.evaluate(folder / kind, manifest)

    return {**{f"read {kind}": loop(kind) for kind in READ}, **{k: ours(k) for k in READ}}


def main():
    args = get_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        sides = sides_of(folder, write(folder, args.files))
        counts = {tuple(sides[kind]().counts) for kind in READ}
        if len(counts) != 1:
            raise SystemExit(f"the kinds score differently: {counts}")
        times = measure.interleave(sides, args.rounds)
    rows, targets = [], []
    for kind in READ:
        ratio = measure.ratio(times, f"read {kind}", kind)
        each = [f"{1e6 / measure.per_second(times[side], args.files):.0f}"
                for side in (f"read {kind}", kind)]
        rows.append([kind.upper(), *each, measure.shown(ratio)])
        targets.append((f"scoring {kind.upper()} takes at most twice the time of reading it: "
                        "the loop over ours", ratio[0], 0.5))
    head = ["results", "plain loop, µs per file", "ours, µs per file", "loop / ours"]
    measure.finish(args, f"Scoring {args.files} result files", head, rows, targets, [
        f"numpy {np.__version__}. The loop only reads (np.fromfile, np.load, split); ours joins, "
        "checks and counts as well."])


if __name__ == "__main__":
    main()
