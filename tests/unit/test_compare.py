"""make compare: where torch and the offline model differ, by image, by logit and by layer."""
import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import tiny
import torch
from conftest import ROOT, load
from onnx import numpy_helper
from torch import nn

from common import cli, provenance
from common.data.manifest import Manifest, Row
from common.model import export
from tools.inspect import blame, check_net, class_names, compare, layers


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
    monkeypatch.setattr(
        compare.online, "network", lambda weights, net, ema: (None, {"demo": False}, []))
    monkeypatch.setattr(compare.online, "answers", lambda *_: (ours, []))
    provenance.record("m.onnx", ["w.pth"], weights_sha256=cli.sha256("w.pth"))
    provenance.record("m.om", ["m.onnx"], onnx={
        "sha256": cli.sha256("m.onnx"), "weights_sha256": cli.sha256("w.pth")})
    provenance.record("result", ["m.om", "bins/manifest.json"])
    return ours


def test_images_with_another_answer_are_named(ten, monkeypatch, capsys):
    """Two images' results are exchanged: these two differ, and no other."""
    for i, k in ((3, 7), (7, 3)):
        ten[k].tofile(f"result/img_{i}_0.bin")
    provenance.record("result", ["m.om", "bins/manifest.json"])
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


def test_results_of_another_model_or_of_other_bins_are_refused(ten, monkeypatch):
    Path("other.om").write_text("another")
    Path("other.json").write_text(Path("bins/manifest.json").read_text() + " ")
    for model, bins, wrong in (
            ("other.om", "bins/manifest.json", "holds results of another model than m.om"),
            ("m.om", "other.json", "the results in result are not of the bins")):
        provenance.record("result", [model, bins])
        with pytest.raises(cli.Failure, match=wrong):
            run(monkeypatch)
    Path("result.json").unlink()
    note, = run(monkeypatch)["notes"]
    assert "is not checked" in note


@pytest.mark.parametrize("file, wrong", [
    ("w.pth", "m.onnx was made from another w.pth"),
    ("m.onnx", "m.om was made from another m.onnx")])
def test_a_file_that_was_changed_is_refused(ten, monkeypatch, file, wrong):
    Path(file).write_text("other")
    with pytest.raises(cli.Failure, match=wrong):
        run(monkeypatch)


def test_a_result_that_is_missing_stops_it(ten, monkeypatch):
    Path("result/img_4_0.bin").unlink()
    provenance.record("result", ["m.om", "bins/manifest.json"])
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


def compared(module, path, images):
    """(layers whose error counts, those whose does not, graph) of an ONNX file; each convolution
    and linear layer must be among them."""
    found, model, _ = layers.compare(module, path, images)
    parts = {p for x in found for p in x.module.split(" + ")}
    assert {n for n, m in module.named_modules() if isinstance(m, layers.LAYERS)} <= parts
    return *blame.split(model.graph, found), model.graph


def agrees(module, path, images):
    """Assert that nothing is accused, and that everything was found."""
    found, apart, _ = compared(module, path, images)
    assert blame.jump(found) is None and max(x.relative for x in found) < 1e-5 and not apart
    return [x.module for x in found]


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
    agrees(module, path, images)
    for name, node in altered.items():
        shutil.copy(path, tmp_path / "spoilt.onnx")
        weight = spoil(tmp_path / "spoilt.onnx", node)
        found, _, graph = compared(module, tmp_path / "spoilt.onnx", images)
        at = blame.jump(found)
        assert found[at].module.split(" + ")[0] == name
        assert weight in blame.between(graph, found, at)[1]


def seeded(net, constants=False):
    """The network with seeded weights and statistics; `constants`: scales and shifts as well."""
    generator = torch.Generator().manual_seed(0)
    for module in net.modules():
        if isinstance(module, layers.NORMS):
            module.running_mean.normal_(0, .1, generator=generator)
            module.running_var.uniform_(.5, 1.5, generator=generator)
    for parameter in net.parameters():
        if constants or parameter.dim() > 1:
            parameter.data.normal_(0, .2, generator=generator)
    return net.eval()


def exported(net, path, side=16):
    """Export as common/model/export.py does, at opset 11; random images of that size."""
    stand_in = SimpleNamespace(RECIPE=SimpleNamespace(crop=side), NAME="x", INPUT="x", OUTPUT="y")
    export.trace(net, stand_in, 11, path)
    onnx.save(export.simplify(path), path)
    return np.random.default_rng(0).normal(size=(2, 3, side, side)).astype(np.float32)


class Odd(nn.Module):
    """A module that runs twice, one that changes its input in place, one that takes a number, and a
    BatchNorm that the export folds away."""

    class Scaled(nn.Module):
        def forward(self, factor, x):
            return factor * x

    def __init__(self):
        super().__init__()
        self.act, self.scale = nn.ReLU(inplace=True), self.Scaled()
        self.a, self.norm, self.b = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1)
        self.tail = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(),
                                  nn.Linear(4, 5))

    def forward(self, x):
        return self.tail(self.scale(2, self.act(self.b(self.act(self.norm(self.a(x)))))))


