"""make compare: where torch and the offline model disagree, by image, by logit and by layer."""
import json
import shutil
import types

import numpy as np
import onnx
import pytest
import torch
from conftest import ROOT, copy_of, last_line, load, make
from onnx import numpy_helper
from test_transforms import picture

from common import cli
from common.data import dataset
from common.model import export
from tools.inspect import check_net, class_names, compare, layers


def spoil(path, node_name, by=None):
    """Alter one weight of the node `node_name` in an ONNX file by hand; returns the initializer's name."""
    model = onnx.load(path)
    names = {w.name: w for w in model.graph.initializer}
    node = next(n for n in model.graph.node if n.name == node_name)
    weight = next(names[i] for i in node.input if i in names and len(names[i].dims) > 1)
    values = numpy_helper.to_array(weight).copy()
    values.flat[values.size // 2] += by or 5 * np.abs(values).max()
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    onnx.save(model, path)
    return weight.name


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An spnasnet folder with seeded weights and six images, up to the results of the offline model."""
    place = tmp_path_factory.mktemp("compare")
    folder = copy_of("spnasnet", place)
    net = load(ROOT / "spnasnet/model.py", "model_of_compare").build()
    torch.save({"state_dict": check_net.seeded(net)}, place / "w.pth")
    (place / "val").mkdir()
    rng = np.random.default_rng(0)
    for i in range(6):
        picture(*(int(v) for v in rng.integers(230, 400, 2))).save(place / f"val/img_{i}.png")
    (place / "val_label.txt").write_text("".join(f"img_{i}.png {i}\n" for i in range(6)))
    return folder


def run(folder, *words):
    words = ["WEIGHTS=../w.pth", "DATA=..", "BS=4", *words]
    return make(folder, "compare", *words), json.loads((folder / "build/compare_bs4_openvino.json").read_text())


def test_agreement_then_one_weight_altered_by_hand(folder):
    said, found = run(folder, "LAYERS=1")
    assert found["same_top1"] == found["images"] == 6 and found["disagree"] == [] and found["first_jump"] is None
    assert found["largest_difference"] < 1e-4 * found["largest_logit"]
    assert sum(n for _, n in found["histogram"]) == 6000
    assert last_line(said).startswith("no layer of the ONNX differs from torch")
    # Every convolution and the classifier take part.
    net = load(ROOT / "spnasnet/model.py", "model_of_compare").build()
    parts = {p for layer in found["layers"] for p in layer["module"].split(" + ")}
    assert {n for n, m in net.named_modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear))} <= parts

    exported = folder / "build/spnasnet_100.onnx"
    name = spoil(exported, "/blocks/blocks.2/blocks.2.1/conv_dw/Conv")
    said, found = run(folder, "LAYERS=1")
    assert "wrote build/spnasnet_100_bs4.blob" in said  # the altered ONNX was compiled, not exported afresh
    assert found["first_jump"] == "blocks.2.1.conv_dw + blocks.2.1.bn2.act"
    assert last_line(said).startswith("the first layer whose error jumps: blocks.2.1.conv_dw + blocks.2.1.bn2.act (")
    assert name in found["weights"] and "/blocks/blocks.2/blocks.2.1/conv_dw/Conv" in found["operators"]
    assert found["largest_difference"] > 1e-3 * found["largest_logit"]


def test_images_with_another_answer_are_named(tmp_path, monkeypatch, capsys):
    """Two images' results are given to each other: these two disagree, and no other."""
    ours = np.random.default_rng(0).normal(size=(10, 1000)).astype(np.float32)
    theirs = ours.copy()
    theirs[[3, 7]] = ours[[7, 3]]
    manifest = dataset.Manifest([dataset.Row(f"img_{i}.png", f"img_{i}", 0, i) for i in range(10)],
                                {f"img_{i}": 1 for i in range(10)}, {})
    for name in ("bins", "result"):
        (tmp_path / name).mkdir()
    manifest.save(tmp_path / "bins")
    for i, row in enumerate(theirs):
        (tmp_path / f"bins/img_{i}.bin").touch()
        row.tofile(tmp_path / f"result/img_{i}_0.bin")
    (tmp_path / "w.pth").write_text("w")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(compare.online, "network", lambda weights, net: (None, False))
    monkeypatch.setattr(compare.online, "answers", lambda module, manifest, bins: (ours, []))
    monkeypatch.setattr("sys.argv", "compare --weights w.pth --bins bins --result result --model m.om --onnx m.onnx "
                                    "--json c.json".split())
    compare.main()
    said = capsys.readouterr().out
    found = json.loads((tmp_path / "c.json").read_text())
    assert [d["image"] for d in found["disagree"]] == ["img_3.png", "img_7.png"] and found["same_top1"] == 8
    best = ours.argmax(1)
    names = class_names.load()
    for d, (i, k) in zip(found["disagree"], [(3, 7), (7, 3)], strict=True):
        assert (d["torch"]["class"], d["offline"]["class"], d["label"]) == (best[i], best[k], i)
        line = next(line for line in said.splitlines() if line.startswith(d["image"]))
        assert names[best[i]][:32] in line and names[best[k]][:32] in line
        assert f"{100 * float(torch.tensor(ours[i]).softmax(0).max()):.1f}%" in line
    assert "same Top-1 for 8 of 10 images" in last_line(said)


def test_shiftvit_every_layer_can_be_named(tmp_path):
    """Each altered weight is found in its own layer, also where the altered weight stands behind a modified graph."""
    model = load(ROOT / "ShiftViT/model.py", "model_of_compare_shiftvit")
    module = model.build()
    module.load_state_dict(check_net.seeded(module))
    path = tmp_path / "1.onnx"
    torch.save({"model": module.state_dict()}, tmp_path / "w.pth")
    export.run(model, tmp_path / "w.pth", path, 11)
    modify = load(ROOT / "ShiftViT/modify_onnx.py", "modify_of_compare")
    graph = onnx.load(path)
    assert modify.modify(graph)
    onnx.save(graph, path)
    images = check_net.images(1).numpy()
    found, _ = layers.compare(module, path, images)
    assert layers.jump(found) is None and max(x.relative for x in found) < 1e-5
    weighted = {n for n, m in module.named_modules() if any(True for _ in m.parameters(recurse=False))}
    assert weighted <= {x.module for x in found}
    for name in ("layers.1.blocks.0.mlp.fc2", "head"):
        parts = name.split(".")
        scope = "/" + "/".join(f"{parts[i - 1]}.{p}" if p.isdigit() else p for i, p in enumerate(parts))
        spoilt = tmp_path / "spoilt.onnx"
        shutil.copy(path, spoilt)
        weight = spoil(spoilt, f"{scope}/{'Gemm' if name == 'head' else 'Conv'}")
        found, graph = layers.compare(module, spoilt, images)
        at = layers.jump(found)
        assert found[at].module == name and weight in layers.between(graph, found, at)[1]


class Odd(torch.nn.Module):
    """A module that runs twice, one that changes its input in place, and a BatchNorm that the export folds away."""

    def __init__(self):
        super().__init__()
        nn = torch.nn
        self.act = nn.ReLU(inplace=True)
        self.a, self.norm, self.b = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1)
        self.tail = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(4, 5))

    def forward(self, x):
        return self.tail(self.act(self.b(self.act(self.norm(self.a(x))))))


