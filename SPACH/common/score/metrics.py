"""Top-1…Top-5 of a run, what a person has to know about them, and the JSON files they go into."""
from __future__ import annotations

import dataclasses
import datetime

import numpy as np

from common import cli
from common.published import IMAGENET
from common.score import results

BROKEN = "the offline model or its input is broken"
FEW = 10  # results; fewer that are all the same may be of one image, copied
# With so many images and classes, any network that works has more than 2 % of Top-1. Folders
# sorted as text leave 12 of ImageNet's 1000 classes in their place.
MANY_IMAGES, MANY_CLASSES, HOPELESS = 500, 100, 0.02
# Line 1 of the devkit's ILSVRC2012_validation_ground_truth.txt is 490 (n01751748).
ORDERS = (
    "the labels are probably in another order: the ILSVRC devkit's (ILSVRC2012_val_00000001 is 65 "
    "in the order of sorted synsets, 490 in the devkit's), or the label file counts from 1, or its "
    "numbers are of folders sorted as text (0, 1, 10, 100, …)")


@dataclasses.dataclass
class Score:
    """counts: images whose label is within the Top-1, …, Top-5; total: images scored.

    missing: names of those not scored; dataset: the manifest's info; demo: whether images or
    weights are generated; findings: more notes.
    rank, answer: int (images,), the label's rank and the first class of each image of the
    manifest, -1 where it has no result or label; None where counts are all there is.
    against: what script.compare() found of a lower precision. classes: of the network.
    """

    counts: list
    total: int
    missing: list = dataclasses.field(default_factory=list)
    findings: list = dataclasses.field(default_factory=list)
    dataset: dict = dataclasses.field(default_factory=dict)
    demo: bool = False
    rank: np.ndarray | None = None
    answer: np.ndarray | None = None
    against: dict | None = None
    classes: int = IMAGENET

    @property
    def notes(self):
        """Lines for people that belong to the figures wherever they are shown."""
        images, notes = self.total + len(self.missing), []
        if self.missing:
            notes.append(f"partial: {len(self.missing)} of {images} images are not scored")
        if self.dataset.get("limit"):
            whole = self.dataset.get("dataset_total", "?")
            notes.append(f"subset of {images} of {whole} images, not comparable with the full set")
        if self.demo:
            notes.append("demo: generated images or weights; the figures say nothing about the "
                         "model's accuracy")
        source = self.dataset.get("labels_from") or ""
        notes += [source] if source.startswith("labels are positions") else []
        return notes + list(self.dataset.get("notes") or ()) + self.findings

    def percent(self, k):
        """Top-k as text with two decimals, rounded half up from the counts (3 of 32 is 9.38)."""
        hundredths = (20000 * self.counts[k - 1] + self.total) // (2 * self.total)
        return f"{hundredths // 100}.{hundredths % 100:02d}"

    def line(self):
        """The last line of a scoring step, for grep; good is the count of Top-1."""
        line = f"top1={self.percent(1)}% top5={self.percent(5)}% good={self.counts[0]} " \
               f"total={self.total}"
        return line + (f" missing={len(self.missing)} partial" if self.missing else "")


def ranks(logits, labels):
    """How many classes come before the label: int (N,).

    logits: float (N, C) without NaN; labels: int (N,). A class comes before when its logit is
    greater, or equal at a lower index. So rank 0 is where np.argmax gives the label, and float16
    outputs, which often tie, have one definite score.
    """
    labels = np.asarray(labels)[:, None]
    of_label = np.take_along_axis(logits, labels, 1)
    first = np.arange(logits.shape[1]) < labels
    return ((logits > of_label) | (logits == of_label) & first).sum(1)


def within(rank, most=5):
    """Counts of ranks (see ranks()) within the Top-1, …, Top-`most`."""
    return [int((rank < k).sum()) for k in range(1, most + 1)]


def topk(logits, labels):
    """Counts of labels within the Top-1, …, Top-5; arguments as for ranks()."""
    return within(ranks(logits, labels))