class Deep(nn.Module):
    """As resnet18d: a BatchNorm whose convolution ends a Sequential, or is before an Identity."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))
        self.norm, self.again = nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1)
        self.nothing, self.last, self.head = nn.Identity(), nn.BatchNorm2d(4), nn.Linear(4, 5)

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(self.last(self.nothing(self.again(x))))
        return self.head(x.mean((2, 3)))


class Block(nn.Module):
    """As in resmlp, xcit and nfnets: an affine norm and a scale of 1, which are folded away, and
    the block's own sum."""

    def __init__(self, scale):
        super().__init__()
        self.alpha, self.beta = nn.Parameter(torch.ones(4)), nn.Parameter(torch.zeros(4))
        self.norm, self.act = nn.Identity(), nn.SiLU()
        self.fc, self.scale = nn.Linear(4, 4), nn.Parameter(scale * torch.ones(4))

    def forward(self, x):
        y = self.act(x * self.alpha + self.beta) * 1.0
        return x + self.scale * self.fc(self.norm(y))


class Blocks(nn.Module):
    """Tokens through two of these blocks."""

    def __init__(self, scale):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 4, 4)
        self.blocks = nn.ModuleList([Block(scale), Block(scale)])
        self.head = nn.Linear(4, 5)

    def forward(self, x):
        x = self.stem(x).flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean(1))


@pytest.mark.parametrize("net, constants, names, node", [
    (Odd(), True, ["a + norm", "b", "scale", "tail.0", "tail.1", "tail.3"], "/b/Conv"),
    (Deep(), True, ["stem.0", "stem.1", "stem.2 + norm", "again + last", "head"],
     "/stem/stem.2/Conv"),
    (Blocks(1.), False, None, "/blocks.0/fc/MatMul"),
    (Blocks(1e-2), False, None, "/blocks.1/fc/MatMul"),
    (Blocks(1.), True, None, "/blocks.1/fc/MatMul")],
    ids=["odd", "deep", "scales of 1", "small scales", "scales"])
def test_only_what_is_wrong_is_accused(tmp_path, net, constants, names, node):
    """What the export folds away or calls by another's name is right; a weight that is altered then
    is found in its layer."""
    images = exported(seeded(net, constants), tmp_path / "x.onnx")
    found = agrees(net, tmp_path / "x.onnx", images)
    assert found == names or not names
    spoil(tmp_path / "x.onnx", node)
    found, _, _ = compared(net, tmp_path / "x.onnx", images)
    assert found[blame.jump(found)].module.split(" + ")[0] == layers.place(node)


@pytest.mark.slow
@pytest.mark.parametrize("constants", [False, True])
@pytest.mark.parametrize("name", ["resnet18d", "eca_nfnet_l0", "resmlp_12_224",
                                  "xcit_nano_12_p16_224"])
def test_networks_of_timm(tmp_path, name, constants):
    """With scales of 1 and shifts of 0, which are folded away, and with others."""
    import timm

    timm.layers.set_fused_attn(False)
    torch.manual_seed(0)
    net = timm.create_model(name).eval()
    net.get_classifier().weight.data.normal_(0, .05)
    if constants:
        for parameter in net.parameters():
            if parameter.numel() == max(parameter.shape, default=1):
                parameter.data += .1 * torch.randn_like(parameter)
    found, model, _ = layers.compare(net, tmp_path / "x.onnx",
                                     exported(net, tmp_path / "x.onnx", 224)[:1])
    assert blame.split(model.graph, found) == (found, []) and blame.jump(found) is None
    assert len(found) > 40


def test_place():
    for name, module in {"/layers/layers.0/blocks/blocks.1/mlp/fc1/Conv_output_0":
                         "layers.0.blocks.1.mlp.fc1",
                         "/blocks/blocks.0/blocks.0.1/fn/fn.0/Conv_output_0": "blocks.0.1.fn.0",
                         "/layer1/layer10/Conv_output_0": "layer1.layer10",
                         "/Flatten_output_0": "", "output": ""}.items():
        assert layers.place(name) == module


def listed(errors):
    return [layers.Layer(name, name, error, error) for name, error in errors.items()]


@pytest.mark.parametrize("errors, where", [
    ([1e-7, 2e-6, 1e-5], None), ([1e-7, 2e-6, 3e-2, 5e-2], 2), ([0.5, 0.5], 0),
    ([1e-6, float("nan")], 1), ([2e-5, 1.5e-4, 9e-4, 4e-3], None), ([], None)])
def test_jump(errors, where):
    assert blame.jump(listed(dict(zip("abcd", errors)))) == where


@pytest.mark.parametrize("errors, apart", [
    ({"a": 0, "b": 1, "c": 0, "d": 0}, "b"),  # what follows b agrees
    ({"a": 0, "b": 1, "c": 1, "d": 0}, "bc"),  # the end does
    ({"a": 1, "b": 0, "c": 1, "d": 1}, ""),  # by the way of a, c and d
    ({"a": 1, "b": 0, "c": 0, "d": 1}, "a"),
    ({"a": 0, "b": float("nan"), "c": 0, "d": float("nan")}, "")])
def test_an_error_counts_when_it_is_inherited(errors, apart):
    """a goes into b and c, and b and c into d, which is the end."""
    nodes = [onnx.helper.make_node("Relu", [x], [y]) for x, y in ("xa", "ab", "ac")]
    nodes.append(onnx.helper.make_node("Add", ["b", "c"], ["d"]))
    end = onnx.helper.make_tensor_value_info("d", 1, None)
    graph = onnx.helper.make_graph(nodes, "g", [], [end])
    counted, alone = blame.split(graph, listed(errors))
    assert [x.module for x in alone] == list(apart)
    assert [x.module for x in counted] == [name for name in errors if name not in apart]


# ---- the whole, on real commands ----

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
