"""The operator check: what CANN's parser takes, and how what it does not take is named."""
import re
import subprocess
import sys

import numpy as np
import onnx
import pytest
from conftest import ROOT
from onnx import TensorProto, helper, numpy_helper

from common import cli
from tools.inspect import check_ops

CONV = {"kernel_shape": [3, 3], "pads": [0] * 4, "strides": [1, 1], "dilations": [1, 1]}
EXPECTED = "check-ops: 5 operators, 5 nodes, opset 11: all in CANN's table\n"


def node(op, name="", domain="", **attributes):
    return helper.make_node(op, ["input"], ["output"], name=name, domain=domain, **attributes)


def build(path, nodes=None, opset=11):
    """Write an ONNX: by default 8x8 images → 5 logits."""
    weights = [numpy_helper.from_array(np.zeros(shape, np.float32), name)
               for name, shape in (("w", (4, 3, 3, 3)), ("fc", (4, 5)))]
    nodes = nodes or [helper.make_node("Conv", ["input", "w"], ["c"], **CONV),
                      helper.make_node("Relu", ["c"], ["r"]),
                      helper.make_node("GlobalAveragePool", ["r"], ["g"]),
                      helper.make_node("Flatten", ["g"], ["f"]),
                      helper.make_node("MatMul", ["f", "fc"], ["output"])]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "g", [value("input", TensorProto.FLOAT, ["n", 3, 8, 8])],
                              [value("output", TensorProto.FLOAT, None)], weights)
    imports = opset if isinstance(opset, list) else [helper.make_opsetid("", opset)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=8), path)
    return path


def run(path, status=0):
    done = subprocess.run([sys.executable, "-m", "tools.inspect.check_ops", str(path)], cwd=ROOT,
                          text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == status, done.stdout
    return done.stdout


def check(path):
    return check_ops.check(check_ops.read(path))


def test_the_table_speaks_of_onnx_operators():
    known = {s.name for s in onnx.defs.get_all_schemas_with_history() if not s.domain}
    ours = {name for name in check_ops.OPSETS if not name.startswith("Ascend")}
    assert ours <= known and len(check_ops.OPSETS) - len(ours) == 4  # those of amct_onnx
    assert {"Gelu", "GroupNormalization"}.isdisjoint(check_ops.OPSETS)
    assert check_ops.OPSETS["LayerNormalization"] == [(17, 18)]


def test_what_cann_takes_passes(tmp_path):
    assert run(build(tmp_path / "x.onnx")) == EXPECTED
    said = run(build(tmp_path / "x.onnx", opset=12))
    assert "opset 12 is outside what CANN 5 and 6" in said


def test_operators_of_opset_20_are_named_with_their_layer(tmp_path):
    scoped = node("GroupNormalization", "node_7", num_groups=1)
    entry = scoped.metadata_props.add()
    entry.key = "pkg.torch.onnx.name_scopes"
    entry.value = "['', 'stages.0', 'stages.0.norm1', 'group_norm']"
    nodes = [node("Gelu", "/stages.0/mlp/act/Gelu"), node("Gelu", "/stages.1/mlp/act/Gelu"), scoped]
    said = run(build(tmp_path / "x.onnx", nodes, opset=20), status=1)
    assert "Gelu, 2 nodes, the first '/stages.0/mlp/act/Gelu', layer stages.0/mlp/act, is" in said
    assert "GroupNormalization, 1 nodes, the first 'node_7', layer stages.0.norm1," in said
    assert "opset 20 is none of 8 to 18" in said and "OPSET=11" in said.splitlines()[-1]


@pytest.mark.parametrize("nodes, opset, said", [
    ([node("LayerNormalization", "/norm/LN")], 16, "at opset 16 .only at 17 to 18."),
    ([node("HardSwish")], 13, "the first that writes 'output', is not in CANN's table at opset 13"),
    ([node("Relu")], [helper.make_opsetid("com.microsoft", 1)], "states 0 opsets of the domain"),
    ([node("Relu")], [helper.make_opsetid("", 11), helper.make_opsetid("ai.onnx", 12)],
     "states 2 opsets .*E16005"),
    ([node("Fused", domain="com.microsoft")], 11, "of the domain com.microsoft, such as Fused"),
    ([node("AveragePool", kernel_shape=[256, 1], strides=[1, 1])], 11, "kernel .256, 1."),
    ([node("MaxPool", kernel_shape=[2, 2], strides=[64, 2])], 11, "strides .64, 2."),
    ([node("Gemm", "l")] * 2 + [node("Loop", "l")], 11,
     "Loop, 1 nodes, the first 'l', .*at no opset")])
def test_what_cann_does_not_take_is_named(tmp_path, nodes, opset, said):
    problems = check(build(tmp_path / "x.onnx", nodes, opset))[0]
    assert re.search(said, " ".join(f"{what} — {todo}" for what, todo in problems))


@pytest.mark.parametrize("shape, notes", [((0, 3, 2, 4, 8), 1), ((0, 3, 8, 8), 0)])
def test_slices_of_many_dimensions_are_noted(tmp_path, shape, notes):
    constant = numpy_helper.from_array(np.array(shape))
    nodes = [helper.make_node("Constant", [], ["s"], value=constant),
             helper.make_node("Reshape", ["input", "s"], ["r"]),
             helper.make_node("Slice", ["r", "w", "w"], ["output"], name="/attn/Slice")]
    problems, said, _ = check(build(tmp_path / "x.onnx", nodes))
    assert not problems and len([n for n in said if "E20001 StridedSliceD" in n]) == notes


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"not an ONNX\n" * 100])
def test_what_is_no_onnx_is_refused(tmp_path, content):
    (tmp_path / "x.onnx").write_bytes(content)
    with pytest.raises(cli.Failure, match="is not an ONNX model"):
        check_ops.read(tmp_path / "x.onnx")


