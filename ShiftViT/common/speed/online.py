"""Top-1/Top-5 and speed of torch on the very bins that the offline model gets: what its results are held against.

    python3 -m common.speed.online --weights shiftvit_tiny_light.pth --bins build/prep --json build/online.json
"""
import argparse
import sys
import time

import numpy as np

from common import cli
from common.data import dataset, transforms
from common.score import metrics

BATCH = 8


def get_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True, help="checkpoint")
    parser.add_argument("--bins", required=True, help="folder that the preprocessing step wrote")
    parser.add_argument("--net", choices=("bundled", "upstream"), default="bundled", help="whose network code")
    parser.add_argument("--json", required=True, help="file for the result")
    return parser.parse_args(argv)


def batches(manifest, folder):
    """Yield (rows of the manifest, float32 (N, 3, H, W)) with at most BATCH images; padding rows are left out."""
    shape, raw = manifest.info["shape"], manifest.info["dtype"] == "uint8"
    recipe = transforms.Recipe(**manifest.info["recipe"])
    by_file = {}
    for index, row in enumerate(manifest.rows):
        by_file.setdefault(row.file, []).append((index, row.row))
    queue = []
    for name, members in by_file.items():
        images = np.fromfile(f"{folder}/{name}.bin", manifest.info["dtype"]).reshape(manifest.files[name], *shape)
        for index, row in members:
            image = transforms.normalize(images[row], recipe.mean, recipe.std) if raw else images[row]
            queue.append((index, image))
            if len(queue) == BATCH:
                yield [i for i, _ in queue], np.stack([x for _, x in queue])
                queue = []
    if queue:
        yield [i for i, _ in queue], np.stack([x for _, x in queue])


def network(weights, net):
    """The network of the folder this is run from with the checkpoint `weights` → (torch.nn.Module, whether it is a demo's)."""
    sys.path.insert(0, "")  # its model.py
    import model
    from common.model import checkpoint

    return checkpoint.network(model, weights, net)


def answers(module, manifest, folder):
    """What torch makes of the bins in `folder`: logits float32 (len(manifest.rows), 1000), seconds an image for each batch."""
    import torch

    logits, seconds = np.full((len(manifest.rows), dataset.CLASSES), np.nan, np.float32), []
    with torch.inference_mode():
        steps = -(-len(manifest.rows) // BATCH)
        for index, images in cli.progress(batches(manifest, folder), "torch", steps, "batch"):
            start = time.perf_counter()
            logits[index] = module(torch.from_numpy(images)).numpy()
            seconds.append((time.perf_counter() - start) / len(index))
    return logits, seconds


def main():
    args = get_args()
    # After the arguments: torch takes seconds, and --help needs none of it.
    import torch

    manifest = dataset.Manifest.load(args.bins)
    manifest.check_bins(args.bins)
    module, demo = network(args.weights, args.net)
    logits, seconds = answers(module, manifest, args.bins)
    unlabelled = [row.image for row in manifest.rows if row.label is None]
    if unlabelled:
        raise cli.Failure(f"{args.bins}: no label for {dataset.some(unlabelled)}", "put val_label.txt beside the images and "
                          "run the preprocessing step again")
    counts = metrics.topk(logits, np.array([row.label for row in manifest.rows]))
    score = metrics.Score(counts, len(logits), sorted(manifest.info["bad"]), dataset=manifest.info, demo=demo)
    metrics.write_result(args.json, score, {
        "engine": "torch", "engine_version": torch.__version__, "precision": "f32", "batch": BATCH, "device": "CPU",
        "demo": demo, "weights": args.weights, "weights_sha256": cli.sha256(args.weights),
        "fps": 1 / float(np.median(seconds))})
    print(f"torch {torch.__version__}, f32, batch {BATCH}, CPU: {1 / np.median(seconds):.1f} fps (median, forward only)")
    for note in score.notes:
        print(f"note: {note}")
    print(score.line())


if __name__ == "__main__":
    cli.run(main)
