"""Compare every operator of an ONNX with what CANN's ONNX parser takes, so that atc does not
fail after minutes.

    python3 -m tools.inspect.check_ops build/x.onnx        (make check-ops)

Exit status 1 when an operator, the opset or a bound does not fit; the last line says what to do.
"""
import argparse
import ast
import collections

from common import cli
from common.model.operators import OPSETS
from tools.inspect import attributes

LOWEST, HIGHEST = 8, 18
# What CANN's own documents state: atc's manual of each release, parameter --framework and the
# ONNX operator list.
STATED = {"5.0.4": (9, 13), "5 and 6 (--framework)": (11, 11), "6.0.1": (9, 13),
          "7.0": (9, 18), "8.0 alpha": (11, 15), "9": (11, 18)}
# Bounds of convolutions and poolings in CANN 5's ONNX operator list.
MAX_KERNEL, MAX_STRIDE = 255, 63
EXPORT = "export it at opset 11 (make onnx OPSET=11), where torch writes it with operators that are"


def get_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="the .onnx")
    return parser.parse_args(argv)


def read(path):
    """The onnx.ModelProto in `path`; Failure when it is absent or none."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
    except FileNotFoundError:
        raise cli.Failure(f"{path} does not exist", "make onnx") from None
    except (DecodeError, ValueError) as e:
        raise cli.Failure(f"{path} is not an ONNX model ({e})",
                          "delete it, then make onnx") from None
    if not model.graph.node:
        raise cli.Failure(f"{path} is not an ONNX model: it holds no operators",
                          "delete it, then make onnx")
    return model


def nodes_of(graph):
    """All nodes of a GraphProto, those of branches and loop bodies too."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs]:
                yield from nodes_of(inner)


def layer(node):
    """The torch module of a node: the older exporter has it in the name (/act/Gelu), the newer
    one in the metadata; "" where neither tells."""
    props = {p.key: p.value for p in getattr(node, "metadata_props", ())}
    try:
        scopes = ast.literal_eval(props.get("pkg.torch.onnx.name_scopes", "[]"))
        return scopes[-2] if len(scopes) > 1 else node.name.rpartition("/")[0].strip("/")
    except (SyntaxError, ValueError, TypeError, MemoryError):
        return ""


def where(node):
    """The node as people know it: its name, or else what it writes, and the layer it is from."""
    written = f"that writes {node.output[0]!r}" if node.output else "without a name"
    name = repr(node.name) if node.name else written
    return name + (f", layer {layer(node)}" if layer(node) else "")


def ints(node, name):
    """An attribute of integers, [] when the node has none of this name."""
    return next((list(a.ints) for a in node.attribute if a.name == name), [])


def domains(model, nodes):
    """(problems, opset): whether CANN has the operators' domains, each with one opset. The
    opset is None where the file does not say one."""
    versions, used = collections.defaultdict(list), collections.defaultdict(list)
    for opset in model.opset_import:
        versions[opset.domain or "ai.onnx"].append(opset.version)
    for node in nodes:
        used[node.domain or "ai.onnx"].append(node)
    problems = []
    for domain in sorted(set(used) - {"ai.onnx"}):
        problems.append((f"{len(used[domain])} operators are of the domain {domain}, such as "
                         f"{used[domain][0].op_type} {where(used[domain][0])}; CANN has ONNX's "
                         "own only", "export it with standard operators"))
    for domain in sorted(set(used) | {"ai.onnx"}):
        if len(versions[domain]) != 1:
            problems.append((f"it states {len(versions[domain])} opsets of the domain {domain} "
                             "(E16005)", "export it again, with one opset_import per domain"))
    return problems, versions["ai.onnx"][0] if len(versions["ai.onnx"]) == 1 else None


def unknown(nodes, opset):
    """Problems of operators that CANN has not at this opset, one per kind of operator."""
    missing = collections.defaultdict(list)
    for node in nodes:
        ranges = OPSETS.get(node.op_type, [])
        known = node.op_type == "Constant" or any(low <= opset <= high for low, high in ranges)
        if not node.domain and not known:
            missing[node.op_type].append(node)
    for op, found in sorted(missing.items()):
        at = " and ".join(f"{low} to {high}" for low, high in OPSETS.get(op, []))
        yield (f"{op}, {len(found)} nodes, the first {where(found[0])}, is not in CANN's table "
               f"at opset {opset} ({f'only at {at}' if at else 'at no opset'})", EXPORT)


def bounds(nodes):
    """Problems of kernels and strides that are too large."""
    for node in nodes:
        kernel, strides = ints(node, "kernel_shape"), ints(node, "strides")
        if max(kernel, default=1) > MAX_KERNEL or max(strides, default=1) > MAX_STRIDE:
            yield (f"{node.op_type} {where(node)} has kernel {kernel} and strides {strides}",
                   f"CANN 5 takes kernels up to {MAX_KERNEL} and strides up to {MAX_STRIDE}")


def ranks_of(model):
    """{tensor: number of dimensions}, as far as shapes are known."""
    import onnx

    known = {weight.name: len(weight.dims) for weight in model.graph.initializer}
    try:
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except (onnx.shape_inference.InferenceError, ValueError):  # unknown to the package too
        return known
    for info in [*graph.input, *graph.value_info, *graph.output]:
        if info.type.tensor_type.HasField("shape"):
            known[info.name] = len(info.type.tensor_type.shape.dim)
    return known


def long_slices(nodes, ranks):
    """Note on Slice of tensors with more than 4 dimensions."""
    slices = [node for node in nodes
              if node.op_type == "Slice" and ranks.get(node.input[0], 0) > 4]
    if slices:
        yield (f"{len(slices)} Slice of tensors with more than 4 dimensions, the first "
               f"{where(slices[0])}: CANN 5 has refused such (E20001 StridedSliceD)")


def check(model):
    """(problems, notes, opset) of an onnx.ModelProto: a problem is (what, what to do), a note
    is a line."""
    nodes = list(nodes_of(model.graph))
    problems, opset = domains(model, nodes)
    if opset is None:
        return problems, [], None
    if not LOWEST <= opset <= HIGHEST:
        problems.append((f"opset {opset} is none of {LOWEST} to {HIGHEST}, which CANN's parser "
                         "takes", "export it at opset 11 (make onnx OPSET=11)"))
    # Of a wrong opset, name what else is wrong.
    problems += unknown(nodes, min(max(opset, LOWEST), HIGHEST))
    problems += bounds(nodes)
    ranks = ranks_of(model)
    problems += attributes.problems(model, nodes, opset, ranks, where)
    notes = list(long_slices(nodes, ranks))
    against = [cann for cann, (low, high) in STATED.items() if not low <= opset <= high]
    if against:
        notes.append(f"opset {opset} is outside what CANN {', '.join(against)} states; opset 11 "
                     "is inside all of it")
    return problems, notes, opset


def main():
    args = get_args()
    model = read(args.model)
    problems, notes, opset = check(model)
    for note in notes:
        print(f"note: {args.model}: {note}")
    for what, todo in problems[:-1]:
        print(f"{args.model}: {what} — {todo}")
    if problems:
        raise cli.Failure(f"{args.model}: {problems[-1][0]}", problems[-1][1])
    nodes = list(nodes_of(model.graph))
    print(f"check-ops: {len({node.op_type for node in nodes})} operators, {len(nodes)} nodes, "
          f"opset {opset}: all in CANN's table")


if __name__ == "__main__":
    cli.run(main)
