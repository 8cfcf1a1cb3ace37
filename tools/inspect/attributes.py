"""What CANN's ONNX parser refuses of an operator that it has, or takes and computes otherwise.

Found with the vendor's parser (hicann/ge ffdcbc9 and the plugins of ops-nn, ops-math, ops-cv, built
and fed small graphs, 2026-11), which reads attributes where ONNX has defaults; the limits of ranks
are those of its operator documents. `make check-ops` prints them.
"""
import collections

NEEDS = {"Transpose": ("perm",), "Conv": ("kernel_shape", "pads", "strides", "dilations")}
# The opset at which Softmax began to mean one axis; before, all from this axis on are one.
ONE_AXIS = 13
NUMBERS = ("value_float", "value_floats", "value_int", "value_ints")
RANKS = {"MatMul": 6, "Transpose": 8}
EXPLICIT = "write the attribute into the node (onnx.helper.make_attribute)"


def given(node):
    """{name of an attribute: onnx.AttributeProto} of a node."""
    return {attribute.name: attribute for attribute in node.attribute}


def lacking(node):
    """Attributes that the parser wants and the node leaves to ONNX's defaults. `auto_pad` stands
    for `pads`."""
    there = given(node)
    if "auto_pad" in there and there["auto_pad"].s != b"NOTSET":
        there["pads"] = there["auto_pad"]
    return [name for name in NEEDS.get(node.op_type, ()) if name not in there]


def softmax_axis(node, opset, rank):
    """The axis of a Softmax, LogSoftmax or Hardmax below opset 13 that is not the last; None for
    others. Without a known rank only the axis -1 is known to be the last."""
    if node.op_type not in ("Softmax", "LogSoftmax", "Hardmax") or opset >= ONE_AXIS:
        return None
    axis = given(node)["axis"].i if "axis" in given(node) else 1
    return None if axis == -1 or (rank and axis == rank - 1) else axis


def twice(nodes, inputs, where):
    """Problems of names: two nodes of one name, and a node named as one of the graph's inputs."""
    counted = collections.Counter(node.name for node in nodes if node.name)
    for name, count in counted.items():
        if count > 1:
            yield f"{count} nodes are named {name!r}", "give each node a name of its own"
        if name in inputs:
            node = next(node for node in nodes if node.name == name)
            yield (f"{node.op_type} {where(node)} has the name of the graph's input",
                   "give the node another name")


def each(node, opset, rank, where):
    """Problems of one node, (what, what to do); `rank` is that of its first input, None where it
    is not known."""
    here = f"{node.op_type} {where(node)}"
    if lacking(node):
        yield (f"{here} leaves {', '.join(lacking(node))} to ONNX's default, which CANN's parser "
               "refuses", EXPLICIT)
    numbers = [name for name in NUMBERS if node.op_type == "Constant" and name in given(node)]
    if numbers:
        yield (f"{here} holds its number as {numbers[0]}, which is parsed as an empty one: other "
               "results, in silence", "hold it as a tensor, in the attribute value")
    axis = softmax_axis(node, opset, rank)
    if axis is not None:
        yield (f"{here} is over axis {axis} of "
               f"{rank or 'unknown'} at opset {opset}; it is taken as that axis alone, as from "
               f"opset {ONE_AXIS} on: other results, in silence", "export it at opset 13 or later")
    if rank and rank > RANKS.get(node.op_type, rank):
        yield (f"{here} has {rank} dimensions; CANN takes {RANKS[node.op_type]}",
               "reshape it to fewer before")


def problems(model, nodes, opset, ranks, where):
    """[(what, what to do)] of an onnx.ModelProto's `nodes`: `ranks` is {tensor: rank} as far as
    known, `where` says a node as people know it."""
    found = list(twice(nodes, {value.name for value in model.graph.input}, where))
    for node in nodes:
        rank = ranks.get(node.input[0]) if node.input else None
        found += each(node, opset, rank, where)
    return found
