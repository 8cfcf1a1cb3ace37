"""Top-1, Top-5 and speed of torch on the very bins that the offline model gets: what its
results are compared with. Run from a model's folder:

    python3 -m common.speed.online --weights build/demo/m_demo.pth --bins build/demo/prep \
        --json build/demo/online.json
"""
import argparse
import sys
import time

import numpy as np

from common import cli, provenance
from common.data import manifest as manifests
from common.score import metrics, verdict
from common.score.against_onnx import read_bin
from common.speed import bench, measure

BATCH = 8


def get_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True, help="checkpoint")
    parser.add_argument("--bins", required=True, help="folder that the preprocessing step wrote")
    parser.add_argument("--net", choices=("bundled", "upstream"), default="bundled",
                        help="whose network code (default: %(default)s)")
    parser.add_argument("--no-ema", dest="ema", action="store_false",
                        help="of a checkpoint that holds both, the raw weights, not the averaged")
    parser.add_argument("--json", required=True, help="file for the result")
    return parser.parse_args(argv)


def network(weights, net, ema=True):
    """The network of the folder this is run from, with the checkpoint `weights` →
    (torch.nn.Module, facts of the checkpoint, files of its code); see checkpoint.network()."""
    sys.path.insert(0, "")  # its model.py
    import model
    from common.model import checkpoint, export

    module, known = checkpoint.network(model, weights, net, ema)
    return module, known, export.code(model, module)


def answers(module, manifest, folder):
    """What torch makes of the bins in `folder`: logits float32 (len(manifest.rows), classes),
    and for each batch its seconds per image, forward alone."""
    import torch

    logits, seconds, count = [], [], len(manifest.rows)
    with torch.inference_mode():
        for start in cli.progress(range(0, count, BATCH), "torch", unit="batch"):
            rows = manifest.rows[start:start + BATCH]
            batch = np.stack([read_bin(folder, row, manifest.info) for row in rows])
            begin = time.perf_counter()
            logits.append(module(torch.from_numpy(batch)).numpy())
            seconds.append((time.perf_counter() - begin) / len(rows))
    return np.concatenate(logits), seconds


def main():
    args = get_args()
    import torch  # after the arguments: it takes seconds, and --help needs none of it

    manifest = manifests.Manifest.load(args.bins)
    manifest.check_bins(args.bins)
    unlabelled = [row.image for row in manifest.rows if row.label is None]
    if unlabelled:
        raise cli.Failure(f"{args.bins}: no label for {cli.some(unlabelled)}",
                          "put val_label.txt beside the images, then make prep")
    links = {}
    if provenance.record_path(args.weights).exists():  # a demo's; official ones have none
        links = provenance.check(args.weights, "make demo")
    module, known, code = network(args.weights, args.net, args.ema)
    with measure.alone():
        others = measure.Others()
        logits, seconds = answers(module, manifest, args.bins)
        speed = {"fps": 1 / float(np.median(seconds)), "others": others.share()}
    note = (provenance.read(args.weights) or {}).get("note")
    counts = metrics.topk(logits, metrics.labels_of(manifest, logits.shape[1]))
    score = metrics.Score(counts, len(logits), sorted(manifest.info["bad"]),
                          dataset=manifest.info, demo=known["demo"],
                          findings=[note] if note else [])
    by = {"engine": "torch", "engine_version": torch.__version__, "precision": "f32",
          "batch": BATCH, "device": "CPU", **known, "net": args.net, "weights": args.weights,
          "weights_sha256": cli.sha256(args.weights), **speed, **measure.conditions()}
    names = [row.image for row in manifest.rows]
    metrics.write_result(
        args.json, score, by, answers=dict(zip(names, logits.argmax(1).tolist())), chain=links,
        made=provenance.made(args.json, [args.weights, f"{args.bins}/manifest.json", *code]))
    print(f"torch {torch.__version__}, f32, batch {BATCH}, CPU: {speed['fps']:.1f} fps "
          "(median, forward only)")
    if bench.noise(speed):
        print(f"warning: {bench.noise(speed)}: this fps means little")
    verdict.say(score.notes, None, score.line())


if __name__ == "__main__":
    cli.run(main)
