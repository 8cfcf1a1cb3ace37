"""Top-1…Top-5 of a run, what a person has to know about them, and the JSON files they go into."""
from __future__ import annotations

import dataclasses
import datetime

import numpy as np

from common import cli
from common.published import IMAGENET
from common.score import results

MOST = 5  # of the classes with the highest logits, as Top-5
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

    missing: names of those not scored; findings: notes; dataset: the manifest's info; demo:
    whether images or weights are generated; classes: of the network.
    rows: the manifest's Rows. place: int (rows,), see places(), -1 where a row is not scored.
    best, logits: of each row, see best(). None, where counts are all there is.
    against, verdict: see verdict.py.
    """

    counts: list
    total: int
    missing: list = dataclasses.field(default_factory=list)
    findings: list = dataclasses.field(default_factory=list)
    dataset: dict = dataclasses.field(default_factory=dict)
    demo: bool = False
    classes: int = IMAGENET
    rows: list = dataclasses.field(default_factory=list)
    place: np.ndarray | None = None
    best: np.ndarray | None = None
    logits: np.ndarray | None = None
    against: dict | None = None
    verdict: dict | None = None

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


def best(logits):
    """The classes with the MOST highest logits, and these: int32 and float32 (N, MOST).

    logits: finite, (N, C). Of equal logits the lower class comes first, as in np.argmax; so
    float16 outputs, which often tie, have one definite score.
    """
    left, rows = np.array(logits, np.float32), np.arange(len(logits))
    classes = np.empty((len(left), MOST), np.int32)
    values = np.empty((len(left), MOST), np.float32)
    for k in range(MOST):
        at = rows, left.argmax(1)
        classes[:, k], values[:, k] = at[1], left[at]
        left[at] = -np.inf
    return classes, values


def places(classes, labels):
    """Where among the best() classes each label is: 0 for Top-1, …, MOST when it is not there."""
    hit = classes == np.asarray(labels)[:, None]
    return np.where(hit.any(1), hit.argmax(1), MOST)


def within(place):
    """Counts of places() within the Top-1, …, Top-5."""
    return [int((place < k).sum()) for k in range(1, MOST + 1)]


def topk(logits, labels):
    """Counts of labels, int (N,), within the Top-1, …, Top-5 of finite logits (N, C)."""
    return within(places(best(logits)[0], labels))


def evaluate(folder, manifest, allow_partial=False, classes=IMAGENET):
    """Score the results in `folder` against a Manifest's labels. Returns Score.

    Failure that counts and names them when images have no result or label, or files are broken
    or belong to no image; with allow_partial the rest is scored and the notes say what is
    missing. Failure too when all results are the same.
    """
    labels = labels_of(manifest, classes)
    answers = np.full((len(labels), MOST), -1, np.int32)
    logits = np.full((len(labels), MOST), np.nan, np.float32)

    def use(images, values):
        answers[images], logits[images] = best(values)

    run = results.each(folder, manifest, use, classes)
    scored = (labels >= 0) & run.sound
    bad = sorted(manifest.info.get("bad") or {})
    said = problems(run, manifest, bad, scored, allow_partial)
    place = np.where(scored, places(answers, labels), -1)
    total = int(scored.sum())
    if total >= FEW and len(np.unique(np.hstack([answers, logits])[scored], axis=0)) == 1:
        raise cli.Failure(f"{run.folder}: all {total} results are the same: {BROKEN}",
                          "compare it with its ONNX (python3 -m common.score.against_onnx), then "
                          "compile and infer again (make om infer)")
    missing = [row.image for row, good in zip(manifest.rows, scored) if not good] + bad
    findings = said + suspicion(answers[scored, 0], labels[scored])
    return Score(within(place[scored]), total, missing, findings, manifest.info,
                 bool(manifest.info.get("demo")), classes, manifest.rows, place, answers, logits)


def labels_of(manifest, classes):
    """Class indices int (images,), -1 without one; Failure for those it does not have."""
    known = [row for row in manifest.rows if row.label is not None]
    wrong = [f"{row.image} ({row.label})" for row in known if not 0 <= row.label < classes]
    if wrong:
        raise cli.Failure(f"labels outside 0…{classes - 1}: {cli.some(wrong)}",
                          "give the label file of these images; the first class is 0, and the "
                          f"network has {classes} (published.json)")
    return np.array([-1 if row.label is None else row.label for row in manifest.rows], int)


def problems(run, manifest, bad, scored, allow_partial):
    """[what does not add up], [] when all does; Failure unless allow_partial."""
    said = cli.counted({
        "images without a result": run.missing,
        "images left out by the preprocessing": bad,
        "broken result files": [f"{name} ({why})" for name, why in run.broken.items()],
        "images without a label": [row.image for row in manifest.rows if row.label is None],
        "result files of no image": run.extra,
    })
    if not scored.any():
        raise cli.Failure(f"{run.folder}: nothing to score; {said or 'the manifest has no images'}",
                          "give the results, manifest and labels of the same images")
    if said and not allow_partial:
        todo = "correct the images and their labels"
        if run.missing or run.broken or run.extra:
            todo = f"delete {run.folder} and infer again (make infer)"
        raise cli.Failure(f"{run.folder}: {said}",
                          f"{todo}, or score the rest: --allow-partial (ALLOW_PARTIAL=1)")
    return [said] if said else []


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
        "line": score.line(), "verdict": score.verdict,
        **{f"top{k}": float(score.percent(k)) for k in range(1, MOST + 1)},
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
    rows.update((f"Top{k} accuracy", f"{float(score.percent(k))}%") for k in range(1, MOST + 1))
    value = [{"key": key, "value": text} for key, text in rows.items()]
    value += [{"key": "Note", "value": note} for note in score.notes]
    cli.write_json(path, {"title": "Overall statistical evaluation", "value": value})
