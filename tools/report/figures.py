"""What is published and what was measured, gathered for the report.

Speeds come from results/*.json (make sweep), accuracies from a model's build/ (make eval, make
online).
"""
import contextlib
from pathlib import Path

from common import cli, provenance
from tools.report import record

FROM = "FROM= takes files of results/, of this host or of others"
OTHERS = {"fps_310": "310", "fps_t4": "T4", "fps_baseline": "baseline"}
KINDS = {"torch": "torch", "onnxruntime": "ONNX Runtime"}  # others are offline models


def published_fps(published):
    """{name of the chip: {batch: images/s}} of everything that the model's page has."""
    columns = {published["chip"]: published["fps"]}
    columns.update((name, published.get(key)) for key, name in OTHERS.items())
    return {chip: {int(b): fps[b] for b in fps} for chip, fps in columns.items() if fps}


def speeds(root, folder, build, model, files):
    """The model's records in `files`; without any, in results/ but for the committed ones that
    the READMEs show, and the demo's own."""
    if files:
        return record.newest([r for path in files for r in record.read(path, model, FROM)])
    files = [path for path in sorted((root / "results").glob("*.json"))
             if path.name != record.REFERENCE]
    swept = [r for path in files for r in record.read(path, model)]
    return record.newest([*of_the_demo(root / folder, build, model), *swept])


def of_the_demo(folder, build, model):
    """The records of what make demo timed; from .bin it times nothing."""
    found = []
    for path, perf in belonging(folder, [Path(build, "demo")], "perf_*.json", "make demo"):
        dtype = "uint8" if "uint8" in path.name else "float32"
        found.append(record.make(model, dtype, perf, None))
    return found


def accuracies(folder, build):
    """What make eval and make online have left: [(kind, result)]."""
    found, places = [], [Path(build), Path(build, "demo")]
    for pattern, verb in (("online.json", "make online"), ("eval_*.json", "make eval")):
        for _, result in belonging(folder, places, pattern, verb):
            if result.get("produced_by"):
                engine = result["produced_by"].get("engine", "")
                found.append((KINDS.get(engine, "offline model"), result))
    return found


def profiles(folder, build):
    """What make profile has left: [content]."""
    places = [Path(build), Path(build, "demo")]
    return [content for _, content in belonging(folder, places, "profile_*.json", "make profile")]


def belonging(folder, places, pattern, verb):
    """[(path, content)] of the JSONs of a model's `folder` whose chain holds; one that is stale is
    left out, and said with the `verb` that makes it again."""
    found = []
    with contextlib.chdir(folder):  # the paths in its records start there
        for path in sorted(path for place in places for path in place.glob(pattern)):
            try:
                provenance.check(path, f"it is left out; {verb} makes it again")
            except cli.Failure as e:
                print(f"note: {folder.name}: {e}")
                continue
            found.append((path, cli.read_json(path, verb)))
    return found


def weights_of(result):
    """SHA-256 of the weights that a result was made with, None when it is not known."""
    by = result["produced_by"]
    return by.get("weights_sha256") or (by.get("onnx") or {}).get("weights_sha256")


def same_network(one, other):
    """Whether two results have the same weights, of the same key of their file and in the same
    network's code as far as both say so."""
    found = [{**(by.get("onnx") or {}), **by} for by in (one["produced_by"], other["produced_by"])]
    both = [[by.get(key) for by in found] for key in ("weights_key", "net")]
    weights = weights_of(one)
    return bool(weights) and weights == weights_of(other) and not any(
        None not in pair and pair[0] != pair[1] for pair in both)


def to_torch(result, results):
    """Top-1 minus torch's with the same weights on the same images, in points; None when there
    is none such."""
    images = ("total", "demo", "subset", "partial", "dataset")
    for kind, other in results:
        same = all(other.get(k) == result.get(k) for k in images)
        if kind == "torch" and same and same_network(result, other):
            return 100 * (result["good"] - other["good"]) / result["total"]
    return None


def verdict(result):
    """(plain words, class) of the verdict that make eval gave (common/score/verdict.py)."""
    found = result.get("verdict") or {"result": None, "words": "none: make eval again"}
    plain = {"passed": "yes", "failed": "no", "none": "not decided"}
    word = next((w for w in plain if found["words"].startswith(w)), "")
    words = plain.get(word, "") + found["words"][len(word):]
    return words, {"passed": "good", "failed": "bad"}.get(found["result"], "")