def conv(**other):
    given = {k: v for k, v in {**CONV, **other}.items() if v is not None}
    return helper.make_node("Conv", ["input", "w"], ["output"], name="c", **given)


BIAS = {"value_float": 1.0}


@pytest.mark.parametrize("nodes, opset, said", [
    ([node("Transpose", "/p/T")], 11, "Transpose '/p/T', layer p leaves perm to ONNX's default"),
    ([conv(kernel_shape=None)], 11, "Conv 'c' leaves kernel_shape to"),
    ([conv(pads=None)], 11, "leaves pads to"),
    ([conv(strides=None, dilations=None)], 11, "leaves strides, dilations to"),
    ([conv(pads=None, auto_pad="NOTSET")], 11, "leaves pads to"),
    ([node("Relu", "a"), node("Sigmoid", "a")], 11, "2 nodes are named 'a'"),
    ([node("Relu", "input")], 11, "Relu 'input' has the name of the graph's input"),
    ([helper.make_node("Constant", [], ["k"], name="k", **BIAS)], 12, "'k' holds .* value_float"),
    ([helper.make_node("Constant", [], ["k"], value_ints=[1])], 12, "value_ints, which is parsed"),
    ([node("Softmax", "s", axis=1)], 12, "Softmax 's' is over axis 1 of 4 at opset 12"),
    ([node("LogSoftmax", "s")], 11, "LogSoftmax 's' is over axis 1 of 4"),
    ([node("Softmax", "s", axis=-2)], 11, "over axis -2 of 4")])
def test_attributes_that_the_parser_takes_otherwise(tmp_path, nodes, opset, said):
    found = check(build(tmp_path / "x.onnx", nodes, opset))[0]
    assert len(found) == 1 and re.search(said, found[0][0]), found


@pytest.mark.parametrize("nodes, opset", [
    ([node("Softmax", "s", axis=3)], 11), ([node("Softmax", "s", axis=1)], 13),
    ([conv(pads=None, auto_pad="SAME_UPPER")], 11)])
def test_attributes_that_the_parser_takes_as_onnx_does(tmp_path, nodes, opset):
    assert check(build(tmp_path / "x.onnx", nodes, opset))[0] == []


@pytest.mark.parametrize("op, rank, more", [
    ("MatMul", 7, {}), ("Transpose", 9, {"perm": list(range(9))})])
def test_tensors_of_too_many_dimensions(tmp_path, op, rank, more):
    shape = numpy_helper.from_array(np.array([0, 3] + [1] * (rank - 4) + [8, 8]))
    inputs = ["r", "r"] if op == "MatMul" else ["r"]
    nodes = [helper.make_node("Constant", [], ["s"], value=shape),
             helper.make_node("Reshape", ["input", "s"], ["r"]),
             helper.make_node(op, inputs, ["output"], name="m", **more)]
    (what, _), = check(build(tmp_path / "x.onnx", nodes))[0]
    assert f"{op} 'm' has {rank} dimensions" in what
