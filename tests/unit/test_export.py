"""Exports: names, opset, dynamic batch, facts, records, and that a graph which disagrees with torch
does not get its name."""
import sys
import types
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from graphs import save_graph
from onnx import helper
from torch import nn

from common import cli, provenance
from common.data import transforms
from common.model import export, facts, operators


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 4, stride=4)
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        return self.head(torch.relu(self.conv(x)).mean((2, 3)))


class FrozenBatch(Net):
    def forward(self, x):
        batch = int(x.shape[0])  # traced as the number it has at export
        return super().forward(x.reshape(batch, 3, 16, 16))


class LeakingRows(Net):
    def forward(self, x):
        return super().forward(x) + 0.01 * x.mean() * torch.arange(10)


class Training(Net):
    def forward(self, x):
        return super().forward(x) * (1.01 if torch.onnx.is_in_onnx_export() else 1)


class NotANumber(Net):
    def forward(self, x):
        return super().forward(x) * (float("nan") if torch.onnx.is_in_onnx_export() else 1)


def folder(net=Net):
    return types.SimpleNamespace(
        NAME="Tiny", INPUT="image", OUTPUT="class", OPSET=11, build=lambda n: net().eval(),
        RECIPE=transforms.Recipe(18, 16, "bilinear"), __file__=str(Path.cwd() / "model.py"))


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A model folder with a checkpoint of Net."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["export.py", "tiny.pth", "x.onnx"])
    Path("model.py").write_text("# the network\n")
    cli.write_json("published.json", {"model": "Tiny net", "classes": 10})
    torch.manual_seed(0)
    torch.save(Net().state_dict(), "tiny.pth")


@pytest.mark.parametrize("opset", [None, 12, 17])
def test_export(opset, capsys):
    export.run(folder(), "tiny.pth", "x.onnx", opset)
    graph = onnx.load("x.onnx")
    opsets = [o.version for o in graph.opset_import if o.domain in ("", "ai.onnx")]
    assert opsets == [opset or 11]
    for value, name, rest in ((graph.graph.input[0], "image", [3, 16, 16]),
                              (graph.graph.output[0], "class", [10])):
        dims = value.type.tensor_type.shape.dim
        assert value.name == name and dims[0].dim_param == "batch"
        assert [d.dim_value for d in dims[1:]] == rest
    out = capsys.readouterr().out
    for n in (1, 3, 8):
        assert f"batch {n}: max abs" in out and f"Top-1 agreement {n}/{n}" in out
    images = np.random.default_rng(0).normal(size=(7, 3, 16, 16)).astype(np.float32)
    net = Net()
    net.load_state_dict(torch.load("tiny.pth", weights_only=True))
    got = onnxruntime.InferenceSession("x.onnx").run(None, {"image": images})[0]
    want = net(torch.from_numpy(images)).detach().numpy()
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_what_is_known_is_in_the_record_and_in_the_file():
    export.run(folder(), "tiny.pth", "x.onnx")
    record = provenance.read("x.onnx")
    made = record.pop("made")
    assert record == {
        "model": "Tiny", "title": "Tiny net", "classes": 10, "input": "image", "output": "class",
        "preprocessing": transforms.Recipe(18, 16, "bilinear").as_dict(), "weights": "tiny.pth",
        "weights_sha256": cli.sha256("tiny.pth"), "net": "bundled", "opset": 11, "demo": False,
        "weights_key": "", "torch": torch.__version__, "onnx": onnx.__version__}
    assert facts.read(onnx.load("x.onnx")) == record
    assert made["arguments"] == ["tiny.pth", "x.onnx"] and made["sha256"] == cli.sha256("x.onnx")


def test_a_note_on_the_weights_goes_with_the_onnx():
    model = folder()
    provenance.record("tiny.pth", [], note="not the published weights")
    export.run(model, "tiny.pth", "x.onnx")
    assert facts.read(onnx.load("x.onnx"))["weights_note"] == "not the published weights"


def test_an_operator_that_the_opset_lacks():
    class Attention(torch.nn.Module):
        def forward(self, x):
            return torch.nn.functional.scaled_dot_product_attention(x, x, x)

    model = types.SimpleNamespace(NAME="Net", INPUT="i", OUTPUT="o",
                                  RECIPE=types.SimpleNamespace(crop=8))
    with pytest.raises(cli.Failure, match="opset 11: aten::scaled_dot.* — OPSET=14 has it"):
        export.trace(Attention(), model, 11, "x.onnx")


def test_more_than_an_onnx_file_holds(monkeypatch):
    monkeypatch.setattr(export, "LARGEST", 100)
    with pytest.raises(cli.Failure, match="GiB of weights, and an ONNX file holds 2"):
        export.run(folder(), "tiny.pth", "x.onnx")
    assert not list(Path().glob("*x.onnx*"))


@pytest.mark.parametrize("file", ["tiny.pth", "model.py", "published.json"])
def test_what_it_was_made_from(file):
    """Weights, network code and published.json are inputs of an ONNX."""
    export.run(folder(), "tiny.pth", "x.onnx")
    assert provenance.misfit("x.onnx", ["tiny.pth", "x.onnx"]) is None
    with open(file, "ab") as f:
        f.write(b"\n")
    assert provenance.misfit("x.onnx") == f"was made from another {file}"


