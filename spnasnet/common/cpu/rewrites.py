"""Rewrites of the graph that an engine gets: the same numbers, computed faster.

The exported ONNX stays as ModelZoo has it, for atc; these run on the copy that is compiled here,
and agree with it within 1e-5 of the logits' scale. Each states what it gains; benchmarks/infer.py
measures them together. What gained nothing is not here: other layouts of Twins' tokens, attention
written out, norms folded into convolutions, shifts as depthwise convolutions.
"""
import collections

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
    opset = max(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    if not norms or opset >= 18:  # there a mean has its axes as an input
        return 0  # shape inference of the larger models takes seconds
    shapes = shapes_of(model)
    maker = {name: node for node in model.graph.node for name in node.output}
    taker = {name: node for node in model.graph.node for name in node.input}
    taken = collections.Counter(name for node in model.graph.node for name in node.input)
    taken.update(value.name for value in model.graph.output)
    weights = {w.name: numpy_helper.to_array(w).tolist() for w in model.graph.initializer
               if list(w.dims) == [1]}
    done = 0
    for norm in norms:
        before, after = maker.get(norm.input[0]), taker.get(norm.output[0])
        plain = [weights.get(name) for name in norm.input[1:]] == [[1], [0]]
        alone = taken[norm.input[0]] == taken[norm.output[0]] == 1
        if plain and alone and _is_undone(before, after, shapes):
            _write_formula(model, before, norm, after)
            done += 1
    return done


def _is_undone(before, after, shapes):
    """Whether a Reshape after a norm gives back the C, H and W from before the first one, hence the
    batch too."""
    if not before or not after or {before.op_type, after.op_type} != {"Reshape"}:
        return False
    x, y = shapes.get(before.input[0], []), shapes.get(after.output[0], [])
    return len(x) == 4 and 0 not in x[1:] and x[1:] == y[1:]


def _write_formula(model, before, norm, after):
    name = norm.output[0]
    epsilon = np.float32([attribute(norm, "epsilon", 1e-5)])
    over = {"axes": [1, 2, 3], "keepdims": 1}
    steps = [("ReduceMean", [before.input[0]], "mean", over),
             ("Sub", [before.input[0], f"{name}_mean"], "centred", {}),
             ("Mul", [f"{name}_centred", f"{name}_centred"], "squares", {}),
             ("ReduceMean", [f"{name}_squares"], "variance", over),
             ("Add", [f"{name}_variance", add_constant(model, f"{name}_epsilon", epsilon)],
              "above_0", {}),
             ("Sqrt", [f"{name}_above_0"], "deviation", {}),
             ("Div", [f"{name}_centred", f"{name}_deviation"], "normed", {})]
    place = list(model.graph.node).index(before)
    for node in (before, norm, after):
        model.graph.node.remove(node)
    for operator, inputs, suffix, attributes in reversed(steps):
        output = after.output[0] if operator == "Div" else f"{name}_{suffix}"
        node = helper.make_node(operator, inputs, [output], **attributes)
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
    for node in entries + exits:
        place = list(model.graph.node).index(node)
        image = f"{node.output[0]}_image"  # each its own: two exits may share an input
        if node in entries:
            place += 1
            tokens, node.output[0] = node.output[0], image
            _, h, w, c = shapes[tokens]
            sides, shape = ([image], [tokens]), [0, h * w, c]
        else:
            tokens, node.input[0] = node.input[0], image
            sides, shape = ([tokens], [image]), [0, *shapes[tokens][1:]]
        sides[0].append(add_constant(model, f"{image}_shape", np.int64(shape)))
        model.graph.node.insert(place, helper.make_node("Reshape", *sides))
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
