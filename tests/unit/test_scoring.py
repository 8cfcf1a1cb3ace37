"""The chain of custody of a score: each link that does not fit is refused before a figure."""
import json
import os
import shutil
import sys
from pathlib import Path

import graphs
import numpy as np
import pytest
from conftest import ROOT
from scored import NAMES, Chain

from common import cli, provenance, toolchain
from common.score import against_onnx, show, verdict

LINE = "good=9 total=12"


def result():
    return json.loads(Path("r.json").read_text())


def test_a_sound_chain(chain, score):
    said = score().splitlines()
    assert said[-1].endswith(LINE) and not [line for line in said if line.startswith("note")]
    got = result()
    assert got["produced_by"]["engine"] == "openvino" and got["good"] == 9
    assert got["chain"]["w.pth"] == cli.sha256("w.pth")
    assert set(got["chain"]) == {"w.pth", "m.onnx", "m.blob", "prep/manifest.json"}
    published = os.path.relpath(ROOT / "spnasnet/published.json")
    assert set(got["made"]["from"]) == {"result/run.json", "m.blob", "prep/manifest.json",
                                        published}
    assert got["made"]["arguments"][:2] == ["result/run", "val_label.txt"]


def test_show(chain, score, monkeypatch, capsys):
    """What make prints when there is nothing to do: the notes too, after the chain's check."""
    chain.compile(demo=True)
    chain.check(monkeypatch)
    line = score().splitlines()[-1]
    monkeypatch.setattr("sys.argv", ["show", "r.json"])
    show.main()
    note, told, last = capsys.readouterr().out.strip().splitlines()
    assert note.startswith("note: demo") and last == line and result()["demo"]
    assert told == "verdict: none beside the published 74.21 %: demo, generated images or weights"
    Path("m.blob").write_text("another")
    with pytest.raises(
        cli.Failure, match="r.json was made from another m.blob — delete it and score"):
        show.main()
    Path("r.json").write_text("{}")
    with pytest.raises(cli.Failure, match="r.json holds no figures"):
        show.main()


def edit_result(chain):
    chain.logits[0].tofile(f"result/run/{NAMES[1]}_0.bin")


def lose_result(chain):
    os.remove(f"result/run/{NAMES[1]}_0.bin")


def other_bins(chain):
    """The same names, preprocessed again from other images."""
    chain.prep(seed=7)


def older_model(chain):
    """A file that another time left, moved in place: it is older than the results."""
    Path("old.blob").write_text("compiled last year")
    os.utime("old.blob", (1, 1))
    os.replace("old.blob", "m.blob")


def other_weights(chain):
    """w.pth is another file now, nothing that came of it is."""
    Path("w.pth").write_text("weights of another training")


def other_network(chain):
    """ONNX and offline model were made again from other weights, after the inference."""
    chain.network(seed=5)


@pytest.mark.parametrize("harm, said", [
    (edit_result, "result/run is not the one that result/run.json describes"),
    (other_bins, "result/run was made from another prep/manifest.json"),
    (older_model, "result/run was made from another m.blob"),
    (other_weights, "m.onnx was made from another w.pth")])
def test_a_link_that_does_not_fit(chain, score, harm, said, capsys):
    harm(chain)
    with pytest.raises(cli.Failure, match=f"{said} — infer again"):
        score()
    assert "top1" not in capsys.readouterr().out
    assert not Path("r.json").exists() and not Path("table.json").exists()


def test_bins_of_another_folder(chain, score):
    shutil.copytree("prep", "other")
    chain.prep(seed=7)
    Path("prep").rename("seven")
    Path("other").rename("prep")
    with pytest.raises(cli.Failure, match="not of the bins that seven/manifest.json describes"):
        score("--manifest", "seven")


def test_a_run_without_a_record_is_said_to_be_unchecked(chain, score):
    """What the tool's summary says of the model counts all the same."""
    cli.write_json("result/run.json", {"title": "somebody's table"})
    said = score()
    assert "note: which model and bins the results are of is not checked" in said
    assert said.endswith(f"{LINE}\n") and "not checked" in result()["notes"][0]
    cli.write_json("result/run_summary.json", {"precision": "int8", "onnx": "of somebody"})
    with pytest.raises(cli.Failure, match="holds results in int8"):
        score()


def test_a_model_without_its_record_is_said_to_be_unknown(chain, score):
    """As where results were copied to another host without the model."""
    for name in ("m.blob", "m.blob.json"):
        os.remove(name)
    assert "note: of m.blob nothing is known" in score()


@pytest.mark.parametrize("content", ["{", '{"onnx": "x"}', '{"made": {"sha256": 5}, "onnx": {}}'])
def test_a_damaged_record_of_the_model(chain, score, content):
    Path("m.blob.json").write_text(content)
    with pytest.raises(cli.Failure, match="m.blob"):
        score()


