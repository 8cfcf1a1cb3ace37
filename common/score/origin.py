"""Of which offline model and which bins a run's results are, checked before any figure.

The record beside the run's folder says it (against_onnx.py writes it). A run without one has at
most the summary that the inference tool leaves; then every figure says what was not checked.
"""
from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from common import cli, provenance
from common.score import results

AGAIN = "infer again (make infer makes again whatever does not fit)"
COMPILE = "compile the offline model again (make om)"
LOWER = ("bf16", "int8")  # the CPU's precisions that cost accuracy
KEPT = ("engine", "precision", "batch", "demo", "onnx")  # what a summary says of the model


@dataclasses.dataclass
class Origin:
    """run: folder of the results. bins: manifest.json of the bins it read, None where unknown.

    model: record of the offline model, {} where unknown; model_path: that model, or None.
    record: the run's own, {} without one. chain: {path: SHA-256} of all that the results come
    from. notes: lines for people.
    """

    run: Path
    bins: Path | None
    model: dict
    model_path: Path | None
    record: dict
    chain: dict
    notes: list

    @property
    def onnx(self):
        """Of the ONNX file: "file", "sha256" and what its own record says."""
        return self.model.get("onnx") or {}

    @property
    def lower(self):
        """The precision where a CPU computed in less than f32, else None."""
        precision = self.model.get("precision")
        return precision if precision in LOWER and self.model.get("engine") != "ascend" else None

    def note_recipe(self, recipe):
        """Add a note where the bins were made otherwise than the model's own recipe says."""
        made_for = self.onnx.get("preprocessing")
        if made_for and recipe and made_for != recipe:
            self.notes.append(f"the images were preprocessed with {json.dumps(recipe)}, and the "
                              f"model is for {json.dumps(made_for)}")


def of(run, given=None, manifest=None):
    """The Origin of the results in `run`; Failure that names the first link that does not fit.

    given: the record of the offline model that they should be of (a path). manifest: the file
    manifest.json, or its folder, of the bins that they should be of.
    """
    record = provenance.read(run) or {}
    record = record if "made" in record else {}
    told = results.summary(run)
    model, path = {key: told[key] for key in KEPT if key in told}, record.get("model")
    bins = _bins(run, record, manifest)
    if record:
        chain = provenance.check(run, AGAIN)
        notes = [record["note"]] if record.get("note") else []
        _same_bins(run, record, bins)
    else:
        chain, notes = {}, [f"which model and bins the results are of is not checked: "
                            f"{provenance.record_path(run)} is not there "
                            "(python3 -m common.score.against_onnx writes it)"]
    if given:
        expected, path = _model(given)
        if Path(path).exists() and not record:
            chain = provenance.check(path, COMPILE)
        _same_model(run, record, expected, given)
        _as_told(run, told, expected, given)
        model = expected
    elif path:
        model = provenance.read(path) or model
    return Origin(Path(run), bins, model, Path(path) if path else None, record, chain, notes)


def _bins(run, record, manifest):
    """The manifest.json that is given, else the one that the run's record or summary names."""
    if manifest:
        manifest = Path(manifest)
        return manifest / "manifest.json" if manifest.is_dir() else manifest
    if record.get("bins"):
        return Path(record["bins"]) if Path(record["bins"]).is_file() else None
    return results.manifest_of(run)


def _inputs(record, bins):
    """{path: what was seen} of the bins' manifest, or of the others, that a run's record names."""
    return {path: seen for path, seen in record["made"]["from"].items()
            if path.endswith("manifest.json") == bins}


def _same_bins(run, record, bins):
    recorded = _inputs(record, bins=True).values()
    if bins and bins.exists() and not any(provenance.fits(bins, seen) for seen in recorded):
        raise cli.Failure(f"the results in {run} are not of the bins that {bins} describes", AGAIN)


def _model(given):
    """(record, path) of an offline model, given its record; Failure when that is none."""
    model = cli.read_json(given, COMPILE)
    made = model.get("made")
    whole = isinstance(made, dict) and isinstance(made.get("sha256"), str)
    if not (whole and isinstance(model.get("onnx", {}), dict) and given.endswith(".json")):
        raise cli.Failure(f"{given} is not the record of an offline model", COMPILE)
    return model, given[:-len(".json")]


def _same_model(run, record, expected, given):
    """Failure when the results in `run` are not of the model whose record `given` is."""
    recorded = _inputs(record, bins=False) if record else {}
    hashes = [seen["sha256"] for seen in recorded.values()]
    if recorded and expected["made"]["sha256"] not in hashes:
        raise cli.Failure(f"the results in {run} were made by {cli.some(recorded)}, and {given} "
                          "is the record of another model", AGAIN)


def _as_told(run, told, expected, given):
    """Failure when the summary of a run names another ONNX or precision than `given` does."""
    onnx, wanted = told.get("onnx") or {}, expected.get("onnx") or {}
    if onnx.get("sha256") and wanted.get("sha256") not in (None, onnx["sha256"]):
        ours, theirs = (f"{o.get('file')} ({o['sha256'][:12]}…)" for o in (wanted, onnx))
        raise cli.Failure(f"{given} is of {ours}, and the results in {run} were made by {theirs}",
                          AGAIN)
    if told.get("precision") not in (None, expected.get("precision")):
        raise cli.Failure(f"{given} is of a model in {expected.get('precision')}, and the results "
                          f"in {run} were computed in {told['precision']}", AGAIN)
