"""Rewrites for the CPU engines: the same numbers as the graph had, in a form that runs faster."""
import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
import torch
from graphs import save_graph
from onnx import TensorProto, helper, numpy_helper

from common.cpu import graph, openvino_engine, rewrites
from common.cpu.host import cpu


class Norms(torch.nn.Module):
    """GroupNorms of one group as ShiftViT has them, or one of two, which computes otherwise."""

    def __init__(self, groups=1):
        super().__init__()
        self.first, self.second = torch.nn.GroupNorm(1, 6, eps=1e-3), torch.nn.GroupNorm(groups, 6)
        for norm in (self.first, self.second):
            torch.nn.init.normal_(norm.weight)
            torch.nn.init.normal_(norm.bias)

    def forward(self, x):
        return self.second(torch.relu(self.first(x)) * 3 + 1)


def exported(module, path, opset=11):
    torch.onnx.export(module, torch.randn(2, 6, 5, 7), str(path), opset_version=opset,
                      dynamo=False, input_names=["x"], output_names=["y"],
                      dynamic_axes={"x": {0: "n"}, "y": {0: "n"}})
    import onnxslim

    return onnxslim.slim(onnx.load(path))


def run(model, x):
    content, providers = model.SerializeToString(), ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(content, providers=providers)
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def same_as_torch(module, path, opset, batch, rewrite, places):
    """Export, rewrite in so many places, and compare with torch; returns the rewritten graph."""
    model = exported(module, path, opset)
    if batch:
        graph.fix_batch(model, batch, "m.onnx")
    assert rewrite(model) == places
    onnx.checker.check_model(model, full_check=True)
    x = np.random.default_rng(0).normal(2, 3, (batch or 3, 6, 5, 7)).astype(np.float32)
    with torch.no_grad():
        np.testing.assert_allclose(run(model, x), module(torch.from_numpy(x)), rtol=0, atol=1e-5)
    return model


@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize("batch", [None, 1, 4])
def test_group_norm_as_formula(tmp_path, opset, batch):
    torch.manual_seed(0)
    rewrite = rewrites.group_norm_as_formula
    model = same_as_torch(Norms().eval(), tmp_path / "m.onnx", opset, batch, rewrite, 2)
    assert not any(node.op_type == "InstanceNormalization" for node in model.graph.node)


def test_other_norms_stay(tmp_path):
    """Two groups, or an InstanceNormalization with weights, are left alone."""
    model = exported(Norms(groups=2), tmp_path / "m.onnx")
    assert rewrites.group_norm_as_formula(model) == 1
    scaled = exported(Norms(), tmp_path / "m.onnx")
    norm = next(node for node in scaled.graph.node if node.op_type == "InstanceNormalization")
    ones = next(w for w in scaled.graph.initializer if w.name == norm.input[1])
    ones.CopyFrom(numpy_helper.from_array(np.float32([2]), ones.name))
    before = run(scaled, x := np.random.default_rng(0).normal(size=(2, 6, 5, 7)).astype(np.float32))
    assert rewrites.group_norm_as_formula(scaled) == 0  # both norms share that weight
    np.testing.assert_array_equal(run(scaled, x), before)


def test_a_result_in_the_middle_is_kept(tmp_path):
    """A graph that also gives out what the norm computes on its way must go on doing so."""
    model = exported(Norms(), tmp_path / "m.onnx")
    norm = next(node for node in model.graph.node if node.op_type == "InstanceNormalization")
    inner = helper.make_tensor_value_info(norm.output[0], TensorProto.FLOAT, None)
    model.graph.output.append(inner)
    assert rewrites.group_norm_as_formula(model) == 1
    assert norm in model.graph.node
    run(model, np.zeros((2, 6, 5, 7), np.float32))


class Tokens(torch.nn.Module):
    """Channels last, as SPACH: norm, depthwise convolution, perceptron, mean of the tokens."""

    def __init__(self, between=None):
        super().__init__()
        self.norm, self.conv = torch.nn.LayerNorm(6), torch.nn.Conv2d(6, 6, 3, padding=1, groups=6)
        layers = torch.nn.Linear(6, 12), torch.nn.GELU(), torch.nn.Linear(12, 6)
        self.mlp = torch.nn.Sequential(*layers)
        self.between = between or torch.nn.Identity()
        for p in (self.norm.weight, self.norm.bias):
            torch.nn.init.normal_(p)

    def forward(self, x):
        x = self.norm(x.permute(0, 2, 3, 1))
        x = x + self.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        x = x + self.mlp(self.between(x))
        return (x / 3).mean(dim=(1, 2))