def test_model_and_bins_made_for_different_recipes(chain, score, monkeypatch):
    content = json.loads(Path("prep/manifest.json").read_text())
    content["recipe"]["resize"] = 9
    cli.write_json("prep/manifest.json", content)
    chain.check(monkeypatch)
    said = score()
    assert 'note: the images were preprocessed with {"resize": 9' in said
    assert result()["notes"] and "preprocessed" in Path("table.json").read_text()


def test_labels_where_the_images_are_not_at_hand(chain, score):
    """As on another host: the labels are the manifest's, and that is said; a file must be there."""
    assert score(labels="/gone/imagenet").endswith(LINE + "\n")
    assert result()["notes"] == [
        "/gone/imagenet is not here: the labels are those that the preprocessing found"]
    assert score(labels="/gone/imagenet.2012").endswith(LINE + "\n")
    assert score(labels="prep").endswith(LINE + "\n") and result()["notes"] == []
    with pytest.raises(cli.Failure, match="does not exist"):
        score(labels="/gone/val_label.txt")


# ---- the check that ends the inference ----

def test_results_of_the_onnx(chain, monkeypatch, capsys):
    record = chain.check(monkeypatch)
    assert record["compared"]["images"] == [f"{NAMES[i]}.JPEG" for i in (0, 3, 7, 11)]
    assert record["compared"]["error"] < 1e-5 and record["note"] is None
    assert set(record["made"]["from"]) == {"m.blob", "prep/manifest.json"}
    assert "4 of 12 images computed with m.onnx too" in capsys.readouterr().out


@pytest.mark.parametrize("model, precision, share, fits", [
    ("m.blob", "f32", 5e-4, True), ("m.blob", "f32", 5e-3, False), ("m.blob", "bf16", 0.03, True),
    ("m.om", None, 0.15, False), ("foreign.om", None, 0.08, True)])
def test_results_a_little_off(chain, monkeypatch, model, precision, share, fits):
    """By a share of the logits' spread, in one of the images that are looked at."""
    other = Chain(precision, model)
    other.compile()
    four = chain.logits[[0, 3, 7, 11]]
    chain.logits[7, 5] += share * (four.max() - four.min())
    chain.infer()
    os.remove("result/run.json")
    words = ("--onnx", "m.onnx")
    if model == "foreign.om":
        os.remove("foreign.om.json")
    if fits:
        assert other.check(monkeypatch, *words)["compared"]["error"] == pytest.approx(share, rel=.1)
        return
    said = f"{model} computes {NAMES[7]}.JPEG otherwise than m.onnx: .* of the logits' spread"
    with pytest.raises(cli.Failure, match=f"{said} .* allowed. — compile it again"):
        other.check(monkeypatch, *words)
    assert not Path("result/run.json").exists()


