"""The five export scripts, and modify_onnx.py: ModelZoo's flags, right at every batch."""
import argparse
import json
import sys
import types
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import timm
import torch
from conftest import ROOT, load
from graphs import save_graph
from onnx import helper
from torch import nn

from common import cli, provenance
from common.data import transforms
from common.model import export

SCRIPTS = {"ShiftViT": "shiftvit_pytorch2onnx.py", "SPACH": "SPACH_pth2onnx.py",
           "Twins-SVT-L": "Twins_pth2onnx.py", "Convmixer": "convmixer_pth2onnx.py",
           "spnasnet": "pthtar2onnx.py"}


# ---- flags ----

@pytest.fixture
def asked(script, monkeypatch):
    """asked(model, *words) is what the export script of a model asks of export.run()."""
    def of(model, *words):
        got = []
        monkeypatch.setattr("common.model.export.run", lambda *a: got.extend(a[1:]))
        script(model, SCRIPTS[model])(*words)
        return tuple(got)
    return of


@pytest.mark.parametrize("model, words", [
    ("ShiftViT", ("-c", "a", "-o", "b")),
    ("ShiftViT", ("--ckpt-path", "a", "--onnx-path", "b")),
    ("ShiftViT", ("--checkpoint-path", "a", "--onnx-path", "b")),
    ("SPACH", ("--input-path", "a", "--output-path", "b")),
    ("SPACH", ("--pth_file", "a", "--onnx_file", "b")),
    ("Twins-SVT-L", ("--resume", "a", "--output", "b")),
    ("Twins-SVT-L", ("--resume", "a", "--output", "b", "--drop", 0.1, "--drop-path", "0.2")),
    ("Convmixer", ("--source", "a", "--target", "b")),
    ("Convmixer", ("--source", "a", "--target", "b", "--source-train-device", "npu")),
    ("spnasnet", ("a", "b"))])
def test_flags_of_script_and_page(asked, model, words):
    assert asked(model, *words) == ("a", "b", None, "bundled", True)
    more = ("--opset-version", 13, "--net", "upstream", "--no-ema")
    assert asked(model, *words, *more) == ("a", "b", 13, "upstream", False)


def test_defaults(asked, script):
    """Where ModelZoo has none that works, the names of its page."""
    assert asked("Convmixer")[:2] == ("convmixer_1536_20_ks9_p7.pth.tar", "convmixer_1536_20.onnx")
    assert asked("SPACH")[:2] == ("spach_ms_conv_s.pth", "spach_ms_conv_s.onnx")
    assert asked("Twins-SVT-L")[:2] == ("alt_gvt_large.pth", "alt_gvt_large.onnx")
    args = script("Twins-SVT-L", SCRIPTS["Twins-SVT-L"]).module.get_args([])
    assert (args.drop, args.drop_path) == (0.0, 0.1)


@pytest.mark.parametrize("model, words", [
    ("ShiftViT", ("-c", "a")), ("spnasnet", ("a",)), ("spnasnet", ("a", "b", "-v", 9)),
    ("Convmixer", ("--source-train-device", "tpu")), ("Twins-SVT-L", ("--drop", "x"))])
def test_called_wrongly(asked, model, words):
    with pytest.raises(SystemExit) as stop:
        asked(model, *words)
    assert stop.value.code == 2


def test_opsets_are_modelzoos():
    opsets = {folder: load(ROOT / folder / "model.py", "m").OPSET for folder in SCRIPTS}
    assert opsets == {**dict.fromkeys(SCRIPTS, 11), "ShiftViT": 12}


def test_another_network_source_is_refused(script, tmp_path):
    torch.save({"state_dict": {"x": torch.zeros(1)}}, tmp_path / "a.pth")
    run = script("spnasnet", "pthtar2onnx.py")
    with pytest.raises(cli.Usage, match="no source besides timm"):
        run(tmp_path / "a.pth", tmp_path / "a.onnx", "--net", "upstream")


# ---- right at every batch ----

