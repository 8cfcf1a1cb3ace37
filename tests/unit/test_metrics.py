"""common/score/metrics.py against numpy's stable sort and timm's accuracy, and every reason not to print a figure."""
import argparse
import json

import numpy as np
import pytest

from common import cli
from common.data.dataset import Manifest, Row
from common.score import metrics

C = 20


def manifest(labels, **info):
    return Manifest([Row(f"img_{i}.JPEG", f"img_{i}", 0, label) for i, label in enumerate(labels)],
                    {f"img_{i}": 1 for i in range(len(labels))}, info)


def write(folder, logits, skip=()):
    folder.mkdir(exist_ok=True)
    for i, row in enumerate(logits):
        if i not in skip:
            np.asarray(row, np.float32).tofile(folder / f"img_{i}_0.bin")


@pytest.fixture
def case(tmp_path):
    """100 images whose labels are among the five best of the logits, mostly; and their results on disk."""
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(100, C)).astype(np.float32)
    labels = np.argsort(-logits, 1)[np.arange(100), rng.integers(0, 7, 100)].tolist()
    write(tmp_path / "run", logits)
    return tmp_path / "run", logits, labels


def by_sorting(logits, labels):
    """Independent reference: a stable sort leaves equal logits in the order of their index."""
    order = np.argsort(-np.asarray(logits, np.float64), axis=1, kind="stable")
    return [int((order[:, :k] == np.asarray(labels)[:, None]).any(1).sum()) for k in range(1, 6)]


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("levels", [None, 3, 1])
def test_counts_equal_a_stable_sort_with_and_without_ties(dtype, levels):
    rng = np.random.default_rng(1)
    logits = (rng.normal(size=(5000, C)) if levels is None else rng.integers(0, levels, (5000, C))).astype(dtype)
    labels = rng.integers(0, C, 5000)
    assert metrics.topk(logits, labels) == by_sorting(logits, labels)
    np.testing.assert_array_equal(metrics.ranks(logits, labels) == 0, logits.argmax(1) == labels)


def test_counts_equal_timms_accuracy():
    torch, timm = pytest.importorskip("torch"), pytest.importorskip("timm")
    rng = np.random.default_rng(2)
    logits = rng.permuted(np.tile(np.arange(1000, dtype=np.float32), (800, 1)), axis=1)  # no ties
    labels = rng.integers(0, 1000, 800)
    labels[:400] = logits[:400].argmax(1)
    want = timm.utils.accuracy(torch.from_numpy(logits), torch.from_numpy(labels), topk=(1, 2, 3, 4, 5))
    assert [c * 100 / 800 for c in metrics.topk(logits, labels)] == pytest.approx([float(w) for w in want])


@pytest.mark.parametrize("count, total, text", [
    (40691, 50000, "81.38"), (0, 7, "0.00"), (7, 7, "100.00"), (3, 32, "9.38"), (1, 32, "3.13"), (1, 3, "33.33"),
    (2, 3, "66.67"), (3, 4000, "0.08")])
def test_percent_rounds_half_up_from_the_counts(count, total, text):
    assert metrics.Score([count] * 5, total).percent(1) == text


def test_line():
    score = metrics.Score([40691, 0, 0, 0, 47805], 50000)
    assert score.line() == "top1=81.38% top5=95.61% good=40691 total=50000"
    score.missing = ["a"] * 12
    assert score.line() == "top1=81.38% top5=95.61% good=40691 total=50000 missing=12 partial"


def test_all_there(case):
    folder, logits, labels = case
    score = metrics.evaluate(folder, manifest(labels), classes=C)
    assert (score.counts, score.total, score.missing, score.notes) == (by_sorting(logits, labels), 100, [], [])
    assert 0 < score.counts[0] < score.counts[4] < 100  # the case can tell Top-1 from Top-5


