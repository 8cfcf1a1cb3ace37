"""The verdict on a full set beside the published Top-1, and the answers of each image as a file."""
import csv
import json
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from common import cli
from common.data.manifest import Manifest, Row
from common.score import metrics, show, verdict

PUBLISHED = json.loads((ROOT / "spnasnet/published.json").read_text())["top1"]
FULL, CLASSES, GOOD = 50_000, 1000, round(500 * PUBLISHED)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Results of 50,000 images, of which the answer to number i is class i % 1000, then the next:
    50 files of 1000 rows, all the same one."""
    folder = tmp_path_factory.mktemp("full")
    logits = np.eye(CLASSES, dtype=np.float16) + np.roll(np.eye(CLASSES), 1, 1) / 2
    (folder / "run").mkdir()
    logits.astype(np.float16).tofile(folder / "run/bin00_0.bin")
    for i in range(1, FULL // CLASSES):
        os.link(folder / "run/bin00_0.bin", folder / f"run/bin{i:02d}_0.bin")
    return folder / "run"


@pytest.fixture
def evaluate(results, script, tmp_path, monkeypatch, capsys):
    """evaluate(good, *words, without=names): (exit status, what was printed) of spnasnet's script
    on 50,000 images, of which the first `good` have the label that is the answer."""
    monkeypatch.chdir(tmp_path)
    main = script("spnasnet", "vision_metric_ImageNet.py").module.main

    def call(good, *words, without=()):
        rows = [Row(f"val/ILSVRC2012_val_{i + 1:08d}.JPEG", f"bin{i // CLASSES:02d}", i % CLASSES,
                    (i + (i >= good)) % CLASSES) for i in range(FULL)]
        rows = [row for row in rows if row.image not in without]
        Path("prep").mkdir(exist_ok=True)
        Manifest(rows, {row.file: CLASSES for row in rows}, {}).save("prep")
        given = [str(results), "prep", ".", "table.json", "--json", "eval_bs8.json", *words]
        return status(main, "score", *given), capsys.readouterr().out.splitlines()

    def status(main, *words):
        monkeypatch.setattr(sys, "argv", list(words))
        try:
            cli.run(main)
        except SystemExit as e:
            return e.code
        return 0
    call.status = status
    return call


def test_the_published_figure_is_reached(evaluate):
    status, said = evaluate(GOOD)
    assert status == 0 and said[-1].startswith(f"top1={PUBLISHED}% top5=100.00%")
    assert said[-2] == (f"verdict: Top-1 {PUBLISHED} %, published {PUBLISHED} %, +0.00 points; "
                        "≥ 99 % of the published on all 50,000: passed")
    told = json.loads(Path("eval_bs8.json").read_text())
    assert told["verdict"] == {"result": "passed", "words": "passed, +0.00 points",
                               "published": PUBLISHED, "line": said[-2], "allowed": False}
    with open("answers_bs8.csv", newline="") as f:
        answers = {row["image"]: row for row in csv.DictReader(f)}
    assert len(answers) == FULL
    assert told["answers_csv"] == {"file": "answers_bs8.csv",
                                   "sha256": cli.sha256("answers_bs8.csv")}
    for number in (1, GOOD, GOOD + 1, FULL):
        row = answers[f"val/ILSVRC2012_val_{number:08d}.JPEG"]
        first, second = (number - 1) % CLASSES, number % CLASSES
        label = first if number <= GOOD else second
        assert (row["label"], row["class1"], row["class2"]) == (str(label), str(first), str(second))
        assert (row["logit1"], row["logit2"], row["logit5"]) == ("1", "0.5", "0")


def test_two_points_below_fail_at_every_call_until_it_is_allowed(evaluate, capsys):
    status, said = evaluate(GOOD - 1000)
    assert status == 1 and said[-1].startswith("top1=72.21%")
    assert said[-2].endswith("-2.00 points; ≥ 99 % of the published on all 50,000: failed")
    assert json.loads(Path("eval_bs8.json").read_text())["verdict"]["result"] == "failed"
    assert evaluate.status(show.main, "show", "eval_bs8.json") == 1
    out, err = capsys.readouterr()
    assert out.splitlines()[-2:] == said[-2:]
    assert f"Top-1 is below 99 % of the published {PUBLISHED} % — compare with torch" in err

    status, again = evaluate(GOOD - 1000, "--allow-below")
    assert status == 0 and again[-2:] == said[-2:]
    assert evaluate.status(show.main, "show", "eval_bs8.json") == 0
    Path("prep/manifest.json").write_text("{}")
    assert evaluate.status(show.main, "show", "eval_bs8.json") == 1


def test_an_image_short_is_told_by_name(evaluate):
    status, said = evaluate(FULL, without=["val/ILSVRC2012_val_00000017.JPEG"])
    assert status == 0 and said[-1].endswith("total=49999")
    assert said[-2] == (f"verdict: none beside the published {PUBLISHED} %: 49,999 images of "
                        "50,000, without ILSVRC2012_val_00000017")
    assert json.loads(Path("eval_bs8.json").read_text())["verdict"]["result"] is None
    with open("answers_bs8.csv", newline="") as f:
        assert "val/ILSVRC2012_val_00000017.JPEG" not in {row[0] for row in csv.reader(f)}


def score(good=39254, total=FULL, classes=CLASSES, **more):
    rows = [Row(str(i), "", 0, i % classes) for i in range(FULL)]
    return metrics.Score([good] * 5, total, rows=rows, **more)


@pytest.mark.parametrize("top1, good, result", [
    (79.3, 39254, "passed"), (79.3, 39253, "failed"),  # 99 % are 39,253.5 images
    (80.0, 39600, "passed"), (80.0, 39599, "failed"), (83.7, 50000, "passed")])
def test_99_percent(top1, good, result):
    assert verdict.of(score(good), {"top1": top1})["result"] == result
    assert verdict.of(score(good), {"top1": None, "top1_torch": top1})["result"] == result


@pytest.mark.parametrize("odd, said", [
    (score(demo=True), "demo"),
    (score(against={"lost": 0}), "a lower precision counts beside f32"),
    (score(dataset={"limit": 500}, total=500), "a subset of 500 images"),
    (score(total=FULL - 1, missing=["a.JPEG"]), "1 images are missing: a.JPEG"),
    (score(total=60), "60 images of 50,000$"),
    (score(classes=999), "the images are of 999 classes"),
    (metrics.Score([1] * 5, FULL, classes=21841), "the network has 21841 classes")])
def test_why_there_is_no_verdict(odd, said):
    found = verdict.of(odd, {"top1": 79.3})
    assert found["result"] is None
    assert re.search(f"none beside the published 79.3 %: {said}", found["line"])
    assert "published.json has no Top-1" in verdict.of(score(), {"top1": None})["line"]


# ---- a lower precision ----

def of(right, images=201):
    place = np.where(np.arange(images) < right, 0, 5)
    answers = np.repeat(np.arange(images)[:, None], 5, 1)
    return metrics.Score([right] * 5, images, place=place, best=answers)


def test_other_weights_than_the_published():
    found = verdict.of(score(), {"top1": 74.21}, other_weights="the weights are timm's own")
    assert found["result"] is None and "timm's own" in found["line"]


def test_a_point_is_a_point():
    """Exactly one point lost is accepted; over the images that both have."""
    lower = of(148)
    lower.place[200] = -1
    verdict.compare(lower, of(150), "int8")
    got = lower.against
    assert (got["images"], got["f32"]["top1"], got["lower"]["top1"]) == (200, 150, 148)
    assert (got["same"], got["lost"], got["verdict"]) == (200, 1.0, "accepted")
    with pytest.raises(cli.Failure, match="int8 loses 1.49 points of Top-1, over 1"):
        verdict.compare(of(148), of(151), "int8")
    with pytest.raises(cli.Failure, match="fp16 loses 1.49 .* — `make half` names the layers"):
        verdict.compare(of(148), of(151), "fp16")


def test_a_small_set_has_no_verdict():
    lower = of(40, 160)
    verdict.compare(lower, of(80, 160), "int8")
    assert lower.against["verdict"] is None and lower.against["lost"] == 25
    assert lower.findings[0].endswith("one image is 0.62 points: no verdict below 200 images")
