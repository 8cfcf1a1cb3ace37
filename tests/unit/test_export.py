"""Exports: names, opset, dynamic batch, metadata, and that one which disagrees with torch does not get its name."""
import json
import types

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from common import cli
from common.data import transforms
from common.model import export


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


def folder(net=Net):
    return types.SimpleNamespace(NAME="Tiny", INPUT="image", OUTPUT="class", OPSET=11, build=lambda n: net().eval(),
                                 RECIPE=transforms.Recipe(18, 16, "bilinear"))


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    torch.save(Net().state_dict(), tmp_path / "tiny.pth")
    return tmp_path / "tiny.pth"


@pytest.mark.parametrize("opset", [None, 12, 17])
def test_export(tmp_path, weights, opset, capsys):
    export.run(folder(), weights, tmp_path / "x.onnx", opset)
    graph = onnx.load(tmp_path / "x.onnx")
    assert [o.version for o in graph.opset_import if o.domain in ("", "ai.onnx")] == [opset or 11]
    for value, name, rest in ((graph.graph.input[0], "image", [3, 16, 16]), (graph.graph.output[0], "class", [10])):
        dims = value.type.tensor_type.shape.dim
        assert value.name == name and dims[0].dim_param == "batch" and [d.dim_value for d in dims[1:]] == rest
    meta = {p.key: p.value for p in graph.metadata_props}
    assert meta["model"] == "Tiny" and meta["weights"] == "tiny.pth" and meta["weights_sha256"] == cli.sha256(weights)
    assert meta["opset"] == str(opset or 11) and meta["demo"] == "false"
    assert transforms.Recipe(**json.loads(meta["preprocessing"])).resize == 18
    out = capsys.readouterr().out
    assert all(f"batch {n}: max abs" in out and f"Top-1 agreement {n}/{n}" in out for n in (1, 3, 8))
    images = np.random.default_rng(0).normal(size=(7, 3, 16, 16)).astype(np.float32)
    net = Net()
    net.load_state_dict(torch.load(weights, weights_only=True))
    got = onnxruntime.InferenceSession(tmp_path / "x.onnx").run(None, {"image": images})[0]
    np.testing.assert_allclose(got, net(torch.from_numpy(images)).detach().numpy(), atol=1e-5)


def test_same_bytes_again(tmp_path, weights):
    export.run(folder(), weights, tmp_path / "a.onnx")
    export.run(folder(), weights, tmp_path / "b.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


@pytest.mark.parametrize("net, message", [
    (FrozenBatch, "does not run at batch 1|frozen"), (LeakingRows, "disagrees with torch"), (Training, "disagrees with torch")])
def test_a_wrong_graph_gets_no_name(tmp_path, weights, net, message):
    with pytest.raises(cli.Failure, match=message):
        export.run(folder(net), weights, tmp_path / "x.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["tiny.pth"]


def test_convert_is_applied(tmp_path, weights):
    torch.save({k.replace("conv", "0").replace("head", "1"): v for k, v in torch.load(weights).items()}, weights)
    model = folder()
    with pytest.raises(cli.Failure, match="2 missing|4 missing"):
        export.run(model, weights, tmp_path / "x.onnx")
    model.convert = lambda s: {k.replace("0.", "conv.").replace("1.", "head."): v for k, v in s.items()}
    export.run(model, weights, tmp_path / "x.onnx")
