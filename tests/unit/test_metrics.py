"""Top-k against numpy's stable sort, and every reason not to print a figure."""
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


@pytest.fixture
def case(tmp_path):
    """100 images whose labels are mostly among the five best logits; their results on disk."""
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(100, C)).astype(np.float32)
    labels = np.argsort(-logits, 1)[np.arange(100), rng.integers(0, 7, 100)].tolist()
    for i, row in enumerate(logits):
        row.tofile(tmp_path / f"img_{i}_0.bin")
    return tmp_path, logits, labels


def by_sorting(logits, labels):
    """Independent reference: a stable sort leaves equal logits in the order of their index."""
    order = np.argsort(-np.asarray(logits, np.float64), axis=1, kind="stable")
    return [int((order[:, :k] == np.asarray(labels)[:, None]).any(1).sum()) for k in range(1, 6)]


@pytest.mark.parametrize("levels", [1, 3, 10**6])
def test_counts_equal_a_stable_sort_with_and_without_ties(levels):
    rng = np.random.default_rng(1)
    logits = rng.integers(0, levels, (5000, C)).astype(np.float32)
    labels = rng.integers(0, C, 5000)
    assert metrics.topk(logits, labels) == by_sorting(logits, labels)
    classes, values = metrics.best(logits)
    np.testing.assert_array_equal(classes, np.argsort(-logits, axis=1, kind="stable")[:, :5])
    np.testing.assert_array_equal(values, -np.sort(-logits, axis=1)[:, :5])


@pytest.mark.parametrize("count, total, text", [
    (40691, 50000, "81.38"), (0, 7, "0.00"), (7, 7, "100.00"), (3, 32, "9.38"), (3, 4000, "0.08")])
def test_percent_rounds_half_up_from_the_counts(count, total, text):
    line = metrics.Score([count] * 5, total).line()
    assert line == f"top1={text}% top5={text}% good={count} total={total}"


def test_all_there(case):
    folder, logits, labels = case
    score = metrics.evaluate(folder, manifest(labels), classes=C)
    assert (score.counts, score.total) == (by_sorting(logits, labels), 100)
    assert (score.missing, score.notes) == ([], [])
    assert 0 < score.counts[0] < score.counts[4] < 100  # the case can tell Top-1 from Top-5


def lost(folder, m):
    for i in range(7):
        (folder / f"img_{i * 9}_0.bin").unlink()


def broken(folder, m):
    (folder / "img_5_0.bin").write_bytes(b"")
    np.full(C, np.nan, np.float32).tofile(folder / "img_6_0.bin")


def extra(folder, m):
    np.zeros(C, np.float32).tofile(folder / "img_100_0.bin")


def unlabelled(folder, m):
    m.rows[0] = m.rows[0]._replace(label=None)


def left_out(folder, m):
    m.info["bad"] = {"img_3.JPEG": "truncated"}
    del m.rows[3], m.files["img_3"]
    (folder / "img_3_0.bin").unlink()


@pytest.mark.parametrize("harm, said, missing", [
    (lost, r"7 images without a result: img_0\.JPEG, .* 2 more — delete .* infer .*--allow-p",
     range(0, 63, 9)),
    (broken, r"2 broken result files: img_5_0\.bin \(is empty\)", (5, 6)),
    (extra, r"1 result files of no image: img_100_0\.bin — delete .* and infer again", ()),
    (unlabelled, r"1 images without a label: img_0\.JPEG — correct", (0,)),
    (left_out, r"1 images left out by the preprocessing: img_3\.JPEG", (3,)),
])
def test_what_does_not_add_up(case, harm, said, missing):
    """Refused; with allow_partial the rest is scored, and the notes count what is missing."""
    folder, logits, labels = case
    m = manifest(labels)
    harm(folder, m)
    with pytest.raises(cli.Failure, match=said):
        metrics.evaluate(folder, m, classes=C)
    score = metrics.evaluate(folder, m, allow_partial=True, classes=C)
    keep = [i for i in range(100) if i not in missing]
    assert score.counts == by_sorting(logits[keep], np.array(labels)[keep])
    assert score.total == len(keep)
    assert sorted(score.missing) == sorted(f"img_{i}.JPEG" for i in missing)
    assert re.search(said.split(" — ")[0], score.notes[-1])
    if missing:
        assert f"{len(missing)} of 100 images are not scored" in score.notes[0]
        assert score.line().endswith(f" missing={len(missing)} partial")


