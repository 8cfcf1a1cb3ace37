"""make compare: where torch and the offline model differ, by image, by logit and by layer."""
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import tiny
import torch
from conftest import ROOT, load
from onnx import numpy_helper

from common import cli, provenance
from common.data.manifest import Manifest, Row
from common.model import export
from tools.inspect import check_net, class_names, compare, layers


def run(monkeypatch, **more):
    """compare.main() with files of the usual names; what it wrote."""
    words = {"weights": "w.pth", "bins": "bins", "result": "result", "model": "m.om",
             "onnx": "m.onnx", "json": "c.json", **more}
    argv = [text for name, value in words.items() for text in (f"--{name}", value) if text]
    monkeypatch.setattr(sys, "argv", ["compare", *argv])
    compare.main()
    return json.loads(Path(words["json"]).read_text())


# ---- by image and by logit ----

@pytest.fixture
def ten(tmp_path, monkeypatch):
    """Ten images' results in a folder; torch's answers are the same, as the arrays `ours`."""
    ours = np.random.default_rng(0).normal(size=(10, 1000)).astype(np.float32)
    rows = [Row(f"img_{i}.png", f"img_{i}", 0, i) for i in range(10)]
    for name in ("bins", "result"):
        (tmp_path / name).mkdir()
    Manifest(rows, {row.file: 1 for row in rows}, {}).save(tmp_path / "bins")
    for i, logits in enumerate(ours):
        (tmp_path / f"bins/img_{i}.bin").touch()
        logits.tofile(tmp_path / f"result/img_{i}_0.bin")
    for name in ("w.pth", "m.onnx", "m.om"):
        (tmp_path / name).write_text(name)
    shutil.copy(ROOT / "spnasnet/published.json", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(compare.online, "network", lambda weights, net, ema: (None, {"demo": False}))
    monkeypatch.setattr(compare.online, "answers", lambda *_: (ours, []))
    provenance.record("m.onnx", ["w.pth"], weights_sha256=cli.sha256("w.pth"))
    provenance.record("m.om", ["m.onnx"], onnx={
        "sha256": cli.sha256("m.onnx"), "weights_sha256": cli.sha256("w.pth")})
    return ours


def test_images_with_another_answer_are_named(ten, monkeypatch, capsys):
    """Two images' results are exchanged: these two differ, and no other."""
    for i, k in ((3, 7), (7, 3)):
        ten[k].tofile(f"result/img_{i}_0.bin")
    found = run(monkeypatch)
    said, best, names = capsys.readouterr().out, ten.argmax(1), class_names.load()
    assert [d["image"] for d in found["disagree"]] == ["img_3.png", "img_7.png"]
    for d, (i, k) in zip(found["disagree"], [(3, 7), (7, 3)], strict=True):
        assert (d["torch"]["class"], d["offline"]["class"]) == (best[i], best[k])
        line, = [line for line in said.splitlines() if line.startswith(d["image"])]
        assert names[best[i]][:32] in line and names[best[k]][:32] in line
        assert f"{100 * float(torch.tensor(ten[i]).softmax(0).max()):.1f}%" in line
    assert "same Top-1 for 8 of 10 images" in said and found["notes"] == []
    assert found["largest_difference"] == pytest.approx(float(np.abs(ten[3] - ten[7]).max()))


@pytest.mark.parametrize("change, said", [
    (lambda: Path("w.pth").write_text("other"), "exported from other weights"),
    (lambda: Path("m.onnx").write_text("other"), "m.om was made from another ONNX than m.onnx"),
    (lambda: provenance.record("m.onnx", [], weights="v.pth", weights_sha256="0"),
     "exported from other weights (v.pth) than w.pth"),
    (lambda: provenance.record("m.om", [], onnx={"sha256": "0"}), "was made from another ONNX"),
    (lambda: (Path("m.onnx.json").unlink(), Path("w.pth").write_text("other")),
     "exported from other weights"),
    (lambda: Path("m.om.json").unlink(), "m.om has no record")])
def test_files_that_do_not_belong_together_are_named(ten, monkeypatch, capsys, change, said):
    change()
    notes = run(monkeypatch)["notes"]
    assert any(said in note for note in notes), notes
    assert f"note: {notes[0]}" in capsys.readouterr().out


def test_a_result_that_is_missing_stops_it(ten, monkeypatch):
    Path("result/img_4_0.bin").unlink()
    with pytest.raises(cli.Failure, match="no result for img_4.png"):
        run(monkeypatch)


def test_histogram_counts_everything():
    values = np.float32([0, 0, 1e-7, 2e-6, 5e-6, 0.5, 0.31])
    rows = dict(compare.histogram(values))
    assert rows["0"] == 2 and sum(rows.values()) == 7
    assert rows["3e-06 … 1e-05"] == rows["1e-06 … 3e-06"] == rows["3e-01 … 1e+00"] == 1
    assert compare.histogram(np.zeros(3)) == [("0", 3)]


# ---- by layer ----

def spoil(path, node_name):
    """Alter one weight of the node `node_name` in an ONNX file by hand; the initializer's name."""
    model = onnx.load(path)
    weights = {w.name: w for w in model.graph.initializer}
    node = next(n for n in model.graph.node if n.name == node_name)
    weight = next(weights[i] for i in node.input if i in weights and len(weights[i].dims) > 1)
    values = numpy_helper.to_array(weight).copy()
    values.flat[values.size // 2] += 5 * np.abs(values).max()
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    onnx.save(model, path)
    return weight.name


@pytest.mark.parametrize("folder, altered", [
    ("spnasnet", {"blocks.2.1.conv_dw": "/blocks/blocks.2/blocks.2.1/conv_dw/Conv",
                  "classifier": "/classifier/Gemm"}),
    pytest.param("ShiftViT", {
        "layers.1.blocks.0.mlp.fc2": "/layers/layers.1/blocks/blocks.0/mlp/fc2/Conv",
        "head": "/head/Gemm"}, marks=pytest.mark.slow)])
def test_each_altered_weight_is_found_in_its_layer(tmp_path, folder, altered):
    """ShiftViT's also in the graph that modify_onnx.py has changed."""
    model = load(ROOT / folder / "model.py", f"model_of_compare_{folder}")
    module = model.build()
    module.load_state_dict(check_net.seeded(module))
    path = tmp_path / "m.onnx"
    torch.save({"model" if folder == "ShiftViT" else "state_dict": module.state_dict()},
               tmp_path / "w.pth")
    export.run(model, tmp_path / "w.pth", path, 11)
    if folder == "ShiftViT":
        graph = onnx.load(path)
        assert load(ROOT / folder / "modify_onnx.py", "modify_of_compare").modify(graph)
        onnx.save(graph, path)
    images = check_net.images(1).numpy()
    found, _ = layers.compare(module, path, images)
    assert layers.jump(found) is None and max(x.relative for x in found) < 1e-4
    # Every convolution and linear layer takes part.
    parts = {p for x in found for p in x.module.split(" + ")}
    assert {n for n, m in module.named_modules() if isinstance(m, layers.LAYERS)} <= parts
    for name, node in altered.items():
        shutil.copy(path, tmp_path / "spoilt.onnx")
        weight = spoil(tmp_path / "spoilt.onnx", node)
        found, graph = layers.compare(module, tmp_path / "spoilt.onnx", images)
        at = layers.jump(found)
        assert found[at].module.split(" + ")[0] == name
        assert weight in layers.between(graph, found, at)[1]


class Odd(torch.nn.Module):
    """A module that runs twice, one that changes its input in place, and a BatchNorm that the
    export folds away."""

    def __init__(self):
        super().__init__()
        nn = torch.nn
        self.act = nn.ReLU(inplace=True)
        self.a, self.norm, self.b = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1)
        self.tail = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(),
                                  nn.Linear(4, 5))

    def forward(self, x):
        return self.tail(self.act(self.b(self.act(self.norm(self.a(x))))))


