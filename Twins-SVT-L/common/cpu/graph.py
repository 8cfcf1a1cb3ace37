"""The ONNX graph as an offline model needs it: one batch size, and float16 results where they are asked for."""
import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, numpy_helper

from common import cli


def read(path):
    """Return the onnx.ModelProto in `path`; Failure when it is absent or no ONNX."""
    try:
        model = onnx.load(path)
        if not model.graph.node:
            raise ValueError("it holds no graph")
        return model
    except FileNotFoundError:
        raise cli.Failure(f"{path} does not exist (E10041)", "run `make onnx`, or check --model") from None
    except (ValueError, DecodeError, onnx.checker.ValidationError) as e:
        raise cli.Failure(f"{path} is not an ONNX model ({e})", "delete it and run make onnx again") from e


def inputs(model):
    """Return {input name: dims} without the weights; a dim is an int, or None where the graph leaves it open."""
    weights = {w.name for w in model.graph.initializer}
    return {v.name: [d.dim_value if d.dim_value > 0 else None for d in v.type.tensor_type.shape.dim]
            for v in model.graph.input if v.name not in weights}


def is_open(model):
    """Whether the batch of every input may be any number."""
    return all(dims[:1] == [None] for dims in inputs(model).values())


def metadata(model):
    """Return the metadata_props, {str: str}."""
    return {p.key: p.value for p in model.metadata_props}


def fix_batch(model, batch, path):
    """Write `batch` as the first dimension of every input and output.

    A fixed shape lets the engines plan their memory and choose kernels once. Failure when the graph's batch is fixed
    at another number, or when a further dimension is open.
    """
    shapes = inputs(model)
    for v in model.graph.input:
        if v.name not in shapes:
            continue
        dims = shapes[v.name]
        if not dims or None in dims[1:]:
            raise cli.Failure(f"{path}: input {v.name!r} has the shape {dims}, only its first dimension may be open",
                              "export it with the other dimensions fixed")
        if dims[0] not in (None, batch):
            raise cli.Failure(f"{path}: the batch of input {v.name!r} is fixed at {dims[0]}, {batch} is asked for",
                              f"export it with a dynamic batch, or compile it for batch {dims[0]}")
        v.type.tensor_type.shape.dim[0].dim_value = batch
    for v in model.graph.output:
        dims = v.type.tensor_type.shape.dim
        if dims and dims[0].dim_value <= 0:
            dims[0].dim_value = batch
    # Shapes noted for inner tensors still speak of the open batch; the engines infer them again.
    del model.graph.value_info[:]


def take_bytes(model, aipp, path):
    """Make the input uint8 (N, H, W, 3), normalised inside as AIPP does it; `aipp` is what aipp.read returns.

    Failure when the graph has several inputs, or one of another size.
    """
    values = [v for v in model.graph.input if v.name in inputs(model)]
    dims = inputs(model)[values[0].name]
    if len(values) != 1 or dims[1:] != [3, *aipp["size"]]:
        raise cli.Failure(f"{path} takes {dims}, the AIPP configuration makes images of {aipp['size']}",
                          "write one for this model")
    name, inner = values[0].name, values[0].name + "_normalised"
    for node in model.graph.node:
        node.input[:] = [inner if n == name else n for n in node.input]
    for suffix, content in (("min", aipp["min"]), ("reciprocal", aipp["reciprocal"])):
        model.graph.initializer.append(numpy_helper.from_array(np.float32(content).reshape(1, 3, 1, 1), f"{name}_{suffix}"))
    steps = [helper.make_node("Cast", [name], [f"{name}_float"], to=TensorProto.FLOAT),
             helper.make_node("Transpose", [f"{name}_float"], [f"{name}_planes"], perm=[0, 3, 1, 2]),
             helper.make_node("Sub", [f"{name}_planes", f"{name}_min"], [f"{name}_centred"]),
             helper.make_node("Mul", [f"{name}_centred", f"{name}_reciprocal"], [inner])]
    for node in reversed(steps):
        model.graph.node.insert(0, node)
    values[0].CopyFrom(helper.make_tensor_value_info(name, TensorProto.UINT8, [dims[0], *aipp["size"], 3]))


def cast_outputs(model):
    """Make every float32 output float16 (atc's --output_type=FP16), under its own name; the inside stays float32."""
    for v in model.graph.output:
        if v.type.tensor_type.elem_type != TensorProto.FLOAT:
            continue
        inner = v.name + "_float32"
        for node in model.graph.node:
            node.input[:] = [inner if n == v.name else n for n in node.input]
            node.output[:] = [inner if n == v.name else n for n in node.output]
        model.graph.node.append(helper.make_node("Cast", [inner], [v.name], name=v.name + "_Cast_FP16",
                                                 to=TensorProto.FLOAT16))
        v.type.tensor_type.elem_type = TensorProto.FLOAT16
