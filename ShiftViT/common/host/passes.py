"""Rewrites of the graph that an engine gets: the same numbers (within 1e-5 of the logits' scale), computed faster.

The exported ONNX stays as ModelZoo has it, for atc; these run on the copy that is compiled here. Each says what it gains;
benchmarks/infer.py measures them together. What gained nothing is not here: other layouts of Twins' and SPACH's tokens,
attention written out, norms folded into convolutions, shifts as depthwise convolutions.
"""
import numpy as np
import onnx
from onnx import helper, numpy_helper


def group_norm_as_formula(model):
    """Write each GroupNorm of one group as mean and variance over channels, height and width; return how many there were.

    The exporter writes Reshape (N, 1, -1) → InstanceNormalization → Reshape back, three passes over the memory; engines
    know the formula and compute it in one (ShiftViT in OpenVINO: 1.05 times as fast in f32, 1.13 in bf16).
    """
    norms = [node for node in model.graph.node if node.op_type == "InstanceNormalization"]
    if not norms:
        return 0  # shape inference of the larger models takes seconds
    graph = onnx.shape_inference.infer_shapes(model).graph
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim]
              for v in (*graph.value_info, *graph.input, *graph.output)}
    scales = {name for node in norms for name in node.input[1:]}
    weights = {w.name: numpy_helper.to_array(w).tolist() for w in model.graph.initializer if w.name in scales}
    maker = {name: node for node in model.graph.node for name in node.output}
    users = {}
    for node in model.graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    for value in model.graph.output:
        users.setdefault(value.name, []).append(None)  # who takes the result
    done = 0
    for norm in norms:
        before, after = maker.get(norm.input[0]), users.get(norm.output[0], [None])[0]
        if not before or not after or before.op_type != "Reshape" or after.op_type != "Reshape" \
                or len(users[before.output[0]]) > 1 or len(users[norm.output[0]]) > 1 \
                or [weights.get(name) for name in norm.input[1:]] != [[1], [0]]:
            continue
        x, y = before.input[0], after.output[0]
        # The same elements in the same C, H and W: then the batch is the same too, and the second Reshape undoes the first.
        if len(shapes.get(x, ())) != 4 or 0 in shapes[x][1:] or shapes[x][1:] != shapes.get(y, ())[1:]:
            continue
        _replace(model, (before, norm, after), x, y)
        done += 1
    return done


def _replace(model, nodes, x, y):
    norm, name = nodes[1], nodes[1].output[0]
    epsilon = next((a.f for a in norm.attribute if a.name == "epsilon"), 1e-5)
    model.graph.initializer.append(numpy_helper.from_array(np.float32([epsilon]), f"{name}_epsilon"))
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    if opset < 18:
        axes, more = {"axes": [1, 2, 3]}, []
    else:
        axes, more = {}, [f"{name}_axes"]
        model.graph.initializer.append(numpy_helper.from_array(np.int64([1, 2, 3]), more[0]))
    steps = [helper.make_node("ReduceMean", [x, *more], [f"{name}_mean"], keepdims=1, **axes),
             helper.make_node("Sub", [x, f"{name}_mean"], [f"{name}_centred"]),
             helper.make_node("Mul", [f"{name}_centred", f"{name}_centred"], [f"{name}_squares"]),
             helper.make_node("ReduceMean", [f"{name}_squares", *more], [f"{name}_variance"], keepdims=1, **axes),
             helper.make_node("Add", [f"{name}_variance", f"{name}_epsilon"], [f"{name}_above_0"]),
             helper.make_node("Sqrt", [f"{name}_above_0"], [f"{name}_deviation"]),
             helper.make_node("Div", [f"{name}_centred", f"{name}_deviation"], [y])]
    place = list(model.graph.node).index(nodes[0])
    for node in nodes:
        model.graph.node.remove(node)
    for node in reversed(steps):
        model.graph.node.insert(place, node)