def test_order_of_the_manifest_does_not_matter(case):
    folder, logits, labels = case
    m = manifest(labels)
    m.rows.reverse()
    assert metrics.evaluate(folder, m, classes=C).counts == by_sorting(logits, labels)


def partial(case, m, said, missing):
    """Without allow_partial a Failure that says `said`; with it a score over the images not in `missing`."""
    folder, logits, labels = case
    with pytest.raises(cli.Failure, match=said):
        metrics.evaluate(folder, m, classes=C)
    score = metrics.evaluate(folder, m, allow_partial=True, classes=C)
    keep = [i for i in range(100) if f"img_{i}.JPEG" not in missing]
    assert score.counts == by_sorting(logits[keep], np.array(labels)[keep])
    assert score.total == len(keep) and sorted(score.missing) == sorted(missing)
    if missing:
        assert f"{len(missing)} of 100 images are not scored" in score.notes[0]
        assert score.line().endswith(f" missing={len(missing)} partial")
    return score


def test_missing_results(case):
    for i in range(7):
        (case[0] / f"img_{i * 9}_0.bin").unlink()
    partial(case, manifest(case[2]), r"7 images without a result: img_0\.JPEG, .* 2 more — delete .* infer again .*--allow-p",
            [f"img_{i * 9}.JPEG" for i in range(7)])


def test_broken_results(case):
    (case[0] / "img_5_0.bin").write_bytes(b"")
    np.full(C, np.nan, np.float32).tofile(case[0] / "img_6_0.bin")
    partial(case, manifest(case[2]), r"2 broken result files: img_5_0\.bin \(is empty\)", ["img_5.JPEG", "img_6.JPEG"])


def test_extra_results(case):
    np.zeros(C, np.float32).tofile(case[0] / "img_100_0.bin")
    score = partial(case, manifest(case[2]), r"1 result files of no image: img_100_0\.bin — delete .* and infer again", [])
    assert "img_100_0.bin" in score.notes[0] and score.line().endswith("total=100")


def test_images_without_a_label(case):
    partial(case, manifest([None] + case[2][1:]), r"1 images without a label: img_0\.JPEG — mend", ["img_0.JPEG"])


def test_images_that_the_preprocessing_left_out_count_as_missing(case):
    m = manifest(case[2], bad={"img_3.JPEG": "truncated"})
    del m.rows[3], m.files["img_3"]
    (case[0] / "img_3_0.bin").unlink()
    partial(case, m, r"1 images left out by the preprocessing: img_3\.JPEG", ["img_3.JPEG"])


def test_nothing_to_score(case):
    for m in (manifest([None] * 100), Manifest([Row("x.png", "x", 0, 1)], {"x": 1}, {})):
        with pytest.raises(cli.Failure, match="nothing to score; 1"):
            metrics.evaluate(case[0], m, allow_partial=True, classes=C)


def test_labels_that_are_no_classes(case):
    with pytest.raises(cli.Failure, match=rf"labels outside 0…{C - 1}: img_1\.JPEG \({C}\), img_2\.JPEG \(-1\)"):
        metrics.evaluate(case[0], manifest([0, C, -1] + [0] * 97), allow_partial=True, classes=C)


def test_notes_of_subset_and_demo(case):
    notes = metrics.evaluate(case[0], manifest(case[2], limit=100, dataset_total=50000, demo=True), classes=C).notes
    assert notes[0] == "subset of 100 of 50000 images, not comparable with the full set" and notes[1].startswith("demo")


@pytest.mark.parametrize("right, noted", [(49, True), (50, False)])
def test_note_about_another_label_order(tmp_path, monkeypatch, right, noted):
    labels = np.arange(5000) % 1000
    logits = np.zeros((5000, 1000), np.float32)
    logits[np.arange(5000), (labels + (np.arange(5000) >= right)) % 1000] = 1

    def each(folder, manifest, use, classes):
        use(np.arange(5000), logits)
        return metrics.results.Results(folder, np.full(5000, True), [], [], {}, "float32 bin")

    monkeypatch.setattr(metrics.results, "each", each)
    score = metrics.evaluate(tmp_path, manifest(labels.tolist()))
    assert score.counts[0] == right and any("another order" in note for note in score.notes) == noted


