"""The ONNX graph as an offline model needs it: one batch size, bytes as input or float16 as output
where they are asked for."""
import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, numpy_helper

from common import cli


def read(path):
    """Return the onnx.ModelProto in `path`; Failure when it is absent, no ONNX, or does not have
    exactly one input."""
    try:
        model = onnx.load(path)
        if not model.graph.node:
            raise ValueError("it holds no graph")
    except FileNotFoundError:
        raise cli.Failure(f"{path} does not exist (E10041)",
                          "run `make onnx`, or check --model") from None
    except (ValueError, DecodeError, onnx.checker.ValidationError) as e:
        raise cli.Failure(f"{path} is not an ONNX model ({cli.short(str(e))})",
                          "delete it and run make onnx again") from e
    found = [value.name for value in inputs(model)]
    if len(found) != 1:
        raise cli.Failure(f"{path} has {len(found)} inputs ({cli.some(found)})",
                          "the CPU stand-ins feed one: images")
    return model


def inputs(model):
    """The onnx.ValueInfoProto of each input that is no weight."""
    weights = {w.name for w in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in weights]


def dims_of(value):
    """The dimensions of an onnx.ValueInfoProto: numbers, None where one is open."""
    return [d.dim_value if d.dim_value > 0 else None for d in value.type.tensor_type.shape.dim]


def is_open(model):
    """Whether the batch may be any number."""
    return dims_of(inputs(model)[0])[:1] == [None]


def fix_batch(model, batch, path):
    """Write `batch` as the first dimension of the input and every output.

    A fixed shape lets the engines plan their memory and choose kernels once (SPACH in OpenVINO:
    1.22-1.36 times as fast). Failure when the graph's batch is fixed at another number, or when a
    further dimension is open.
    """
    images, = inputs(model)
    dims = dims_of(images)
    if not dims or None in dims[1:] or dims[0] not in (None, batch):
        raise cli.Failure(f"{path} takes {dims}; the first dimension must be open or {batch}, the "
                          "others fixed", "export it with a dynamic batch alone")
    for value in (images, *model.graph.output):
        if dims_of(value)[:1] == [None]:
            value.type.tensor_type.shape.dim[0].dim_value = batch
    # Shapes noted for inner tensors still have the open batch; the engines infer them again.
    del model.graph.value_info[:]


def rename(nodes, old, new):
    """Call a tensor otherwise wherever `nodes` read or write it."""
    for node in nodes:
        for side in (node.input, node.output):
            side[:] = [new if name == old else name for name in side]


def take_bytes(model, aipp, path):
    """Make the input uint8 (N, H, W, 3), normalised inside as AIPP does it.

    `aipp` is what toolchain.read_aipp returns. Failure when it is for images of another size.
    """
    value, = inputs(model)
    name, dims = value.name, dims_of(value)
    if dims[1:] != [3, *aipp["size"]]:
        raise cli.Failure(f"{path} takes {dims}, the AIPP configuration makes images of "
                          f"{aipp['size']}", "write one for this model")
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
    value.CopyFrom(bytes_in)


def cast_outputs(model):
    """Make every float32 output float16 (atc's --output_type=FP16); the inside stays float32."""
    for value in model.graph.output:
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            rename(model.graph.node, value.name, f"{value.name}_float32")
            model.graph.node.append(helper.make_node(
                "Cast", [f"{value.name}_float32"], [value.name], name=f"{value.name}_Cast_FP16",
                to=TensorProto.FLOAT16))
            value.type.tensor_type.elem_type = TensorProto.FLOAT16
