"""What a lower precision costs: its answers beside those of f32 on the same images."""
from common import cli
from common.score import metrics, origin, results

MOST = 1.0  # points of Top-1 that may be lost


def compare(lower, f32):
    """Counts of both Scores over the images that both have, and how many answers are the same."""
    both = (lower.rank >= 0) & (f32.rank >= 0)
    counts = [metrics.within(score.rank[both]) for score in (f32, lower)]
    return {
        "images": int(both.sum()),
        "f32": {"top1": counts[0][0], "top5": counts[0][4]},
        "lower": {"top1": counts[1][0], "top5": counts[1][4]},
        "same": int((lower.answer[both] == f32.answer[both]).sum()),
    }


def check(score, found, folder, manifest, classes):
    """Compare `score`, of the results `found` (origin.Origin), with the results of f32 in `folder`.

    Adds a note to the score. Returns compare()'s dict with "lost" (points of Top-1) and
    "verdict". Failure when more than MOST points are lost, or `folder` is not what f32 says of
    the same network on the same bins.
    """
    reference = origin.of(results.find_run(folder), manifest=found.bins)
    _is_f32(reference, found)
    f32 = metrics.evaluate(reference.run, manifest, allow_partial=True, classes=classes)
    result = compare(score, f32)
    images = result["images"]
    if not images:
        raise cli.Failure(f"{folder} and {found.run} have no labelled image in common",
                          "infer again (make infer)")
    name = found.lower or "the lower precision"
    lost = 100 * (result["f32"]["top1"] - result["lower"]["top1"]) / images
    top = [f"Top-{k} {100 * result['f32'][f'top{k}'] / images:.2f} % → "
           f"{100 * result['lower'][f'top{k}'] / images:.2f} %" for k in (1, 5)]
    text = f"{name} beside f32 on {images} images: {', '.join(top)}, " \
           f"{result['same']} answers the same"
    if lost > MOST:
        raise cli.Failure(f"{name} loses {lost:.2f} points of Top-1, over {MOST:g} ({text})",
                          "use PRECISION=bf16 or f32, or calibrate with other images (CALIB=)")
    score.findings += [text, *(f"f32: {note}" for note in reference.notes)]
    return {**result, "lost": round(lost, 2), "verdict": "accepted"}


def _is_f32(reference, found):
    """Failure when the results to compare with are not f32's, or of another network."""
    todo = "give the folder of f32's results (make infer PRECISION=f32)"
    same = reference.run.resolve() == found.run.resolve()
    if same or reference.lower:
        what = reference.lower or found.lower or "the same precision"
        raise cli.Failure(f"--against {reference.run} holds results of {what}, not of f32", todo)
    shas = {o.onnx.get("sha256") for o in (reference, found)} - {None}
    if len(shas) > 1:
        raise cli.Failure(f"--against {reference.run} is of another ONNX than {found.run} "
                          f"({reference.onnx.get('file')}, {found.onnx.get('file')})", todo)