def finish(folder, score, *argv):
    parser = argparse.ArgumentParser()
    metrics.add_arguments(parser)
    metrics.finish(score, parser.parse_args(["--json", str(folder / "result.json"), *argv]))
    return json.loads((folder / "result.json").read_text())


def test_result_json(case, tmp_path, capsys):
    sidecar = {"engine": "openvino", "precision": "f32", "batch": 8, "cpu": "x", "demo": False,
               "onnx": {"file": "m.onnx", "metadata": {"model": "m", "preprocessing": '{"resize": 256}'}}}
    cli.write_json(tmp_path / "m.blob.json", sidecar)
    (case[0] / "img_9_0.bin").unlink()
    m = manifest(case[2], limit=100, dataset_total=50000, recipe={"resize": 256})
    score = metrics.evaluate(case[0], m, allow_partial=True, classes=C)
    got = finish(tmp_path, score, "--provenance", str(tmp_path / "m.blob.json"))
    assert (tmp_path / "result.json").read_text().splitlines()[1] == f' "line": "{score.line()}",'
    assert got["counts"] == score.counts and got["good"] == score.counts[0] and got["total"] == 99
    assert [f"{got[f'top{k}']:.2f}" for k in range(1, 6)] == [score.percent(k) for k in range(1, 6)]
    assert (got["missing"], got["missing_images"], got["partial"]) == (1, ["img_9.JPEG"], True)
    assert got["subset"] and not got["demo"] and got["produced_by"] == sidecar and got["dataset"] == m.info
    assert got["results"] == "float32 bin" and got["date"].endswith("+00:00") and got["versions"]["numpy"]
    out = capsys.readouterr().out.splitlines()
    assert out[-1] == score.line() and out[1:-1] == [f"note: {n}" for n in got["notes"]] and len(got["notes"]) == 3


@pytest.mark.parametrize("metadata, demo, note", [({"demo": "true"}, True, "demo"), ({"demo": "false"}, False, None), (
    {"preprocessing": '{"resize": 248}'}, False, "preprocessed")])
def test_what_the_model_says_of_itself(case, tmp_path, metadata, demo, note):
    cli.write_json(tmp_path / "m.json", {"onnx": {"metadata": metadata}})
    score = metrics.evaluate(case[0], manifest(case[2], recipe={"resize": 256}), classes=C)
    got = finish(tmp_path, score, "--provenance", str(tmp_path / "m.json"))
    assert got["demo"] == demo and (note in got["notes"][0] if note else got["notes"] == [])


def test_finish_without_provenance(case, tmp_path):
    assert finish(tmp_path, metrics.evaluate(case[0], manifest(case[2]), classes=C))["produced_by"] is None


def test_modelzoos_json(case, tmp_path):
    m = manifest(case[2], demo=True)
    parser = argparse.ArgumentParser()
    metrics.add_arguments(parser)
    score = metrics.evaluate(case[0], m, classes=C)
    metrics.finish(score, parser.parse_args([]), tmp_path / "new" / "table.json")
    got = json.loads((tmp_path / "new" / "table.json").read_text())
    assert got["title"] == "Overall statistical evaluation" and all(set(v) == {"key", "value"} for v in got["value"])
    by_key = {v["key"]: v["value"] for v in got["value"]}
    assert by_key["Number of images"] == "100" and by_key["Number of classes"] == "1000"
    want = [f"{c}.0%" for c in by_sorting(case[1], case[2])]
    assert [by_key[f"Top{k} accuracy"] for k in range(1, 6)] == want
    assert [v["key"] for v in got["value"][-2:]] == ["Top5 accuracy", "Note"] and by_key["Note"].startswith("demo")
