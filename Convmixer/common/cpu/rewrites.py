"""Rewrites of the graph that an engine gets: the same numbers, computed faster.

The exported ONNX stays as ModelZoo has it, for atc; these run on the copy that is compiled here,
and agree with it within 1e-5 of the logits' scale. Each states what it gains; benchmarks/infer.py
measures them together. What gained nothing is not here: other layouts of Twins' tokens, attention
written out, norms folded into convolutions, shifts as depthwise convolutions.
"""
import numpy as np
import onnx
from onnx import helper, numpy_helper

ELEMENTWISE = {"Add", "Sub", "Mul", "Div", "Pow", "Sqrt", "Erf", "Relu", "Sigmoid", "Tanh", "Gelu"}
TO_LAST, TO_SECOND = [0, 2, 3, 1], [0, 3, 1, 2]  # where a Transpose puts the channels


def attribute(node, name, otherwise=None):
    """The value of a node's attribute, `otherwise` when it has none of that name."""
    for found in node.attribute:
        if found.name == name:
            return helper.get_attribute_value(found)
    return otherwise


def shapes_of(model):
    """{tensor: its dimensions}, 0 for an open one."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    return {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim]
            for v in (*graph.value_info, *graph.input, *graph.output)}


def add_constant(model, name, values):
    model.graph.initializer.append(numpy_helper.from_array(values, name))
    return name


# ---- GroupNorm ----

def group_norm_as_formula(model):
    """Write each GroupNorm of one group as mean and variance over channels, height and width.

    Returns how many there were. The exporter writes Reshape (N, 1, -1) → InstanceNormalization →
    Reshape back, three passes over the memory; engines know the formula and compute it in one
    (ShiftViT in OpenVINO: 1.05 times as fast in f32, 1.13 in bf16).
    """
    norms = [node for node in model.graph.node if node.op_type == "InstanceNormalization"]
    if not norms:
        return 0  # shape inference of the larger models takes seconds
    shapes = shapes_of(model)
    maker = {name: node for node in model.graph.node for name in node.output}
    users = _users(model)
    weights = {w.name: w for w in model.graph.initializer}
    done = 0
    for norm in norms:
        around = _reshapes_around(norm, maker, users)
        if around and _is_plain(norm, weights) and _is_undone(around, shapes):
            _write_formula(model, around[0], norm, around[1])
            done += 1
    return done


def _users(model):
    """{tensor: nodes that take it}, None for whoever takes a result of the graph."""
    users = {}
    for node in model.graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    for value in model.graph.output:
        users.setdefault(value.name, []).append(None)
    return users


def _reshapes_around(norm, maker, users):
    """The Reshapes before and after a norm when nothing else takes what is between, else None."""
    before, after = maker.get(norm.input[0]), users.get(norm.output[0], [None])[0]
    if not before or not after or before.op_type != "Reshape" or after.op_type != "Reshape":
        return None
    if len(users[before.output[0]]) > 1 or len(users[norm.output[0]]) > 1:
        return None
    return before, after


def _is_plain(norm, weights):
    """Whether a norm's own scale is 1 and its shift 0."""
    scale, shift = (weights.get(name) for name in norm.input[1:])
    return (scale is not None and numpy_helper.to_array(scale).tolist() == [1]
            and shift is not None and numpy_helper.to_array(shift).tolist() == [0])


def _is_undone(around, shapes):
    """Whether the second Reshape undoes the first: the same C, H and W of as many elements, so the
    same batch."""
    x, y = shapes.get(around[0].input[0], []), shapes.get(around[1].output[0], [])
    return len(x) == 4 and 0 not in x[1:] and x[1:] == y[1:]