def evaluate(folder, manifest, allow_partial=False, classes=IMAGENET):
    """Score the results in `folder` against a Manifest's labels. Returns Score.

    Failure that counts and names them when images have no result or label, or files are broken
    or belong to no image; with allow_partial the rest is scored and the notes say what is
    missing. Failure too when all results are the same.
    """
    labels = labels_of(manifest, classes)
    rank, answer = np.full((2, len(labels)), -1)
    sums = np.zeros(len(labels))

    def use(images, logits):
        rank[images] = ranks(logits, labels[images])
        answer[images] = logits.argmax(1)
        sums[images] = logits.sum(1, dtype=np.float64)

    run = results.each(folder, manifest, use, classes)
    scored = (labels >= 0) & run.sound
    rank[~scored] = answer[~scored] = -1
    said = problems(run, manifest, scored, allow_partial)
    total = int(scored.sum())
    if total >= FEW and len(np.unique(answer[scored])) == len(np.unique(sums[scored])) == 1:
        raise cli.Failure(f"{run.folder}: all {total} results are the same: {BROKEN}",
                          "compare it with its ONNX (python3 -m common.score.against_onnx), then "
                          "compile and infer again (make om infer)")
    score = Score(within(rank[scored]), total, dataset=manifest.info, rank=rank, answer=answer,
                  demo=bool(manifest.info.get("demo")), classes=classes)
    bad = sorted(manifest.info.get("bad") or {})
    score.missing = [row.image for row, good in zip(manifest.rows, scored) if not good] + bad
    score.findings = [said] if said else []
    score.findings += suspicion(answer[scored], labels[scored])
    return score


def labels_of(manifest, classes):
    """Class indices int (images,), -1 without one; Failure for those that the network has not."""
    known = [row for row in manifest.rows if row.label is not None]
    wrong = [f"{row.image} ({row.label})" for row in known if not 0 <= row.label < classes]
    if wrong:
        raise cli.Failure(f"labels outside 0…{classes - 1}: {cli.some(wrong)}",
                          "give the label file of these images; the first class is 0, and the "
                          f"network has {classes} (published.json)")
    return np.array([-1 if row.label is None else row.label for row in manifest.rows], int)


def problems(run, manifest, scored, allow_partial):
    """One line about what does not add up, None when all does; Failure unless allow_partial."""
    kinds = {
        "images without a result": run.missing,
        "images left out by the preprocessing": sorted(manifest.info.get("bad") or {}),
        "broken result files": [f"{name} ({why})" for name, why in run.broken.items()],
        "images without a label": [row.image for row in manifest.rows if row.label is None],
        "result files of no image": run.extra,
    }
    said = "; ".join(f"{len(names)} {what}: {cli.some(names)}"
                     for what, names in kinds.items() if names)
    if not scored.any():
        raise cli.Failure(f"{run.folder}: nothing to score; {said or 'the manifest has no images'}",
                          "give the results, manifest and labels of the same images")
    if said and not allow_partial:
        todo = "correct the images and their labels"
        if run.missing or run.broken or run.extra:
            todo = f"delete {run.folder} and infer again (make infer)"
        raise cli.Failure(f"{run.folder}: {said}",
                          f"{todo}, or score the rest: --allow-partial (ALLOW_PARTIAL=1)")
    return said or None


def suspicion(answers, labels):
    """[What is probably wrong where hardly any answer is right], else []; both int (N,)."""
    seen, different = len(np.unique(labels)), len(np.unique(answers))
    if len(labels) < MANY_IMAGES or seen < MANY_CLASSES or (answers == labels).mean() >= HOPELESS:
        return []
    if different * 10 < seen:
        return [f"Top-1 below 2 %, and only {different} different answers: {BROKEN}"]
    return [f"Top-1 below 2 %: {ORDERS}"]


def write_result(path, score, produced_by=None, **more):
    """Write result.json: figures, what they are over, what produced them (the offline model's
    record), and `more`, such as "made" and "chain" (see common/provenance.py)."""
    now = datetime.datetime.now(datetime.timezone.utc)
    against = {"against_f32": score.against} if score.against else {}
    cli.write_json(path, {
        "line": score.line(),
        **{f"top{k}": float(score.percent(k)) for k in range(1, 6)},
        "counts": score.counts, "good": score.counts[0], "total": score.total,
        "missing": len(score.missing), "missing_images": score.missing,
        "partial": bool(score.missing), "subset": bool(score.dataset.get("limit")),
        "demo": score.demo, "notes": score.notes, **against,
        "produced_by": produced_by, "dataset": score.dataset,
        "date": now.isoformat(timespec="seconds"),
        **more,
    })


def write_table(path, score):
    """Write the accuracies in the JSON form of ModelZoo's vision scripts, notes after them."""
    rows = {"Number of images": str(score.total), "Number of classes": str(score.classes)}
    rows.update((f"Top{k} accuracy", f"{float(score.percent(k))}%") for k in range(1, 6))
    value = [{"key": key, "value": text} for key, text in rows.items()]
    value += [{"key": "Note", "value": note} for note in score.notes]
    cli.write_json(path, {"title": "Overall statistical evaluation", "value": value})
