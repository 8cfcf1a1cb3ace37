"""The ONNX graph as an offline model needs it: one batch size, bytes as input or float16 as output
where they are asked for."""
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
        raise cli.Failure(f"{path} does not exist (E10041)",
                          "run `make onnx`, or check --model") from None
    except (ValueError, DecodeError, onnx.checker.ValidationError) as e:
        raise cli.Failure(f"{path} is not an ONNX model ({cli.short(str(e))})",
                          "delete it and run make onnx again") from e


def inputs(model):
    """Return {input name: dims} without the weights; a dim is an int, None where it is open."""
    weights = {w.name for w in model.graph.initializer}
    return {v.name: [d.dim_value if d.dim_value > 0 else None for d in dimensions(v)]
            for v in model.graph.input if v.name not in weights}


def dimensions(value):
    """The dimensions of an onnx.ValueInfoProto, to read or change."""
    return value.type.tensor_type.shape.dim


def is_open(model):
    """Whether the batch of every input may be any number."""
    return all(dims[:1] == [None] for dims in inputs(model).values())


def fix_batch(model, batch, path):
    """Write `batch` as the first dimension of every input and output.

    A fixed shape lets the engines plan their memory and choose kernels once (SPACH in OpenVINO:
    1.22-1.36 times as fast). Failure when the graph's batch is fixed at another number, or when a
    further dimension is open.
    """
    for name, dims in inputs(model).items():
        if not dims or None in dims[1:] or dims[0] not in (None, batch):
            raise cli.Failure(f"{path}: input {name!r} has the shape {dims}; its first dimension "
                              f"must be open or {batch}, the others fixed",
                              "export it with a dynamic batch alone")
    weights = {w.name for w in model.graph.initializer}
    for value in (*model.graph.input, *model.graph.output):
        dims = dimensions(value)
        if value.name not in weights and len(dims) and dims[0].dim_value <= 0:
            dims[0].dim_value = batch
    # Shapes noted for inner tensors still have the open batch; the engines infer them again.
    del model.graph.value_info[:]


def rename(nodes, old, new):
    """Call a tensor otherwise wherever `nodes` read or write it."""
    for node in nodes:
        for side in (node.input, node.output):
            side[:] = [new if name == old else name for name in side]


def take_bytes(model, aipp, path):
    """Make the input uint8 (N, H, W, 3), normalised inside as AIPP does it.

    `aipp` is what toolchain.read_aipp returns. Failure when the graph has several inputs, or one of
    another size.
    """
    values = [v for v in model.graph.input if v.name in inputs(model)]
    dims = inputs(model)[values[0].name]
    if len(values) != 1 or dims[1:] != [3, *aipp["size"]]:
        raise cli.Failure(f"{path} takes {dims}, the AIPP configuration makes images of "
                          f"{aipp['size']}", "write one for this model")
    name = values[0].name
    rename(model.graph.node, name, f"{name}_normalised")
    for what in ("min", "reciprocal"):
        constant = np.float32(aipp[what]).reshape(1, 3, 1, 1)
        model.graph.initializer.append(numpy_helper.from_array(constant, f"{name}_{what}"))
    steps = [
        helper.make_node("Cast", [name], [f"{name}_float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", [f"{name}_float"], [f"{name}_planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Sub", [f"{name}_planes", f"{name}_min"], [f"{name}_centred"]),
        helper.make_node("Mul", [f"{name}_centred", f"{name}_reciprocal"], [f"{name}_normalised"])]
    for node in reversed(steps):
        model.graph.node.insert(0, node)
    bytes_in = helper.make_tensor_value_info(name, TensorProto.UINT8, [dims[0], *aipp["size"], 3])
    values[0].CopyFrom(bytes_in)


def cast_outputs(model):
    """Make every float32 output float16 (atc's --output_type=FP16); the inside stays float32."""
    for value in model.graph.output:
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            rename(model.graph.node, value.name, f"{value.name}_float32")
            model.graph.node.append(helper.make_node(
                "Cast", [f"{value.name}_float32"], [value.name], name=f"{value.name}_Cast_FP16",
                to=TensorProto.FLOAT16))
            value.type.tensor_type.elem_type = TensorProto.FLOAT16
