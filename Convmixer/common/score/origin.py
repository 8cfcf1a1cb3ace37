"""Of which offline model and which bins a run's results are, checked before any figure.

The record beside the run's folder says it (against_onnx.py writes it). A run without one has at
most the summary that the inference tool leaves; then every figure says what was not checked.
"""
from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path

from common import cli, provenance
from common.data import manifest
from common.score import results

AGAIN = "infer again (make infer, which makes again what does not fit)"
LOWER = ("bf16", "fp16", "int8")  # the CPU's precisions that cost accuracy
KEPT = ("engine", "precision", "batch", "demo", "onnx", "note")  # what a summary says of the model


@dataclasses.dataclass
class Origin:
    """run: folder of the results. bins: manifest.json of the bins it read, None where unknown.

    model: record of the offline model, {} where unknown; model_path: that model, or None.
    record: path of the run's own record, None without one. inputs: more files that the figures
    depend on. chain: {path: SHA-256} of all that the results come from. notes: lines for people.
    """

    run: Path
    bins: Path | None
    model: dict
    model_path: Path | None = None
    record: Path | None = None
    inputs: list = dataclasses.field(default_factory=list)
    chain: dict = dataclasses.field(default_factory=dict)
    notes: list = dataclasses.field(default_factory=list)

    @property
    def onnx(self):
        """Of the ONNX file: "file", "sha256" and what its own record says."""
        onnx = self.model.get("onnx")
        return onnx if isinstance(onnx, dict) else {}

    @property
    def lower(self):
        """The precision where a CPU computed in less than f32, or an NPU in int8, else None."""
        precision = self.model.get("precision")
        lower = ("int8",) if self.model.get("engine") == "ascend" else LOWER
        return precision if precision in lower else None

    def recipe_note(self, recipe):
        """[a note] where the bins were made otherwise than the model's own recipe says."""
        made_for = self.onnx.get("preprocessing")
        if not made_for or not recipe or made_for == recipe:
            return []
        return [f"the images were preprocessed with {json.dumps(recipe)}, and the model is for "
                f"{json.dumps(made_for)}"]


def of(folder, place=None):
    """The Origin of the results in `folder`; Failure that names the first link that does not fit.

    place: the file manifest.json, or its folder, of the bins that they should be of.
    """
    run = results.find_run(folder)
    record, beside = provenance.read(run) or {}, provenance.record_path(run)
    told = summary(run)
    found = Origin(run, manifest_of(told), {key: told[key] for key in KEPT if key in told})
    of_bins = None
    if "made" in record:
        found.record, found.chain = beside, provenance.check(run, AGAIN)
        found.notes = [record["note"]] if record.get("note") else []
        (path, _), (bins, of_bins) = record["made"]["from"].items()
        found.model_path, found.model = Path(path), provenance.read(path) or found.model
        found.bins = Path(bins) if Path(bins).is_file() else None
        if not found.model:
            found.notes.append(f"of {path} nothing is known, its record is not here: whether it "
                               "is a demo, of other weights or int8")
    else:
        found.notes = [f"which model and bins the results are of is not checked: {beside} is not "
                       "there (python3 -m common.score.against_onnx writes it)"]
    if place:
        found.bins = Path(place, manifest.NAME) if Path(place).is_dir() else Path(place)
        if of_bins and not provenance.fits(found.bins, of_bins):
            raise cli.Failure(f"the results in {run} are not of the bins that {found.bins} "
                              "describes", AGAIN)
    found.notes += [found.model["note"]] if found.model.get("note") else []
    return found


def summary(run):
    """The JSON that ais_bench leaves beside a run's results; {} where there is none."""
    beside = run.with_name(f"{run.name}_summary.json")
    for path in (beside, *sorted(run.glob("device*_summary.json"))):
        with contextlib.suppress(OSError, cli.Failure):
            return cli.read_json(path, AGAIN)
    return {}


def manifest_of(told):
    """The manifest beside the bins that a run read, by its summary: a Path, None where unknown."""
    try:
        first = next(iter(told["filesinfo"].values()))["infiles"][0]
        path = Path(first).with_name(manifest.NAME)
    except (LookupError, TypeError, ValueError, AttributeError, StopIteration):
        return None
    return path if path.is_file() else None
