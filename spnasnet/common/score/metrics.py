"""Top-1…Top-5 of a run, and result.json: the figures with everything that produced them.

A model's *_postprocess.py calls `evaluate()`, prints ModelZoo's own line, and ends with `finish()`.
"""
from __future__ import annotations

import dataclasses
import datetime
import json
import platform

import numpy as np

from common import cli
from common.data.dataset import CLASSES, some
from common.data.rows import NONE, Rows, unpack
from common.score import results


@dataclasses.dataclass
class Score:
    """counts: images whose label is within the Top-1, …, Top-5; total: images scored; missing: names of the others.

    dataset is the manifest's info, kind what the result files were ("float32 bin"), demo whether images or weights are
    generated, made_by the ONNX file that the results are of (see results.made_by), findings what a person has to know besides.
    """

    counts: list
    total: int
    missing: list = dataclasses.field(default_factory=list)
    findings: list = dataclasses.field(default_factory=list)
    dataset: dict = dataclasses.field(default_factory=dict)
    kind: str | None = None
    demo: bool = False
    made_by: tuple | None = None

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
            notes.append("demo: generated images or weights; the figures say nothing about the model's accuracy")
        return notes + self.findings

    def percent(self, k):
        """Top-k in percent as text with two decimals, rounded half up from the exact counts (3 of 32 is 9.38)."""
        hundredths = (20000 * self.counts[k - 1] + self.total) // (2 * self.total)
        return f"{hundredths // 100}.{hundredths % 100:02d}"

    def line(self):
        """The last line of a scoring step, for grep; good is the count of Top-1."""
        line = f"top1={self.percent(1)}% top5={self.percent(5)}% good={self.counts[0]} total={self.total}"
        return line + (f" missing={len(self.missing)} partial" if self.missing else "")


def ranks(logits, labels):
    """How many classes come before the label: int64 (N,) from logits float (N, C) without NaN and labels int (N,).

    A class comes before when its logit is greater, or equal at a lower index; so rank 0 is where np.argmax gives the
    label, and float16 outputs, which often tie, have one definite score.
    """
    out = np.empty(len(logits), np.int64)
    for start in range(0, len(logits), 4096):  # keeps the masks of 50,000×1000 from filling the memory
        x, y, rank = logits[start:start + 4096], np.asarray(labels[start:start + 4096]), out[start:start + 4096]
        of_label = np.take_along_axis(x, y[:, None], 1)
        rank[:] = (x > of_label).sum(1, dtype=np.int32)  # a third of the time of int64
        equal = x == of_label
        if np.count_nonzero(equal) > len(x):  # the label itself is one
            for i in np.flatnonzero(equal.sum(1) > 1):
                rank[i] += equal[i, :y[i]].sum()
    return out


def within(rank, most=5):
    """Counts of ranks (see ranks()) within the Top-1, …, Top-`most`."""
    return [int((rank < k).sum()) for k in range(1, most + 1)]


def topk(logits, labels):
    """Counts of labels within the Top-1, …, Top-5; arguments as for ranks()."""
    return within(ranks(logits, labels))


def evaluate(folder, manifest, allow_partial=False, classes=CLASSES):
    """Score the results in `folder` against a Manifest's labels. Returns Score.

    Failure that counts and names them when images have no result or label, or files are broken or belong to no image;
    with allow_partial the rest is scored, over the images that have both, and the notes say what is missing.
    """
    rows = Rows.of(manifest.rows)
    known = rows.label != NONE
    wrong = [f"{r.image} ({r.label})" for r in rows.take(known & ((rows.label < 0) | (rows.label >= classes)))]
    if wrong:
        raise cli.Failure(f"labels outside 0…{classes - 1}: {some(wrong)}", "give the label file of these images")
    labels, rank = np.where(known, rows.label, -1), np.empty(len(rows), np.int32)

    def use(images, logits):
        rank[images] = ranks(logits, labels[images])  # that of an image without a label is not used

    run = results.each(folder, manifest, use, classes)
    bad = sorted(manifest.info.get("bad") or {})
    scored = known & run.sound
    problems = {
        "images without a result": run.missing,
        "images left out by the preprocessing": bad,
        "broken result files": [f"{name} ({why})" for name, why in run.broken.items()],
        "images without a label": unpack(rows.image[~known]),
        "result files of no image": run.extra,
    }
    said = "; ".join(f"{len(names)} {what}: {some(names)}" for what, names in problems.items() if names)
    if not scored.any():
        raise cli.Failure(f"{run.folder}: nothing to score; {said or 'the manifest has no images'}",
                          "give the results, manifest and labels of the same images")
    if said and not allow_partial:
        todo = f"delete {run.folder} and infer again (make infer)" if run.missing or run.broken or run.extra else \
            "mend the images and their labels"
        raise cli.Failure(f"{run.folder}: {said}", f"{todo}, or score the rest: --allow-partial (ALLOW_PARTIAL=1)")

    score = Score(within(rank[scored]), int(scored.sum()), dataset=manifest.info, kind=run.kind,
                  demo=bool(manifest.info.get("demo")), made_by=results.made_by(run.folder))
    score.missing = unpack(rows.image[~scored]) + bad
    if said:
        score.findings.append(said)
    if score.total >= 5000 and len(np.unique(labels[scored])) >= 900 and score.counts[0] * 100 < score.total:
        # Known pair of orders: line 1 of the devkit's ILSVRC2012_validation_ground_truth.txt is 490 (n01751748).
        score.findings.append(
            "Top-1 below 1 %: the labels are probably in another order. Class 0 is the first of the sorted synsets "
            "(n01440764); the ILSVRC devkit's ids are in another order and count from 1. ILSVRC2012_val_00000001 is 65 "
            "in sorted order, 490 in the devkit's")
    return score


