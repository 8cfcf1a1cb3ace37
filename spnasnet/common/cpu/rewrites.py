"""Rewrites of the graph that an engine gets: the same numbers (within 1e-5 of the logits' scale), computed faster.

The exported ONNX stays as ModelZoo has it, for atc; these run on the copy that is compiled here. Each says what it gains;
benchmarks/infer.py measures them together. What gained nothing is not here: other layouts of Twins' tokens,
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
    shapes = _shapes(model)
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
    epsilon = _attribute(norm, "epsilon", 1e-5)
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


ELEMENTWISE = {"Add", "Sub", "Mul", "Div", "Pow", "Sqrt", "Erf", "Relu", "Sigmoid", "Tanh", "Gelu"}


def flat_tokens(model):
    """Have images whose channels lie last, (N, H, W, C), computed as tokens (N, H*W, C); return how many Transposes changed.

    OpenVINO takes a tensor of four dimensions for one with channels second, and copies it at every Transpose and norm to
    have it so; one of three it leaves in place and knows LayerNorm by (SPACH: 1.2-1.3 times as fast in f32; ONNX Runtime:
    the same or 1.05). All or nothing: 0 when anything between the Transposes depends on H and W being two dimensions.
    """
    entries = [n for n in model.graph.node if n.op_type == "Transpose" and _attribute(n, "perm") == [0, 2, 3, 1]]
    if not entries:
        return 0
    shapes = _shapes(model)
    constants = {w.name: list(w.dims) for w in model.graph.initializer}
    constants |= {n.output[0]: list(n.attribute[0].t.dims) for n in model.graph.node if n.op_type == "Constant"}
    inside, exits, pools = set(), [], []
    for node in model.graph.node:
        if node in entries:
            inside.add(node.output[0])
        elif inside & set(node.input):
            axes, rest = _attribute(node, "axes"), [name for name in node.input if name not in inside]
            if node.op_type == "Transpose" and _attribute(node, "perm") == [0, 3, 1, 2]:
                exits.append(node)
            elif node.op_type == "ReduceMean" and axes == [1, 2] and _attribute(node, "keepdims", 1) == 0:
                pools.append(node)
            elif node.op_type in ELEMENTWISE and all(len(constants.get(name, [0, 0])) < 2 for name in rest) \
                    or node.op_type == "ReduceMean" and axes == [-1] and _attribute(node, "keepdims", 1) == 1 \
                    or node.op_type == "LayerNormalization" and _attribute(node, "axis", -1) == -1 \
                    or node.op_type == "MatMul" and node.input[0] in inside and len(constants.get(node.input[1], [])) == 2:
                inside.add(node.output[0])
            else:
                return 0
    ends = {n.output[0] for n in entries} | {n.input[0] for n in exits}
    edges = {name: shapes.get(name, []) for name in ends}
    if inside & {v.name for v in model.graph.output} or not all(len(s) == 4 and 0 not in s[1:] for s in edges.values()):
        return 0
    for node in entries:
        _, h, w, c = edges[node.output[0]]
        apart = f"{node.output[0]}_apart"
        _reshape(model, list(model.graph.node).index(node) + 1, apart, node.output[0], [0, h * w, c])
        node.output[0] = apart
    for node in exits:
        apart = f"{node.output[0]}_apart"  # each its own: two exits may share an input
        _reshape(model, list(model.graph.node).index(node), node.input[0], apart, [0, *edges[node.input[0]][1:]])
        node.input[0] = apart
    for node in pools:
        next(a for a in node.attribute if a.name == "axes").ints[:] = [1]
    del model.graph.value_info[:]  # what was inferred before
    return len(entries) + len(exits)


def _reshape(model, place, x, y, shape):
    model.graph.initializer.append(numpy_helper.from_array(np.int64(shape), f"{y}_shape"))
    model.graph.node.insert(place, helper.make_node("Reshape", [x, f"{y}_shape"], [y]))


def _attribute(node, name, otherwise=None):
    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), otherwise)


def _shapes(model):
    """Return {tensor: its dimensions}, 0 for an open one."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    return {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim]
            for v in (*graph.value_info, *graph.input, *graph.output)}