def test_nothing_to_score(case):
    for m in (manifest([None] * 100), Manifest([Row("x.png", "x", 0, 1)], {"x": 1}, {})):
        with pytest.raises(cli.Failure, match="nothing to score; 1"):
            metrics.evaluate(case[0], m, allow_partial=True, classes=C)


def test_labels_that_are_no_classes(case):
    said = rf"labels outside 0…{C - 1}: img_1\.JPEG \({C}\), img_2\.JPEG \(-1\).* network has {C}"
    with pytest.raises(cli.Failure, match=said):
        metrics.evaluate(case[0], manifest([0, C, -1] + [0] * 97), allow_partial=True, classes=C)


def test_notes(case):
    m = manifest(case[2], limit=100, dataset_total=50000, demo=True, notes=["no image has label 0"])
    subset, demo, other = metrics.evaluate(case[0], m, classes=C).notes
    assert subset == "subset of 100 of 50000 images, not comparable with the full set"
    assert demo.startswith("demo") and other == "no image has label 0"
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


@pytest.mark.parametrize("answer, labels", [
    (np.where(np.arange(5000) < 100, CLASS, SHUFFLED), CLASS),  # 2 % are right
    (SHUFFLED[:499], CLASS[:499]),  # few images
    (CLASS % 50 + 50, CLASS % 50)])  # few classes
def test_no_such_note(tmp_path, monkeypatch, answer, labels):
    assert answers(tmp_path, monkeypatch, answer, labels).notes == []


@pytest.mark.parametrize("value", [0, np.arange(1000)])
def test_all_results_alike(tmp_path, monkeypatch, value, images=10):
    logits = np.full((images, 1000), value, np.float32)
    with pytest.raises(cli.Failure, match=f"all {images} results are the same: the offline model "
                                          "or its input is broken — compare it"):
        answers(tmp_path, monkeypatch, None, CLASS[:images], logits)
    logits[-1, 999] += 1
    answers(tmp_path, monkeypatch, None, CLASS[:images], logits)


# ---- what is written ----

def test_what_is_written(case):
    """Our JSON and ModelZoo's: figures, what they are over, and the notes."""
    (case[0] / "img_9_0.bin").unlink()
    m = manifest(case[2], limit=100, dataset_total=50000, recipe={"resize": 256})
    score = metrics.evaluate(case[0], m, allow_partial=True, classes=C)
    metrics.write_result(case[0] / "r.json", score, {"engine": "openvino"}, made={"from": {}})
    got = json.loads((case[0] / "r.json").read_text())
    assert got["line"] == score.line()
    assert (got["counts"], got["good"], got["total"]) == (score.counts, score.counts[0], 99)
    assert [f"{got[f'top{k}']:.2f}" for k in range(1, 6)] == [score.percent(k) for k in range(1, 6)]
    assert (got["missing_images"], got["partial"], got["subset"]) == (["img_9.JPEG"], True, True)
    assert got["produced_by"] == {"engine": "openvino"} and got["dataset"] == m.info
    assert got["made"] == {"from": {}} and got["notes"] == score.notes and len(score.notes) == 3

    metrics.write_table(case[0] / "new" / "table.json", score)
    got = json.loads((case[0] / "new" / "table.json").read_text())
    assert got["title"] == "Overall statistical evaluation"
    keys, values = zip(*((v["key"], v["value"]) for v in got["value"]))
    assert keys == ("Number of images", "Number of classes",
                    *(f"Top{k} accuracy" for k in range(1, 6)), "Note", "Note", "Note")
    figures = [f"{float(score.percent(k))}%" for k in range(1, 6)]
    assert list(values) == ["99", str(C), *figures, *score.notes]