def write_result(path, score, provenance=None):
    """Write result.json: figures, what they are over, and what produced them.

    provenance is the content of the offline model's sidecar (engine, precision, batch, the ONNX file's metadata, …).
    """
    cli.write_json(path, {
        "line": score.line(),
        **{f"top{k}": float(score.percent(k)) for k in range(1, 6)},
        "counts": score.counts, "good": score.counts[0], "total": score.total,
        "missing": len(score.missing), "missing_images": score.missing,
        "partial": bool(score.missing), "subset": bool(score.dataset.get("limit")), "demo": score.demo,
        "notes": score.notes,
        "produced_by": provenance, "dataset": score.dataset, "results": score.kind,
        "versions": {"python": platform.python_version(), "numpy": np.__version__},
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    })


def write_table(path, score, classes=CLASSES):
    """Write the accuracies in the JSON form of ModelZoo's vision scripts; notes, where there are any, follow the figures."""
    rows = [("Number of images", str(score.total)), ("Number of classes", str(classes)),
            *((f"Top{k} accuracy", f"{float(score.percent(k))}%") for k in range(1, 6)),
            *(("Note", note) for note in score.notes)]
    cli.write_json(path, {"title": "Overall statistical evaluation", "value": [{"key": k, "value": v} for k, v in rows]})


def add_arguments(parser):
    """Options that every scoring script has besides ModelZoo's own."""
    parser.add_argument("--manifest", metavar="DIR",
                        help="folder of the bins, or its manifest.json: which result is which image, and its label")
    parser.add_argument("--provenance", metavar="JSON", help="the .json beside the offline model, for --json")
    parser.add_argument("--json", metavar="FILE", help="write the figures and what produced them there (result.json)")
    parser.add_argument("--allow-partial", action="store_true",
                        help="score the images that have results; every output says how many are missing")


def finish(score, args, table=None):
    """Write args.json and ModelZoo's JSON `table` (a path), print the notes, and last the line with the figures."""
    sidecar = cli.read_json(args.provenance, "compile the offline model (make om)") if args.provenance else None
    try:
        onnx = (sidecar or {}).get("onnx") or {}
        metadata = onnx.get("metadata") or {}
        made_for, done = json.loads(metadata.get("preprocessing") or "null"), score.dataset.get("recipe")
    except (AttributeError, TypeError, ValueError) as e:
        raise cli.Failure(f"{args.provenance} is not what an offline model has beside it ({e})",
                          "compile the offline model again (make om)") from None
    if score.made_by and onnx.get("sha256") not in (None, score.made_by[1]):
        raise cli.Failure(f"{args.provenance} is of {onnx.get('file')} (sha256 {str(onnx['sha256'])[:12]}…), and the results "
                          f"were made by {score.made_by[0]} ({score.made_by[1][:12]}…)",
                          "infer again with this model (make infer)")
    score.demo |= metadata.get("demo") == "true" or bool((sidecar or {}).get("demo"))
    if made_for and done and made_for != done:
        score.findings.append(f"the images were preprocessed with {json.dumps(done)}, and the model is for "
                              f"{json.dumps(made_for)}")
    if args.json:
        write_result(args.json, score, sidecar)
        print(f"wrote {args.json}")
    if table:
        write_table(table, score)
        print(f"wrote {table}")
    for note in score.notes:
        print(f"note: {note}")
    print(score.line())
