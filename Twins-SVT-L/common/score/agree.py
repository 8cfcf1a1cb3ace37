"""What a lower precision costs: Top-1 and Top-5 beside those of f32 on the same images, and how often both answer alike.

    python3 -m common.score.agree --f32 build/result/bs8_openvino --lower build/result/bs8_openvino_int8 --precision int8 \
        --manifest build/prep --json build/eval_bs8_openvino_int8.json

Adds the comparison to the JSON that the scoring step wrote. More than a point of Top-1 lost is refused: exit status 1.
"""
import argparse

from common import cli
from common.data import dataset
from common.score import metrics, results
from common.speed import table

MOST = 1.0  # percentage points of Top-1


def get_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--f32", required=True, help="folder of f32's results")
    parser.add_argument("--lower", required=True, help="folder of the other precision's results")
    parser.add_argument("--precision", required=True, help="its name")
    parser.add_argument("--manifest", required=True, help="folder of the bins that both have read")
    parser.add_argument("--json", required=True, help="result.json of the other precision, to add to")
    return parser.parse_args(argv)


def compare(f32, lower, labels):
    """Return counts of Top-1 and Top-5 of both, how many Top-1 answers are the same, and the images; over the images that
    both have. f32, lower: float (N, C), rows of NaN where there is no result; labels: int (N,)."""
    import numpy as np

    both = ~(np.isnan(f32[:, 0]) | np.isnan(lower[:, 0])) & (labels >= 0)
    f32, lower, labels = f32[both], lower[both], labels[both]
    tops = [metrics.topk(logits, labels) for logits in (f32, lower)]
    return {"images": int(both.sum()), "f32": {"top1": tops[0][0], "top5": tops[0][4]},
            "lower": {"top1": tops[1][0], "top5": tops[1][4]}, "same": int((f32.argmax(1) == lower.argmax(1)).sum())}


def main():
    import numpy as np

    args = get_args()
    manifest = dataset.Manifest.load(args.manifest)
    labels = np.array([-1 if row.label is None else row.label for row in manifest.rows])
    found = compare(*(results.read(folder, manifest).logits for folder in (args.f32, args.lower)), labels)
    images = found["images"]
    if not images:
        raise cli.Failure(f"{args.f32} and {args.lower} have no labelled image in common", "infer again (make infer)")
    lost = 100 * (found["f32"]["top1"] - found["lower"]["top1"]) / images
    verdict = "refused" if lost > MOST else "accepted"
    shares = {name: [f"{100 * found[key][top] / images:.2f}%" for top in ("top1", "top5")]
              for name, key in (("f32", "f32"), (args.precision, "lower"))}
    table.table(["precision", "images", "Top-1", "Top-5", "same Top-1 as f32"], [
        ["f32", str(images), *shares["f32"], "-"],
        [args.precision, str(images), *shares[args.precision], f"{100 * found['same'] / images:.2f}%"]])
    content = cli.read_json(args.json, "score again (make eval)")
    cli.write_json(args.json, {**content, "against_f32": {**found, "lost": round(lost, 2), "verdict": verdict}})
    if verdict == "refused":
        raise cli.Failure(f"{args.precision} loses {lost:.2f} points of Top-1 against f32 on {images} images, over {MOST:g}",
                          "use PRECISION=bf16 or f32, or calibrate with other images (CALIB=)")
    print(f"{args.precision} is {verdict}: {lost:.2f} points of Top-1 lost, {found['same']} of {images} answers the same")


if __name__ == "__main__":
    cli.run(main)
