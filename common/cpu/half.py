"""What float16 on an NPU will do, estimated in a graph that any CPU computes.

atc computes in float16 by default. So here the input, the weights and every operator's result are
rounded to float16; what an operator sums, it sums in float32, as an NPU's cube unit does. Which
operators atc fuses, and how its kernels sum, is not known here: it stays an estimate.
"""
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from common.cpu import graph

ESTIMATE = "fp16 is an estimate of float16 on an NPU, computed on a CPU: nothing ran on an NPU"
# They hand values on as they are, so there is nothing to round.
MOVES = {"Concat", "Expand", "Flatten", "Gather", "Identity", "MaxPool", "Relu", "Reshape", "Slice",
         "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze"}


def floats(model):
    """Names of the float32 tensors that the graph computes or takes, weights excluded."""
    known = onnx.shape_inference.infer_shapes(model).graph
    types = {value.name: value.type.tensor_type.elem_type  # what an exporter noted comes first
             for value in (*known.value_info, *known.output, *graph.inputs(model))}
    return {name for name, kind in types.items() if kind == TensorProto.FLOAT}


def round_all(model):
    """Round weights, input and results of an onnx.ModelProto (in place): a pair of Casts after each
    operator that computes. What it computes is called NAME_exact, NAME is rounded.

    An engine must not optimise the graph: it could take a pair of Casts for nothing.
    """
    known, nodes = floats(model), []
    with np.errstate(over="ignore"):  # too large becomes infinite, as on an NPU
        for weight in model.graph.initializer:
            if weight.data_type == TensorProto.FLOAT:
                rounded = numpy_helper.to_array(weight).astype(np.float16).astype(np.float32)
                weight.CopyFrom(numpy_helper.from_array(rounded, weight.name))
    for value in graph.inputs(model):
        if value.name in known:
            graph.rename(model.graph.node, value.name, f"{value.name}_rounded")
            nodes += casts(value.name, f"{value.name}_rounded")
    for node in model.graph.node:
        nodes.append(node)
        for i, name in enumerate(node.output):
            if name in known and node.op_type not in MOVES:
                node.output[i] = f"{name}_exact"
                nodes += casts(node.output[i], name)
    del model.graph.node[:], model.graph.value_info[:]
    model.graph.node.extend(nodes)


def casts(exact, rounded):
    """The two nodes that make `rounded` of `exact`."""
    return [helper.make_node("Cast", [exact], [f"{rounded}_float16"], to=TensorProto.FLOAT16),
            helper.make_node("Cast", [f"{rounded}_float16"], [rounded], to=TensorProto.FLOAT)]
