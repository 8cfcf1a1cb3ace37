"""Top-1, Top-5 and speed of torch on the very bins that the offline model gets: what its
results are compared with. Run from a model's folder:

    python3 -m common.speed.online --weights build/demo/m_demo.pth --bins build/demo/prep \
        --json build/demo/online.json
"""
import argparse
import sys
import time
from pathlib import Path

import numpy as np

from common import cli, provenance, published
from common.data import manifest as manifests
from common.score import metrics
from common.score.against_onnx import read_bin
from common.speed import bench

BATCH = 8
CODE = ("model.py", "published.json", "common/model/checkpoint.py")  # what shapes the result


def get_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True, help="checkpoint")
    parser.add_argument("--bins", required=True, help="folder that the preprocessing step wrote")
    parser.add_argument("--net", choices=("bundled", "upstream"), default="bundled",
                        help="whose network code (default: %(default)s)")
    parser.add_argument("--json", required=True, help="file for the result")
    return parser.parse_args(argv)


def images(manifest, folder):
    """Yield (index of the row in the manifest, float32 (3, H, W)) of each image in `folder`."""
    for index, row in enumerate(manifest.rows):
        yield index, read_bin(folder, row, manifest.info)


def batches(manifest, folder):
    """images() in batches of at most BATCH: lists of indices, float32 (N, 3, H, W)."""
    found = images(manifest, folder)
    while batch := [pair for _, pair in zip(range(BATCH), found)]:
        yield [index for index, _ in batch], np.stack([image for _, image in batch])


def network(weights, net):
    """The network of the folder this is run from, with the checkpoint `weights` →
    (torch.nn.Module, whether the checkpoint is a demo's)."""
    sys.path.insert(0, "")  # its model.py
    import model
    from common.model import checkpoint

    return checkpoint.network(model, weights, net)


def answers(module, manifest, folder, classes):
    """What torch makes of the bins in `folder`: logits float32 (len(manifest.rows), classes),
    and for each batch its seconds per image."""
    import torch

    logits, seconds = np.full((len(manifest.rows), classes), np.nan, np.float32), []
    steps = -(-len(manifest.rows) // BATCH)
    with torch.inference_mode():
        for index, batch in cli.progress(batches(manifest, folder), "torch", steps, "batch"):
            start = time.perf_counter()
            logits[index] = module(torch.from_numpy(batch)).numpy()
            seconds.append((time.perf_counter() - start) / len(index))
    return logits, seconds


def timed(module, manifest, args):
    """answers() while no other timing runs → (logits, {"fps": images/s, "others": share of the
    CPUs that other programs took}); fps is that of the median batch, its forward alone."""
    with bench.alone():
        others = bench.Others()
        logits, seconds = answers(module, manifest, args.bins, published.load().classes)
        return logits, {"fps": 1 / float(np.median(seconds)), "others": others.share()}


def labels_of(manifest, bins):
    """The labels of the manifest's rows, int (N,); Failure where there is none."""
    unlabelled = [row.image for row in manifest.rows if row.label is None]
    if unlabelled:
        raise cli.Failure(f"{bins}: no label for {cli.some(unlabelled)}",
                          "put val_label.txt beside the images, then make prep")
    return np.array([row.label for row in manifest.rows])


def main():
    args = get_args()
    import torch  # after the arguments: it takes seconds, and --help needs none of it

    manifest = manifests.Manifest.load(args.bins)
    manifest.check_bins(args.bins)
    labels = labels_of(manifest, args.bins)
    inputs = [args.weights, f"{args.bins}/manifest.json", *CODE]
    links = {}
    if provenance.record_path(args.weights).exists():  # a demo's; official ones have none
        links = provenance.check(args.weights, "make demo")
    module, demo = network(args.weights, args.net)
    logits, speed = timed(module, manifest, args)
    score = metrics.Score(metrics.topk(logits, labels), len(logits),
                          sorted(manifest.info["bad"]), dataset=manifest.info, demo=demo)
    by = {"engine": "torch", "engine_version": torch.__version__, "precision": "f32",
          "batch": BATCH, "device": "CPU", "demo": demo, "weights": args.weights,
          "weights_sha256": cli.sha256(args.weights), **speed, **bench.conditions()}
    names = [row.image for row in manifest.rows]
    metrics.write_result(
        args.json, score, by, answers=dict(zip(names, logits.argmax(1).tolist())), chain=links,
        made=provenance.made(args.json, [path for path in inputs if Path(path).exists()]))
    print(f"torch {torch.__version__}, f32, batch {BATCH}, CPU: {speed['fps']:.1f} fps "
          "(median, forward only)")
    if bench.noise(speed):
        print(f"warning: {bench.noise(speed)}: this fps means little")
    for note in score.notes:
        print(f"note: {note}")
    print(score.line())


if __name__ == "__main__":
    cli.run(main)