def _write_formula(model, before, norm, after):
    x, y, name = before.input[0], after.output[0], norm.output[0]
    epsilon = np.float32([attribute(norm, "epsilon", 1e-5)])
    epsilon = add_constant(model, f"{name}_epsilon", epsilon)
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    axes, more = {"axes": [1, 2, 3]}, []
    if opset >= 18:  # there the axes are an input
        axes, more = {}, [add_constant(model, f"{name}_axes", np.int64([1, 2, 3]))]

    def step(operator, inputs, suffix, **attributes):
        output = f"{name}_{suffix}" if suffix else y
        steps.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    steps = []
    mean = step("ReduceMean", [x, *more], "mean", keepdims=1, **axes)
    centred = step("Sub", [x, mean], "centred")
    squares = step("Mul", [centred, centred], "squares")
    variance = step("ReduceMean", [squares, *more], "variance", keepdims=1, **axes)
    above_0 = step("Add", [variance, epsilon], "above_0")
    deviation = step("Sqrt", [above_0], "deviation")
    step("Div", [centred, deviation], None)
    place = list(model.graph.node).index(before)
    for node in (before, norm, after):
        model.graph.node.remove(node)
    for node in reversed(steps):
        model.graph.node.insert(place, node)


# ---- channels last ----

def flat_tokens(model):
    """Have images whose channels are last, (N, H, W, C), computed as tokens (N, H*W, C).

    Returns how many Transposes changed. OpenVINO takes a tensor of four dimensions for one with
    channels second, and copies it at every Transpose and norm to have it so; one of three it leaves
    in place, and recognises LayerNorm by (SPACH: 1.2-1.3 times as fast in f32; ONNX Runtime: the
    same or 1.05). All or nothing: 0 when anything between the Transposes depends on H and W being
    two dimensions.
    """
    entries = [n for n in model.graph.node if _is_transpose(n, TO_LAST)]
    if not entries:
        return 0
    found = _between(model, entries)
    if not found:
        return 0
    inside, exits, pools = found
    shapes = shapes_of(model)
    ends = [n.output[0] for n in entries] + [n.input[0] for n in exits]
    known = all(len(shapes.get(name, [])) == 4 and 0 not in shapes[name][1:] for name in ends)
    if not known or inside & {value.name for value in model.graph.output}:
        return 0
    for node in entries:
        _, h, w, c = shapes[node.output[0]]
        apart = f"{node.output[0]}_apart"
        place = list(model.graph.node).index(node) + 1
        _reshape(model, place, apart, node.output[0], [0, h * w, c])
        node.output[0] = apart
    for node in exits:
        apart = f"{node.output[0]}_apart"  # each its own: two exits may share an input
        place = list(model.graph.node).index(node)
        _reshape(model, place, node.input[0], apart, [0, *shapes[node.input[0]][1:]])
        node.input[0] = apart
    for node in pools:
        next(a for a in node.attribute if a.name == "axes").ints[:] = [1]
    del model.graph.value_info[:]  # what was inferred before
    return len(entries) + len(exits)


def _is_transpose(node, permutation):
    return node.op_type == "Transpose" and attribute(node, "perm") == permutation


def _between(model, entries):
    """(tensors with channels last, Transposes back, means over H and W) after the `entries`; None
    when something there depends on H and W being two dimensions."""
    ranks = {w.name: len(w.dims) for w in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            ranks[node.output[0]] = len(node.attribute[0].t.dims)
    inside, exits, pools = set(), [], []
    for node in model.graph.node:
        if node in entries:
            inside.add(node.output[0])
        elif inside & set(node.input):
            if _is_transpose(node, TO_SECOND):
                exits.append(node)
            elif _is_mean(node, [1, 2], keepdims=0):
                pools.append(node)
            elif _is_for_each_token(node, inside, ranks):
                inside.add(node.output[0])
            else:
                return None
    return inside, exits, pools


def _is_mean(node, axes, keepdims):
    return (node.op_type == "ReduceMean" and attribute(node, "axes") == axes
            and attribute(node, "keepdims", 1) == keepdims)


def _is_for_each_token(node, inside, ranks):
    """Whether a node computes the same for every pixel, wherever that is."""
    if node.op_type in ELEMENTWISE:
        others = [name for name in node.input if name not in inside]
        return all(ranks.get(name, 2) < 2 for name in others)
    if node.op_type == "LayerNormalization":
        return attribute(node, "axis", -1) == -1
    if node.op_type == "MatMul":
        return node.input[0] in inside and ranks.get(node.input[1]) == 2
    return _is_mean(node, [-1], keepdims=1)


def _reshape(model, place, x, y, shape):
    name = add_constant(model, f"{y}_shape", np.int64(shape))
    model.graph.node.insert(place, helper.make_node("Reshape", [x, name], [y]))