@pytest.mark.filterwarnings("ignore")
def test_odd_modules(tmp_path):
    torch.manual_seed(0)
    net = Odd()
    net(torch.randn(8, 3, 16, 16))  # statistics that are not 0 and 1
    net.eval()
    torch.onnx.export(net, (torch.zeros(2, 3, 16, 16),), str(tmp_path / "x.onnx"), dynamo=False, opset_version=11,
                      input_names=["x"], dynamic_axes={"x": {0: "n"}})
    images = np.random.default_rng(0).normal(size=(2, 3, 16, 16)).astype(np.float32)
    found, _ = layers.compare(net, tmp_path / "x.onnx", images)
    assert [x.module for x in found] == ["a + norm", "b", "tail.0", "tail.1", "tail.3"]
    assert layers.jump(found) is None and max(x.relative for x in found) < 1e-5


def test_place():
    assert layers.place("/layers/layers.0/blocks/blocks.1/mlp/fc1/Conv_output_0") == "layers.0.blocks.1.mlp.fc1"
    assert layers.place("/blocks/blocks.0/blocks.0.1/fn/fn.0/Conv_output_0") == "blocks.0.1.fn.0"
    assert layers.place("/layer1/layer10/Conv_output_0") == "layer1.layer10"
    assert layers.place("/Flatten_output_0") == layers.place("output") == ""


@pytest.mark.parametrize("errors, where", [
    ([1e-7, 2e-6, 1e-5], None), ([1e-7, 2e-6, 3e-2, 5e-2], 2), ([0.5, 0.5], 0), ([1e-6, float("nan")], 1),
    ([2e-5, 1.5e-4, 9e-4, 4e-3], None), ([], None)])
def test_jump(errors, where):
    assert layers.jump([layers.Layer("m", "t", e, e) for e in errors]) == where


def test_histogram_counts_everything():
    values = np.float32([0, 0, 1e-7, 2e-6, 5e-6, 0.5, 0.31])
    rows = compare.histogram(values)
    assert rows[0] == ("0", 2) and sum(n for _, n in rows) == 7
    assert dict(rows)["3e-06 … 1e-05"] == 1 and dict(rows)["1e-06 … 3e-06"] == 1 and dict(rows)["3e-01 … 1e+00"] == 1
    assert compare.histogram(np.zeros(3)) == [("0", 3)]


def test_files_that_do_not_belong_together_are_named(tmp_path):
    (tmp_path / "a.onnx").write_text("a")
    (tmp_path / "w.pth").write_text("w")
    args = types.SimpleNamespace(onnx=tmp_path / "a.onnx", weights=tmp_path / "w.pth", model="m.blob")
    right = {"sha256": cli.sha256(args.onnx), "metadata": {"weights": "w.pth", "weights_sha256": cli.sha256(args.weights)}}
    assert compare.origins(args, {"onnx": right}) == compare.origins(args, {}) == []
    assert "made from another ONNX" in compare.origins(args, {"onnx": {**right, "sha256": "0"}})[0]
    other = {**right, "metadata": {"weights": "v.pth", "weights_sha256": "0"}}
    assert "exported from other weights (v.pth)" in compare.origins(args, {"onnx": other})[0]


def test_a_result_that_is_missing_stops_it(folder, tmp_path):
    manifest = dataset.Manifest([dataset.Row("a.png", "a", 0, 1)], {"a": 1}, {})
    (tmp_path / "bins").mkdir()
    manifest.save(tmp_path / "bins")
    (tmp_path / "bins/a.bin").touch()
    (tmp_path / "result").mkdir()
    (tmp_path / "result/b_0.bin").write_bytes(b"\0" * 4000)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(cli.Failure, match="no result for a.png"):
        patch.setattr("sys.argv", ["compare", "--weights", "w", "--bins", str(tmp_path / "bins"), "--result",
                                   str(tmp_path / "result"), "--model", "m", "--onnx", "o", "--json", "j"])
        compare.main()