@pytest.mark.filterwarnings("ignore")
def test_odd_modules(tmp_path):
    torch.manual_seed(0)
    net = Odd()
    net(torch.randn(8, 3, 16, 16))  # statistics that are not 0 and 1
    net.eval()
    torch.onnx.export(net, (torch.zeros(2, 3, 16, 16),), str(tmp_path / "x.onnx"), dynamo=False,
                      opset_version=11, input_names=["x"], dynamic_axes={"x": {0: "n"}})
    images = np.random.default_rng(0).normal(size=(2, 3, 16, 16)).astype(np.float32)
    found, _ = layers.compare(net, tmp_path / "x.onnx", images)
    assert [x.module for x in found] == ["a + norm", "b", "tail.0", "tail.1", "tail.3"]
    assert layers.jump(found) is None and max(x.relative for x in found) < 1e-5


def test_place():
    for name, module in {"/layers/layers.0/blocks/blocks.1/mlp/fc1/Conv_output_0":
                         "layers.0.blocks.1.mlp.fc1",
                         "/blocks/blocks.0/blocks.0.1/fn/fn.0/Conv_output_0": "blocks.0.1.fn.0",
                         "/layer1/layer10/Conv_output_0": "layer1.layer10",
                         "/Flatten_output_0": "", "output": ""}.items():
        assert layers.place(name) == module


@pytest.mark.parametrize("errors, where", [
    ([1e-7, 2e-6, 1e-5], None), ([1e-7, 2e-6, 3e-2, 5e-2], 2), ([0.5, 0.5], 0),
    ([1e-6, float("nan")], 1), ([2e-5, 1.5e-4, 9e-4, 4e-3], None), ([], None)])
def test_jump(errors, where):
    assert layers.jump([layers.Layer("m", "t", e, e) for e in errors]) == where


# ---- the whole, on real commands ----

@pytest.mark.slow
def test_a_whole_comparison(tmp_path):
    """make compare finds the small network's offline model to be torch's."""
    top = tiny.repository(tmp_path / "a checkout", "Net")
    said = tiny.last_line(tiny.make(top / "Net", "compare", "LAYERS=1", f"PYTHON={sys.executable}"))
    found = json.loads((top / "Net/build/compare_bs4_openvino.json").read_text())
    assert said.startswith("no layer of the ONNX differs from torch")
    assert found["same_top1"] == found["images"] == 8 and found["disagree"] == []
    assert found["largest_difference"] < 1e-4 * found["largest_logit"] and found["notes"] == []
    assert sum(n for _, n in found["histogram"]) == 8000 and found["first_jump"] is None
    assert {"0 + 1", "4"} <= {layer["module"] for layer in found["layers"]}