def test_bytes_are_normalised_by_the_recipe(chain, monkeypatch):
    """uint8 bins: the ONNX takes what torchvision makes of them; red and blue changed is seen."""
    from torchvision.transforms.functional import normalize, to_tensor
    chain.prep(raw=True)
    images = np.stack([normalize(to_tensor(x), [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
                       for x in chain.bytes])
    chain.infer(graphs.logits(images, chain.weights))
    assert chain.check(monkeypatch)["compared"]["error"] < 1e-5
    chain.infer(graphs.logits(images[:, ::-1], chain.weights))
    with pytest.raises(cli.Failure, match="otherwise than m.onnx"):
        chain.check(monkeypatch)


def test_what_cannot_be_compared_is_said_in_every_output(chain, score, monkeypatch):
    Path("n.onnx").write_bytes(b"x")
    for onnx, why in {"n.onnx": "ONNX Runtime does not take n", "o.onnx": "is not at hand"}.items():
        assert why in chain.check(monkeypatch, "--onnx", onnx)["note"]
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "onnxruntime is not installed" in chain.check(monkeypatch)["note"]
    assert "note: the results are not compared with the ONNX: onnxruntime" in score()
    assert "onnxruntime" in result()["notes"][0]


@pytest.mark.parametrize("harm, said", [
    (lose_result, f"1 bins without a result: {NAMES[1]} — delete result/run and infer again"),
    (lambda c: Path("result/run/o_0.bin").write_bytes(b"x"), "1 results of no bin: o_0.bin"),
    (lambda c: os.truncate(f"prep/{NAMES[3]}.bin", 9), "of another size"),
    (lambda c: os.truncate(f"result/run/{NAMES[3]}_0.bin", 9), f"{NAMES[3]}_0.bin is 9 bytes"),
    (older_model, "m.blob is not the one that m.blob.json describes — compile"),
    (other_network, "otherwise than m.onnx"),
    (lambda c: Path("result/run.json").write_text("{}"), "would be overwritten — move it away")])
def test_inference_that_is_not_done(chain, monkeypatch, harm, said):
    harm(chain)
    with pytest.raises(cli.Failure, match=said):
        chain.check(monkeypatch)


# ---- a lower precision ----

@pytest.fixture
def int8(chain, monkeypatch):
    """int8(wrong) adds int8's results, `wrong` of them with another answer."""
    def make(wrong):
        other = Chain("int8", "m_int8.blob", "result/run_int8")
        other.compile()
        low = chain.logits.copy()
        for i in range(3, 3 + wrong):
            low[i, low[i].argmax()] = low[i].min()
        monkeypatch.setitem(toolchain.TOLERANCE, "int8", 2.0)
        other.infer(low)
        other.check(monkeypatch)
    return make


def score_int8(score, *words):
    return score(*words, run_folder="result/run_int8")


def test_int8_as_good_as_f32(int8, score):
    """Twelve images are too few for a verdict; what is counted says so."""
    int8(0)
    said = score_int8(score, "--against", "result/run")
    assert "note: int8 beside f32 on 12 images: Top-1 75.00 % → 75.00 %" in said
    assert "12 answers the same; one image is 8.3 points: no verdict below 200 images" in said
    assert "verdict: none beside the published 74.21 %: a lower precision counts beside" in said
    assert result()["against_f32"] == {
        "images": 12, "f32": {"top1": 9, "top5": result()["counts"][4]}, "lost": 0.0, "same": 12,
        "lower": {"top1": 9, "top5": result()["counts"][4]}, "verdict": None}
    assert "result/run.json" in result()["made"]["from"]
    os.remove("result/run.json")
    assert "note: f32: which model" in score_int8(score, "--against", "result/run")
    os.remove("result/run_int8.json")
    for number, name in enumerate(NAMES):  # each run has results for half of the images
        os.remove(f"result/{'run' if number % 2 else 'run_int8'}/{name}_0.bin")
    with pytest.raises(cli.Failure, match="have no image in common"):
        score_int8(score, "--against", "result/run", "--allow-partial")


def test_int8_over_a_point_is_refused_before_its_json(int8, score, capsys, monkeypatch):
    monkeypatch.setattr(verdict, "ENOUGH", 12)
    int8(1)
    with pytest.raises(cli.Failure, match=r"int8 loses 8.33 points of Top-1, over 1 .* 75.00 % → "
                                          r"66.67 %.*, 11 answers the same\) — use another "):
        score_int8(score, "--against", "result/run")
    assert not Path("r.json").exists() and "top1" not in capsys.readouterr().out


def test_int8_alone_does_not_count(int8, score):
    int8(0)
    with pytest.raises(cli.Failure, match="in int8, which count only beside f32's — make eval "
                                          "PRECISION=int8, or --against"):
        score_int8(score)


def test_int8_is_not_compared_with_itself(int8, score):
    """As OM=m_int8.blob did, with which both runs were made."""
    with pytest.raises(cli.Failure, match="holds results of the same precision, not of f32"):
        score("--against", "result/run")
    int8(0)
    shutil.copytree("result/run_int8", "result/again")
    provenance.record("result/again", ["m_int8.blob", "prep/manifest.json"])
    with pytest.raises(cli.Failure, match="holds results of int8, not of f32"):
        score_int8(score, "--against", "result/again")


def test_f32_of_another_network_or_edited(int8, score, chain):
    int8(0)
    edit_result(chain)
    with pytest.raises(cli.Failure, match="result/run is not the one that result/run.json"):
        score_int8(score, "--against", "result/run")
    os.remove("result/run.json")
    cli.write_json("result/run_summary.json", {"onnx": {"file": "n.onnx", "sha256": "0" * 64}})
    with pytest.raises(cli.Failure, match="is of another ONNX than result/run_int8"):
        score_int8(score, "--against", "result/run")


def test_an_om_that_the_stand_in_replaced_means_the_file_beside_it(tmp_path):
    """As in the READMEs' steps by hand, which have the same words on an NPU and on a CPU."""
    named = str(tmp_path / "m.om")
    with pytest.raises(cli.Failure, match="m.ort exists — run `make om`"):
        against_onnx.offline_model(named)
    (tmp_path / "m.blob").touch()
    assert against_onnx.offline_model(named) == str(tmp_path / "m.blob")
    (tmp_path / "m.ort").touch()
    with pytest.raises(cli.Failure, match="m.om could be any of"):
        against_onnx.offline_model(named)
    (tmp_path / "m.om").touch()
    assert against_onnx.offline_model(named) == named