def test_code_is_wherever_the_layers_are_written(tmp_path):
    """timm's and an authors' clone's files count, torch's do not; ours in common/ do."""
    import timm

    Path("clone.py").write_text("from torch import nn\nclass Layer(nn.Identity):\n    pass\n")
    from common.model import authors

    layer = authors.load(tmp_path / "clone.py").Layer()
    net = nn.Sequential(timm.create_model("test_vit"), layer)
    names = export.code(folder(), net)
    assert {"model.py", "published.json", "clone.py"} <= set(names)
    assert any(name.endswith("timm/models/vision_transformer.py") for name in names)
    assert any(name.endswith("common/model/export.py") for name in names)
    assert not any("/torch/" in name for name in names)


def test_same_bytes_again():
    export.run(folder(), "tiny.pth", "a.onnx")
    export.run(folder(), "tiny.pth", "b.onnx")
    assert Path("a.onnx").read_bytes() == Path("b.onnx").read_bytes()


@pytest.mark.parametrize("net, message", [
    (FrozenBatch, "does not run at batch 1|frozen"), (LeakingRows, "disagrees with torch"),
    (Training, "disagrees with torch"), (NotANumber, "disagrees with torch by nan")])
def test_a_wrong_graph_gets_no_name(net, message):
    with pytest.raises(cli.Failure, match=message):
        export.run(folder(net), "tiny.pth", "x.onnx")
    left = sorted(p.name for p in Path().iterdir())
    assert left == ["model.py", "published.json", "tiny.pth"]


def test_the_order_of_images_counts():
    """A graph that gives row i what torch said of image i, whatever image is there, is refused."""
    model = folder()
    images, wanted = export.reference(Net().eval(), 16)
    nodes = [helper.make_node("Shape", ["image"], ["shape"]),
             helper.make_node("Slice", ["shape", "zero", "one"], ["batch"]),
             helper.make_node("Slice", ["answers", "zero", "batch"], ["class"])]
    weights = {"answers": wanted, "zero": np.array([0]), "one": np.array([1])}
    save_graph("place.onnx", nodes, {"image": ["n", 3, 16, 16]}, {"class": ["n", 10]}, weights)
    session = onnxruntime.InferenceSession("place.onnx")
    np.testing.assert_array_equal(session.run(None, {"image": images})[0], wanted)
    with pytest.raises(cli.Failure, match="disagrees with torch"):
        export.check("place.onnx", model, images, wanted, Net().eval)


@pytest.mark.parametrize("error, own, passes", [
    (2e-5, 0.0, True), (5e-4, 1e-4, True), (5e-4, 2e-5, False), (5e-2, 1.0, False),
    (float("nan"), 1.0, False)])
def test_rounding_of_the_network_itself_is_no_wrong_graph(capsys, error, own, passes):
    """RepVGG's branches nearly cancel out: float32 alone moves its logits by as much."""
    wanted = np.eye(3, 5, dtype=np.float32)
    if passes:
        export.compare(wanted + np.float32(error), wanted, 3, lambda: own)
        assert ("these weights magnify rounding" in capsys.readouterr().out) == (own > 0)
    else:
        with pytest.raises(cli.Failure, match="disagrees with torch"):
            export.compare(wanted + np.float32(error), wanted, 3, lambda: own)


def test_own_rounding_is_that_of_float32():
    net = Net().eval()
    images, logits = export.reference(net, 16)
    assert 0 < export.own_rounding(net, images, logits) < 1e-5
    assert export.own_rounding(net, images, logits + 1) == pytest.approx(1, abs=1e-4)


def test_convert_is_applied():
    tensors = torch.load("tiny.pth", weights_only=True)
    renamed = {k.replace("conv", "0").replace("head", "1"): v for k, v in tensors.items()}
    torch.save(renamed, "tiny.pth")
    model = folder()
    with pytest.raises(cli.Failure, match="4 missing"):
        export.run(model, "tiny.pth", "x.onnx")
    model.convert = lambda s: {k.replace("0.", "conv.").replace("1.", "head."): v
                               for k, v in s.items()}
    export.run(model, "tiny.pth", "x.onnx")


def test_operators_that_atc_does_not_take(capsys):
    def model_of(*names, opset=11, domain=""):
        nodes = [helper.make_node(name, ["x"], ["y"], domain=domain) for name in names]
        graph = helper.make_graph(nodes, "g", [], [])
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    assert operators.refused(model_of("Relu", "Constant", "Erf")) == []
    assert operators.refused(model_of("LayerNormalization", "Gelu")) == ["Gelu",
                                                                         "LayerNormalization"]
    assert operators.refused(model_of("LayerNormalization", opset=17)) == []
    assert operators.refused(model_of("Relu", opset=19)) == ["Relu"]
    assert operators.refused(model_of("Gelu", domain="com.microsoft")) == ["com.microsoft::Gelu"]
    export.note_operators(model_of("Gelu"), "x.onnx")
    assert capsys.readouterr().out.startswith("note: x.onnx: CANN's ONNX parser does not take Gelu")


def test_the_export_says_so(monkeypatch, capsys):
    monkeypatch.setattr(operators, "refused", lambda graph: ["Gelu"])
    export.run(folder(), "tiny.pth", "x.onnx")
    assert "note: x.onnx: CANN's ONNX parser does not take Gelu" in capsys.readouterr().out


def test_metadata_of_other_programs():
    model = helper.make_model(helper.make_graph([], "g", [], []))
    helper.set_model_props(model, {"author": "somebody", "demo": "perhaps", "opset": "11"})
    assert facts.read(model) == {"author": "somebody", "opset": 11}
