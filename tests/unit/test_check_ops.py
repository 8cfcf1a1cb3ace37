"""The operator check and the reader of ONNX files that it uses, against the onnx package."""
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from common import cli
from tools.inspect import check_ops, onnx_file

ROOT = Path(__file__).resolve().parents[2]


def run(module, *words, cwd, status=0):
    """Run a module of tools/inspect; return what it printed."""
    done = subprocess.run([sys.executable, "-m", f"tools.inspect.{module}", *words], cwd=cwd, text=True,
                          env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    assert done.returncode == status, done.stdout
    return done.stdout


def error(text):
    line = text.strip().splitlines()[-1]
    assert line.startswith("error: ") and " — " in line
    return line


def build(path, nodes=None, opset=11, inputs=("input",), **metadata):
    """Write an ONNX: by default 8x8 images → 5 logits, seeded."""
    rng = np.random.default_rng(0)
    weights = [numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name)
               for name, shape in (("w", (4, 3, 3, 3)), ("fc", (4, 5)))]
    nodes = nodes or [helper.make_node("Conv", [inputs[0], "w"], ["c"], name="/stem/Conv", kernel_shape=[3, 3]),
                      helper.make_node("Relu", ["c"], ["r"], name="/act/Relu"),
                      helper.make_node("GlobalAveragePool", ["r"], ["g"]),
                      helper.make_node("Flatten", ["g"], ["f"]),
                      helper.make_node("MatMul", ["f", "fc"], ["output"])]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "g", [value(name, TensorProto.FLOAT, ["n", 3, 8, 8]) for name in inputs],
                              [value("output", TensorProto.FLOAT, ["n", 5])], weights)
    imports = opset if isinstance(opset, list) else [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    helper.set_model_props(model, metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


def node(op, name="", domain="", **attributes):
    return helper.make_node(op, ["input"], ["output"], name=name, domain=domain, **attributes)


# ---- reading an ONNX without the onnx package ----

def test_onnx_file_agrees_with_the_onnx_package(tmp_path):
    branch = helper.make_graph([helper.make_node("Neg", ["input"], ["b"], name="inner")], "b", [],
                               [helper.make_tensor_value_info("b", TensorProto.FLOAT, None)])
    nodes = [helper.make_node("Constant", [], ["shape"], value=numpy_helper.from_array(np.array([0, 3, 2, 4, 8]))),
             helper.make_node("Reshape", ["input", "shape"], ["r"]),
             helper.make_node("Transpose", ["r"], ["t"], perm=[0, 4, 3, 2, 1]),
             helper.make_node("ReduceMean", ["t"], ["m"], axes=[-1, -2, 3], keepdims=0, name="/norm/ReduceMean"),
             helper.make_node("If", ["flag"], ["output"], then_branch=branch, else_branch=branch)]
    path = build(tmp_path / "x.onnx", nodes, opset=13, demo="true", model="Größe")
    ours, theirs = onnx_file.read(path), onnx.load(path)
    assert ours.opsets == [("", 13)] and ours.metadata == {"demo": "true", "model": "Größe"}
    assert ours.inputs == {"input": onnx_file.Tensor((None, 3, 8, 8), "float32")}
    assert ours.outputs == {"output": onnx_file.Tensor((None, 5), "float32")}
    assert ours.weights == {w.name: tuple(w.dims) for w in theirs.graph.initializer}
    outer = [n for n in ours.nodes if n.name != "inner"]
    assert len(ours.nodes) == len(outer) + 2
    for a, b in zip(outer, theirs.graph.node, strict=True):
        assert (a.op, a.domain, a.name, a.inputs, a.outputs) == (
            b.op_type, b.domain, b.name, tuple(b.input), tuple(b.output))
        for attribute in b.attribute:
            value = helper.get_attribute_value(attribute)
            if isinstance(value, (int, list)):
                assert a.attributes.get(attribute.name, 0) == value
    assert outer[0].attributes["value"] == [5] and outer[3].layer == "norm"
    assert check_ops.ranks(ours)["t"] == 5


def test_a_damaged_onnx_is_refused(tmp_path):
    whole = build(tmp_path / "x.onnx").read_bytes()
    for size in range(0, len(whole) - 1, 7):
        (tmp_path / "cut.onnx").write_bytes(whole[:size])
        try:
            onnx_file.read(tmp_path / "cut.onnx")
        except cli.Failure as e:
            assert "cut.onnx is not an ONNX model" in str(e)
    for content in (b"", b"\x00" * 100, b"not an ONNX\n" * 100, whole[:200]):
        (tmp_path / "cut.onnx").write_bytes(content)
        with pytest.raises(cli.Failure, match="is not an ONNX model"):
            onnx_file.read(tmp_path / "cut.onnx")
    with pytest.raises(cli.Failure, match="does not exist"):
        onnx_file.read(tmp_path / "none.onnx")


# ---- the operator check ----

def test_the_table_speaks_of_onnx_operators():
    assert set(check_ops.OPSETS) <= {s.name for s in onnx.defs.get_all_schemas_with_history() if not s.domain}
    assert {"Gelu", "GroupNormalization"}.isdisjoint(check_ops.OPSETS)
    assert check_ops.OPSETS["LayerNormalization"] == [(17, 18)]


def problems(path):
    return " ".join(f"{what} — {todo}" for what, todo in check_ops.check(onnx_file.read(path))[0])


def test_what_cann_takes_passes(tmp_path):
    path = build(tmp_path / "x.onnx")
    said = run("check_ops", str(path), cwd=tmp_path)
    assert said == "check-ops: 5 operators, 5 nodes, opset 11: all in CANN's table\n"
    assert "note: x.onnx: opset 12 is outside what CANN 5 and 6" in run(
        "check_ops", build(tmp_path / "x.onnx", opset=12).name, cwd=tmp_path)


def test_operators_of_opset_20_are_named_with_their_layer(tmp_path):
    scoped = node("GroupNormalization", "node_7", num_groups=1)
    entry = scoped.metadata_props.add()
    entry.key, entry.value = "pkg.torch.onnx.name_scopes", "['', 'stages.0', 'stages.0.norm1', 'group_norm']"
    nodes = [node("Gelu", "/stages.0/mlp/act/Gelu"), node("Gelu", "/stages.1/mlp/act/Gelu"), scoped]
    said = run("check_ops", str(build(tmp_path / "x.onnx", nodes, opset=20)), cwd=tmp_path, status=1)
    assert "Gelu, 2 nodes, the first '/stages.0/mlp/act/Gelu', layer stages.0/mlp/act, is not in CANN's table" in said
    assert "GroupNormalization, 1 nodes, the first 'node_7', layer stages.0.norm1," in said
    assert "opset 20 is none of 8 to 18" in said and "OPSET=11" in error(said)


@pytest.mark.parametrize("nodes, opset, said", [
    ([node("LayerNormalization", "/norm/LN")], 16, "at opset 16 .only at 17 to 18."),
    ([node("HardSwish")], 13, "the first that writes 'output', is not in CANN's table at opset 13 .only at 14 to 18"),
    ([node("Relu")], [helper.make_opsetid("com.microsoft", 1)], "states 0 opsets of the domain ai.onnx"),
    ([node("Relu")], [helper.make_opsetid("", 11), helper.make_opsetid("ai.onnx", 12)], "states 2 opsets"),
    ([node("Fused", domain="com.microsoft")], [helper.make_opsetid("", 11)], "of the domain com.microsoft, such as Fused"),
    ([node("AveragePool", kernel_shape=[256, 1], strides=[1, 1])], 11, "AveragePool .* kernel .256, 1."),
    ([node("MaxPool", kernel_shape=[2, 2], strides=[64, 2])], 11, "strides .64, 2."),
    ([node("Gemm", "l")] * 2 + [node("Loop", "l")], 11, "Loop, 1 nodes, the first 'l', is not .* .at no opset")])
def test_what_cann_does_not_take_is_named(tmp_path, nodes, opset, said):
    assert re.search(said, problems(build(tmp_path / "x.onnx", nodes, opset)))


def test_slices_of_many_dimensions_are_noted(tmp_path):
    def sliced(*shape):
        nodes = [helper.make_node("Constant", [], ["s"], value=numpy_helper.from_array(np.array(shape))),
                 helper.make_node("Reshape", ["input", "s"], ["r"]), helper.make_node("Relu", ["r"], ["q"]),
                 helper.make_node("Slice", ["q", "w", "w"], ["output"], name="/attn/Slice")]
        return check_ops.check(onnx_file.read(build(tmp_path / "x.onnx", nodes)))
    assert sliced(0, 3, 2, 4, 8) == ([], ["1 Slice of tensors with more than 4 dimensions, the first '/attn/Slice', layer "
                                          "attn: CANN 5 has refused such (E20001 StridedSliceD)"], 11)
    assert sliced(0, 3, 8, 8) == ([], [], 11)
