"""Top-k against numpy's stable sort and timm's accuracy, and every reason not to print a figure."""
import json
import re

import numpy as np
import pytest

from common import cli
from common.data.manifest import Manifest, Row
from common.score import metrics

C = 20


def manifest(labels, **info):
    rows = [Row(f"img_{i}.JPEG", f"img_{i}", 0, label) for i, label in enumerate(labels)]
    return Manifest(rows, dict.fromkeys((row.file for row in rows), 1), info)


def write(folder, logits, skip=()):
    folder.mkdir(exist_ok=True)
    for i, row in enumerate(logits):
        if i not in skip:
            np.asarray(row, np.float32).tofile(folder / f"img_{i}_0.bin")


@pytest.fixture
def case(tmp_path):
    """100 images whose labels are mostly among the five best logits; their results on disk."""
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(100, C)).astype(np.float32)
    labels = np.argsort(-logits, 1)[np.arange(100), rng.integers(0, 7, 100)].tolist()
    write(tmp_path / "run", logits)
    return tmp_path / "run", logits, labels


def by_sorting(logits, labels):
    """Independent reference: a stable sort leaves equal logits in the order of their index."""
    order = np.argsort(-np.asarray(logits, np.float64), axis=1, kind="stable")
    return [int((order[:, :k] == np.asarray(labels)[:, None]).any(1).sum()) for k in range(1, 6)]


@pytest.mark.parametrize("levels", [1, 3, 100])
def test_counts_equal_a_stable_sort_with_and_without_ties(levels):
    rng = np.random.default_rng(1)
    logits = rng.integers(0, levels, (5000, C)).astype(np.float32)
    labels = rng.integers(0, C, 5000)
    assert metrics.topk(logits, labels) == by_sorting(logits, labels)
    np.testing.assert_array_equal(metrics.ranks(logits, labels) == 0, logits.argmax(1) == labels)


def test_counts_equal_timms_accuracy():
    torch, timm = pytest.importorskip("torch"), pytest.importorskip("timm")
    rng = np.random.default_rng(2)
    logits = rng.permuted(np.tile(np.arange(1000, dtype=np.float32), (800, 1)), axis=1)  # no ties
    labels = rng.integers(0, 1000, 800)
    labels[:400] = logits[:400].argmax(1)
    want = timm.utils.accuracy(torch.from_numpy(logits), torch.from_numpy(labels), (1, 2, 3, 4, 5))
    got = [count * 100 / 800 for count in metrics.topk(logits, labels)]
    assert got == pytest.approx([float(w) for w in want])


@pytest.mark.parametrize("count, total, text", [
    (40691, 50000, "81.38"), (0, 7, "0.00"), (7, 7, "100.00"), (3, 32, "9.38"), (3, 4000, "0.08")])
def test_percent_rounds_half_up_from_the_counts(count, total, text):
    assert metrics.Score([count] * 5, total).percent(1) == text


def test_line():
    score = metrics.Score([40691, 0, 0, 0, 47805], 50000)
    assert score.line() == "top1=81.38% top5=95.61% good=40691 total=50000"


def test_all_there(case):
    folder, logits, labels = case
    score = metrics.evaluate(folder, manifest(labels), classes=C)
    assert (score.counts, score.total) == (by_sorting(logits, labels), 100)
    assert (score.missing, score.notes) == ([], [])
    assert 0 < score.counts[0] < score.counts[4] < 100  # the case can tell Top-1 from Top-5


def partial(case, m, said, missing):
    """A Failure that says `said`; with allow_partial a score over the images not in `missing`."""
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
    said = r"7 images without a result: img_0\.JPEG, .* 2 more — delete .* infer .*--allow-p"
    partial(case, manifest(case[2]), said,
            [f"img_{i * 9}.JPEG" for i in range(7)])


def test_broken_results(case):
    (case[0] / "img_5_0.bin").write_bytes(b"")
    np.full(C, np.nan, np.float32).tofile(case[0] / "img_6_0.bin")
    partial(case, manifest(case[2]), r"2 broken result files: img_5_0\.bin \(is empty\)",
            ["img_5.JPEG", "img_6.JPEG"])


def test_extra_results(case):
    np.zeros(C, np.float32).tofile(case[0] / "img_100_0.bin")
    said = r"1 result files of no image: img_100_0\.bin — delete .* and infer again"
    score = partial(case, manifest(case[2]), said, [])
    assert "img_100_0.bin" in score.notes[0] and score.line().endswith("total=100")


def test_images_without_a_label(case):
    said = r"1 images without a label: img_0\.JPEG — correct"
    partial(case, manifest([None] + case[2][1:]), said, ["img_0.JPEG"])


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
    said = rf"labels outside 0…{C - 1}: img_1\.JPEG \({C}\), img_2\.JPEG \(-1\).* network has {C}"
    with pytest.raises(cli.Failure, match=said):
        metrics.evaluate(case[0], manifest([0, C, -1] + [0] * 97), allow_partial=True, classes=C)