def same_as_torch(net, path, names, tolerance):
    """The ONNX gives torch's logits for distinct images, at three batches and in another order."""
    session = onnxruntime.InferenceSession(path)
    assert [i.shape for i in session.get_inputs()] == [["batch", 3, 224, 224]]
    assert [o.shape for o in session.get_outputs()] == [["batch", 1000]]
    for batch in (1, 3, 8):
        images = torch.randn(batch, 3, 224, 224) + torch.randn(batch, 3, 1, 1)
        with torch.no_grad():
            want = net(images).numpy()
        order = np.roll(np.arange(batch), 1)
        got = session.run([names[1]], {names[0]: images.numpy()[order]})[0]
        np.testing.assert_allclose(got, want[order], atol=tolerance)
        assert batch == 1 or np.abs(want[0] - want[1]).max() > 1e-3


@pytest.mark.slow
def test_twins(script, monkeypatch, tmp_path):
    """The network's own blocks, fewer and narrower: a batch frozen into a Reshape would show."""
    create = timm.create_model
    small = {"depths": (2, 2, 2, 2), "embed_dims": (32, 64, 128, 256), "num_heads": (1, 2, 4, 8)}
    monkeypatch.setattr(timm, "create_model", lambda name, **given: create(name, **small, **given))
    run = script("Twins-SVT-L", "Twins_pth2onnx.py")
    torch.manual_seed(1)
    net = sys.modules["model"].build()
    torch.save(net.state_dict(), tmp_path / "a.pth")
    said = run("--resume", tmp_path / "a.pth", "--output", tmp_path / "a.onnx")
    assert "opset 11, input → output, dynamic batch" in said and "note: " not in said
    same_as_torch(net, tmp_path / "a.onnx", ("input", "output"), 1e-5)
    made_from = provenance.read(tmp_path / "a.onnx")["made"]["from"]
    assert any(path.endswith("timm/models/twins.py") for path in made_from)


def test_spnasnet(script, tmp_path):
    """Weights as a DataParallel training leaves them."""
    run = script("spnasnet", "pthtar2onnx.py")
    torch.manual_seed(2)
    net = sys.modules["model"].build()
    for m in net.modules():  # as untrained, nothing but noise comes through
        if isinstance(m, nn.BatchNorm2d):
            m.reset_running_stats()
            m.momentum = None
    with torch.no_grad():
        net.train()(torch.randn(4, 3, 224, 224) * torch.linspace(0.1, 2, 4)[:, None, None, None])
        net.eval()
    state_dict = {f"module.{k}": v for k, v in net.state_dict().items()}
    torch.save({"epoch": 3, "arch": "spnasnet_100", "args": argparse.Namespace(lr=1.6),
                "state_dict": state_dict}, tmp_path / "a.pth.tar")
    said = run(tmp_path / "a.pth.tar", tmp_path / "a.onnx")
    assert "opset 11, actual_input_1 → class, dynamic batch" in said and "note: " not in said
    same_as_torch(net, tmp_path / "a.onnx", ("actual_input_1", "class"), 1e-4)


# ---- modify_onnx.py ----

PATTERN = ("Mul", "Add", "GlobalAveragePool", "Flatten", "Gemm")


@pytest.fixture
def modify(script, tmp_path, monkeypatch):
    """The script, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return script("ShiftViT", "modify_onnx.py")


def tail(path, ops=PATTERN, swap=False, **about):
    """Write a graph that ends as ShiftViT's does: norm, pool, flatten, linear."""
    rng = np.random.default_rng(0)
    shapes = {"scale": (4, 1, 1), "shift": (4, 1, 1), "w": (3, 4), "b": (3,)}
    weights = {name: rng.normal(size=s).astype(np.float32) for name, s in shapes.items()}
    inputs = {"Mul": ["scale"], "Add": ["shift"], "Gemm": ["w", "b"]}
    nodes, last = [helper.make_node("Relu", ["input"], ["normed"])], "normed"
    for op in ops:
        names = [last, *inputs.get(op, [])]
        names = names[::-1] if swap and op in ("Mul", "Add") else names
        more = {"transB": 1} if op == "Gemm" else {}
        nodes.append(helper.make_node(op, names, [f"{op}_out"], **more))
        last = f"{op}_out"
    save_graph(path, nodes, {"input": ["n", 4, 5, 5]}, {last: ["n", 3]}, weights, **about)


@pytest.mark.parametrize("flags", [("-i", "-o"), ("--input-onnx-path", "--output-onnx-path"),
                                   ("--input-onnx", "--output-onnx")], ids=str)
