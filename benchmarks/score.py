"""Scoring result files: ours, from the folder to the counts, against a plain loop that only loads the TXT with np.loadtxt.

    python3 -m benchmarks.score --json build/benchmarks/score.json

The files are generated: logits of 1000 classes, one image a file, as ais_bench writes them. The disk's cache is warm.
"""
import argparse
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import measure
from common.data.dataset import CLASSES, Manifest
from common.data.rows import Files, Row, Rows
from common.score import metrics

KINDS = ("bin", "npy", "txt")


def get_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=5000, help="result files of each kind (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--json", metavar="FILE", help="write the figures there")
    return parser.parse_args(argv)


def write(folder, files):
    """Write `files` results of each kind into folder/<kind>/; return their Manifest."""
    rng = np.random.default_rng(0)
    stems = [f"ILSVRC2012_val_{i:08d}" for i in range(1, files + 1)]
    for kind in KINDS:
        (folder / kind).mkdir()
    for stem in stems:
        logits = rng.normal(0, 3, CLASSES).astype(np.float32)
        logits.tofile(folder / "bin" / f"{stem}_0.bin")
        np.save(folder / "npy" / f"{stem}_0.npy", logits[None])
        (folder / "txt" / f"{stem}_0.txt").write_text("%f " * CLASSES % tuple(logits.tolist()) + "\n")
    rows = [Row(f"{stem}.JPEG", stem, 0, int(rng.integers(CLASSES))) for stem in stems]
    return Manifest(Rows.of(rows), Files.of(dict.fromkeys(stems, 1)), {})  # as Manifest.load() has them


def main():
    args = get_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        manifest = write(folder, args.files)
        sides = {kind: lambda kind=kind: metrics.evaluate(folder / kind, manifest) for kind in KINDS}
        counts = {kind: side().counts for kind, side in sides.items()}
        if len({tuple(c) for c in counts.values()}) != 1:
            raise SystemExit(f"the kinds score differently: {counts}")

        def loadtxt():
            for path in sorted((folder / "txt").iterdir()):
                np.loadtxt(path)

        times = measure.interleave({"np.loadtxt": loadtxt, **sides}, args.rounds)
    ratios = {kind: measure.ratio(times, "np.loadtxt", kind) for kind in KINDS}
    rows = [["plain loop over np.loadtxt, TXT", f"{min(times['np.loadtxt']) / args.files * 1e6:.0f}", ""]]
    rows += [[f"ours, {kind.upper()}", f"{min(times[kind]) / args.files * 1e6:.0f}", measure.shown(ratios[kind])]
             for kind in KINDS]
    targets = [(f"scoring {kind.upper()}, np.loadtxt's loop over ours", ratios[kind][0], 10) for kind in KINDS]
    measure.finish(args, f"Scoring {args.files} result files", ["", "µs a file", "times as fast"], rows, targets,
                   [f"np.loadtxt is numpy {np.__version__}'s; it only loads, ours joins, checks and counts as well."])


if __name__ == "__main__":
    main()