@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize("batch", [None, 1, 4])
def test_flat_tokens(tmp_path, opset, batch):
    torch.manual_seed(0)
    rewrite = rewrites.flat_tokens
    model = same_as_torch(Tokens().eval(), tmp_path / "m.onnx", opset, batch, rewrite, 3)
    shapes = rewrites.shapes_of(model)
    products = [node for node in model.graph.node if node.op_type == "MatMul"]
    assert [len(shapes[node.output[0]]) for node in products] == [3, 3]


class AlongTheWidth(torch.nn.Module):
    def forward(self, x):
        return x - x.mean(dim=2, keepdim=True)


class ByPlace(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.place = torch.nn.Parameter(torch.randn(7, 6))

    def forward(self, x):
        return x * self.place


@pytest.mark.parametrize("between", [AlongTheWidth, ByPlace])
def test_tokens_whose_place_matters_stay(tmp_path, between):
    model = exported(Tokens(between()).eval(), tmp_path / "m.onnx")
    before = model.SerializeToString()
    assert rewrites.flat_tokens(model) == 0
    assert model.SerializeToString() == before


def test_tokens_that_are_a_result_stay(tmp_path):
    model = exported(Tokens().eval(), tmp_path / "m.onnx")
    name = next(n for n in model.graph.node if n.op_type == "Transpose").output[0]
    model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    assert rewrites.flat_tokens(model) == 0


def primitives(compiled, layer):
    """The kernel that OpenVINO took for each layer of this type."""
    infos = (op.get_rt_info() for op in compiled.get_runtime_model().get_ops())
    return [info["primitiveType"].astype(str) for info in infos
            if info["layerType"].astype(str) == layer]


def depthwise(path, kernel, batch=1):
    """A depthwise convolution between two of 1x1, as in ConvMixer: alone it gets another kernel."""
    rng = np.random.default_rng(0)
    shapes = {"before": (64, 64, 1, 1), "depthwise": (64, 1, kernel, kernel),
              "after": (64, 64, 1, 1)}
    weights = {name: rng.normal(size=s).astype(np.float32) for name, s in shapes.items()}
    middle = {"group": 64, "pads": [kernel // 2] * 4}
    nodes = [helper.make_node("Conv", ["x", "before"], ["a"]),
             helper.make_node("Conv", ["a", "depthwise"], ["b"], **middle),
             helper.make_node("Conv", ["b", "after"], ["y"])]
    shape = [batch, 64, 28, 28]
    save_graph(path, nodes, {"x": shape}, {"y": shape}, weights)
    return onnx.load(path), rng.normal(size=shape).astype(np.float32)


@pytest.mark.skipif("avx512f" not in cpu()[1].split(), reason="the kernel is one for AVX-512")
@pytest.mark.parametrize("kernel, wanted", [(9, True), (5, False)])
def test_prefer_jit_depthwise(tmp_path, kernel, wanted):
    model, x = depthwise(tmp_path / "d.onnx", kernel)
    core = openvino.Core()
    plain = core.read_model(model.SerializeToString())
    chosen = openvino_engine.prefer_jit_depthwise(core, plain)
    compiled = core.compile_model(chosen, "CPU", openvino_engine.config("f32"))
    kernels = set(primitives(compiled, "Convolution"))
    assert ("jit_avx512_dw_f32" in kernels) == wanted
    expected = run(model, x)
    np.testing.assert_allclose(compiled(x)[0], expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_fewer_threads_are_not_pinned(tmp_path):
    """Else two engines of one thread each, as `make scale` has them, share the first core."""
    model, _ = depthwise(tmp_path / "d.onnx", 5)
    openvino_engine.compile_model(model.SerializeToString(), tmp_path / "m.blob", 1)
    for threads, pinned in ((1, False), (None, True)):
        said = openvino_engine.config("f32", threads)
        blob = openvino.Core().import_model((tmp_path / "m.blob").read_bytes(), "CPU", said)
        assert blob.get_property("ENABLE_CPU_PINNING") is pinned
    assert openvino_engine.config("f32", 1)["INFERENCE_NUM_THREADS"] == 1
