"""Is Top-1 what is published? And the answers of each image, as a file.

    verdict: Top-1 73.95 %, published 74.21 %, -0.26 points; ≥ 99 % of the published on all 50,000:
    passed

Only the whole validation set of ImageNet gets a verdict. A precision that costs accuracy (bf16,
fp16 or int8 on a CPU, int8 on an NPU) is held against f32's results instead.
"""
from __future__ import annotations

import csv
import itertools
import math
from pathlib import Path

from common import cli
from common.published import IMAGENET
from common.score import metrics

FULL = 50_000  # images of ImageNet's validation set
SHARE = 99  # percent of the published Top-1
LOSS = 1.0  # points of Top-1 that a lower precision may lose
ENOUGH = 200  # images; where one is half a point or less, that loss can be told


def of(score, about, allow_below=False, other_weights=None):
    """The verdict on a Score, beside a Published: {"result": passed, failed or None, "words": of
    it, "line": for people, "published": %, "allowed": whether one that failed may pass}.

    other_weights: a note, where the weights are not those that the published figure is of.
    """
    published = about.get("top1") or about.get("top1_torch")
    why = other_weights or hindrance(score, published)
    if why:
        beside = f" beside the published {published:g} %" if published else ""
        return {"result": None, "words": f"none: {why}", "line": f"verdict: none{beside}: {why}",
                "published": published}
    good, needed = 10_000 * score.counts[0], SHARE * published * score.total
    result = "passed" if good >= round(needed, 3) else "failed"
    points = f"{100 * score.counts[0] / score.total - published:+.2f} points"
    line = (f"verdict: Top-1 {score.percent(1)} %, published {published:g} %, {points}; "
            f"≥ {SHARE} % of the published on all {FULL:,}: {result}")
    return {"result": result, "words": f"{result}, {points}", "line": line,
            "published": published, "allowed": allow_below}


def hindrance(score, published):
    """Why there is no verdict on a Score, as text; None where there is one."""
    if score.demo:
        return "demo, generated images or weights"
    if score.against:
        return "a lower precision counts beside f32's Top-1"
    if not published:
        return "published.json has no Top-1"
    if score.classes != IMAGENET:
        return f"the network has {score.classes} classes, ImageNet {IMAGENET}"
    if score.dataset.get("limit"):
        return f"a subset of {score.total} images"
    if score.missing:
        return f"{len(score.missing)} images are missing: {cli.some(score.missing)}"
    if score.total != FULL:
        return f"{score.total:,} images of {FULL:,}{absent(score)}"
    labels = len({row.label for row in score.rows})
    if labels != IMAGENET:
        return f"the images are of {labels} classes, ImageNet's of {IMAGENET}"
    return None


def absent(score):
    """The names of ImageNet's images that the dataset lacks, as text, where it has all others."""
    there = {Path(row.image).stem for row in score.rows}
    names = [f"ILSVRC2012_val_{i:08d}" for i in range(1, FULL + 1)]
    lacking = [name for name in names if name not in there]
    return f", without {cli.some(lacking)}" if len(lacking) == FULL - score.total else ""


def say(notes, verdict, line):
    """Print the notes, the verdict and the figures; Failure after that when it failed."""
    for note in notes:
        print(f"note: {note}")
    if verdict:
        print(verdict["line"])
    print(line)
    if verdict and verdict["result"] == "failed" and not verdict["allowed"]:
        raise cli.Failure(f"Top-1 is below {SHARE} % of the published {verdict['published']:g} %",
                          "compare with torch on the same bins (make online, make compare), or "
                          "let it pass: --allow-below (ALLOW_BELOW=1)")


def compare(score, f32, name):
    """Add to the Score of a lower precision what it costs beside f32's, over the images that both
    have. Failure when Top-1 loses more than LOSS points of ENOUGH images."""
    both = (score.place >= 0) & (f32.place >= 0)
    images = int(both.sum())
    if not images:
        raise cli.Failure(f"f32 and {name} have no image in common", "infer again (make infer)")
    before, after = (metrics.within(of.place[both]) for of in (f32, score))
    same = int((score.best[both, 0] == f32.best[both, 0]).sum())
    lost = 100 * (before[0] - after[0]) / images
    top = [f"Top-{k} {100 * before[k - 1] / images:.2f} % → {100 * after[k - 1] / images:.2f} %"
           for k in (1, 5)]
    text = f"{name} beside f32 on {images} images: {', '.join(top)}, {same} answers the same"
    if images < ENOUGH:
        text += f"; one image is {100 / images:.2g} points: no verdict below {ENOUGH} images"
    elif lost > LOSS:
        todo = "use another PRECISION= (f32, on a CPU bf16), or other images (CALIB=)"
        if name == "fp16":
            todo = "`make half` names the layers, and what to tell atc (an estimate)"
        raise cli.Failure(f"{name} loses {lost:.2f} points of Top-1, over {LOSS:g} ({text})", todo)
    score.findings.append(text)
    score.against = {"images": images, "f32": {"top1": before[0], "top5": before[4]},
                     "lower": {"top1": after[0], "top5": after[4]}, "same": same,
                     "lost": round(lost, 2), "verdict": None if images < ENOUGH else "accepted"}


def write_answers(file, score):
    """Write the answers beside the JSON `file`: a line for each image that is scored, with its
    label and the Top-5 classes and logits. Returns {"file": name, "sha256"}, for that JSON."""
    path = Path(file)
    path = path.with_name(f"answers_{path.stem.replace('eval_', '', 1)}.csv")
    with cli.whole_file(path) as part, open(part, "w", encoding="utf-8", newline="") as f:
        lines = csv.writer(f, lineterminator="\n")
        head = [(f"class{k}", f"logit{k}") for k in range(1, metrics.MOST + 1)]
        lines.writerow(["image", "label", *itertools.chain(*head)])
        answers = zip(score.rows, score.place, score.best.tolist(), score.logits.tolist())
        for row, place, classes, logits in answers:
            if place >= 0:
                pairs = [(index, f"{logit:.7g}") for index, logit in zip(classes, logits)
                         if logit > -math.inf]  # a network of two classes has two
                lines.writerow([row.image, row.label, *itertools.chain(*pairs)])
    return {"file": path.name, "sha256": cli.sha256(path)}