@pytest.mark.parametrize("swap", [False, True])
def test_pow_goes_before_the_last_norm(modify, flags, swap):
    tail("1.onnx", swap=swap, demo=True, model="Tail")
    modify(flags[0], "1.onnx", flags[1], "2.onnx")
    assert [n.op_type for n in onnx.load("2.onnx").graph.node] == ["Relu", "Pow", *PATTERN]
    image = np.random.default_rng(1).normal(size=(2, 4, 5, 5)).astype(np.float32)
    one, two = (onnxruntime.InferenceSession(f"{i}.onnx").run(None, {"input": image})[0]
                for i in (1, 2))
    np.testing.assert_array_equal(one, two)
    record = provenance.read("2.onnx")
    assert record["demo"] is True and record["model"] == "Tail"
    assert record["made"]["from"]["1.onnx"]["sha256"] == cli.sha256("1.onnx")


def test_modified_twice_is_modified_once(modify):
    tail("1.onnx")
    modify("-i", "1.onnx", "-o", "2.onnx")
    assert "had its Pow already" in modify("-i", "2.onnx", "-o", "3.onnx")
    assert Path("2.onnx").read_bytes() == Path("3.onnx").read_bytes()


@pytest.mark.parametrize("ops", [("Mul", "GlobalAveragePool", "Flatten", "Gemm"),
                                 ("Mul", "Add", "Flatten", "Gemm"),
                                 ("Mul", "Add", "GlobalAveragePool")])
def test_without_the_pattern_nothing_is_written(modify, ops):
    tail("1.onnx", ops)
    with pytest.raises(cli.Failure, match="not found"):
        modify("-i", "1.onnx", "-o", "2.onnx")
    assert [p.name for p in Path().iterdir()] == ["1.onnx"]


def test_no_onnx_to_modify(modify):
    Path("1.onnx").write_text("<html>")
    with pytest.raises(cli.Failure, match="1.onnx is not an ONNX file"):
        modify("-i", "1.onnx", "-o", "2.onnx")
    with pytest.raises(cli.Failure, match="0.onnx does not exist"):
        modify("-i", "0.onnx", "-o", "2.onnx")


class Tail(nn.Module):
    """A network that exports as ShiftViT's tail."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 4, 4), nn.GroupNorm(1, 4)
        self.pool, self.head = nn.AdaptiveAvgPool2d(1), nn.Linear(4, 10)
        for p in self.norm.parameters():  # 1 and 0 would be folded away
            nn.init.normal_(p)

    def forward(self, x):
        return self.head(torch.flatten(self.pool(self.norm(self.conv(x))), 1))


@pytest.fixture
def exported(modify, monkeypatch):
    """1.onnx of a small network with the checkpoint a.pth; `modify`."""
    torch.manual_seed(0)
    torch.save(Tail().state_dict(), "a.pth")
    Path("published.json").write_text(json.dumps({"model": "Tail", "classes": 10}))
    Path("model.py").write_text("")
    model = types.SimpleNamespace(
        NAME="Tail", INPUT="input", OUTPUT="output", OPSET=11, build=lambda net: Tail().eval(),
        RECIPE=transforms.Recipe(16, 16), __file__=str(Path("model.py").absolute()))
    monkeypatch.setitem(sys.modules, "model", model)
    export.run(model, "a.pth", "1.onnx")
    return modify


def test_the_modified_graph_is_compared_with_torch(exported):
    said = exported("-i", "1.onnx", "-o", "2.onnx", "-c", "a.pth")
    assert "torch against ONNX Runtime, batch 8" in said and "Pow before the last norm" in said
    record = provenance.read("2.onnx")
    made_from = record.pop("made")["from"]
    assert {"1.onnx", "a.pth", "model.py", "published.json"} <= made_from.keys()
    assert any(path.endswith("ShiftViT/modify_onnx.py") for path in made_from)
    facts = provenance.read("1.onnx")
    del facts["made"]
    assert record == facts


def test_a_graph_that_computes_something_else_gets_no_name(exported, monkeypatch):
    """The Pow with another exponent: what is compiled is not what the export checked."""
    monkeypatch.setattr(exported.module.np, "ones", lambda *a: np.full(1, 1.5, np.float32))
    with pytest.raises(cli.Failure, match="disagrees with torch"):
        exported("-i", "1.onnx", "-o", "2.onnx", "-c", "a.pth")
    assert not list(Path().glob("2.onnx*"))