def test_notes(case):
    m = manifest(case[2], limit=100, dataset_total=50000, demo=True, notes=["no image has label 0"],
                 labels_from="labels are positions of 37 folders, sorted")
    subset, demo, positions, other = metrics.evaluate(case[0], m, classes=C).notes
    assert subset == "subset of 100 of 50000 images, not comparable with the full set"
    assert demo.startswith("demo") and other == "no image has label 0"
    assert positions == m.info["labels_from"]
    m.info = {"labels_from": "labels of positions.txt"}
    assert metrics.evaluate(case[0], m, classes=C).notes == []


# ---- figures that no network gives ----

def answers(tmp_path, monkeypatch, answer, labels, logits=None):
    """The Score of results that give these answers, without the files."""
    if logits is None:
        logits = np.zeros((len(labels), 1000), np.float32)
        logits[np.arange(len(labels)), answer] = 1

    def each(folder, manifest, use, classes):
        use(np.arange(len(labels)), logits)
        sound = np.full(len(labels), True)
        return metrics.results.Results(folder, sound, [], [], {})

    monkeypatch.setattr(metrics.results, "each", each)
    return metrics.evaluate(tmp_path, manifest(np.asarray(labels).tolist()))


CLASS = np.arange(5000) % 1000
AS_TEXT = [sorted(map(str, range(1000))).index(str(i)) for i in CLASS]  # folders 0, 1, 10, 100, …
SHUFFLED = np.random.default_rng(0).permutation(1000)[CLASS]


@pytest.mark.parametrize("answer, labels, said, not_said", [
    (CLASS, SHUFFLED, "probably in another order.*devkit.*counts from 1.*sorted as text", "broken"),
    (CLASS, AS_TEXT, "another order", "broken"),
    (CLASS % 7 + 500, SHUFFLED, "only 7 different answers: the offline model or its input is "
                                "broken", "order"),
    (CLASS[:600], SHUFFLED[:600], "another order", "broken"),
])
def test_hardly_any_answer_is_right(tmp_path, monkeypatch, answer, labels, said, not_said):
    note, = answers(tmp_path, monkeypatch, answer, labels).notes
    assert re.search(said, note) and not_said not in note


@pytest.mark.parametrize("images, right", [(5000, 100), (499, 0), (5000, 4000)])
def test_no_such_note(tmp_path, monkeypatch, images, right):
    answer = np.where(np.arange(images) < right, CLASS[:images], SHUFFLED[:images])
    assert answers(tmp_path, monkeypatch, answer, CLASS[:images]).notes == []
    few_classes = answers(tmp_path, monkeypatch, np.arange(5000) % 50 + 50, np.arange(5000) % 50)
    assert few_classes.notes == [] and few_classes.counts[0] == 0


@pytest.mark.parametrize("value", [0, np.arange(1000)])
def test_all_results_alike(tmp_path, monkeypatch, value, images=10):
    logits = np.full((images, 1000), value, np.float32)
    with pytest.raises(cli.Failure, match=f"all {images} results are the same: the offline model "
                                          "or its input is broken — compare it"):
        answers(tmp_path, monkeypatch, None, CLASS[:images], logits)
    logits[-1, 3] += 1
    answers(tmp_path, monkeypatch, None, CLASS[:images], logits)


# ---- what is written ----

def test_result_json(case, tmp_path):
    (case[0] / "img_9_0.bin").unlink()
    m = manifest(case[2], limit=100, dataset_total=50000, recipe={"resize": 256})
    score = metrics.evaluate(case[0], m, allow_partial=True, classes=C)
    metrics.write_result(tmp_path / "result.json", score, {"engine": "openvino"}, made={"from": {}})
    got = json.loads((tmp_path / "result.json").read_text())
    assert got["line"] == score.line()
    assert (got["counts"], got["good"], got["total"]) == (score.counts, score.counts[0], 99)
    assert [f"{got[f'top{k}']:.2f}" for k in range(1, 6)] == [score.percent(k) for k in range(1, 6)]
    assert (got["missing_images"], got["partial"], got["subset"]) == (["img_9.JPEG"], True, True)
    assert got["produced_by"] == {"engine": "openvino"} and got["dataset"] == m.info
    assert got["made"] == {"from": {}} and got["notes"] == score.notes and len(score.notes) == 3


def test_modelzoos_json(case, tmp_path):
    score = metrics.evaluate(case[0], manifest(case[2], demo=True), classes=C)
    metrics.write_table(tmp_path / "new" / "table.json", score)
    got = json.loads((tmp_path / "new" / "table.json").read_text())
    assert got["title"] == "Overall statistical evaluation"
    by_key = {v["key"]: v["value"] for v in got["value"]}
    assert by_key["Number of images"] == "100" and by_key["Number of classes"] == str(C)
    want = [f"{c}.0%" for c in by_sorting(case[1], case[2])]
    assert [by_key[f"Top{k} accuracy"] for k in range(1, 6)] == want
    assert [v["key"] for v in got["value"][-2:]] == ["Top5 accuracy", "Note"]
    assert by_key["Note"].startswith("demo")
