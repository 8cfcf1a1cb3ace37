"""What an ONNX file says of itself: inputs, operators, metadata; read without the onnx package, which Ascend hosts lack.

    model = onnx_file.read("x.onnx")

Weights are passed over, so that a large file takes no longer than a small one. Field numbers are those of onnx.proto,
the encoding is protobuf's: a key (field number and kind), then a number or a length and that many bytes.
"""
import ast
import dataclasses
import mmap
from collections import defaultdict

from common import cli

DTYPES = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 9: "bool", 10: "float16", 11: "float64"}


@dataclasses.dataclass(frozen=True)
class Tensor:
    """An input or output; a dim is an int, or None where the file leaves it open; dims is None when it says nothing."""

    dims: tuple
    dtype: str


@dataclasses.dataclass(frozen=True)
class Node:
    """One operator; `attributes` holds integers, lists of integers, and a tensor's dims; `layer` is its torch module or ""."""

    op: str
    domain: str
    name: str
    layer: str
    inputs: tuple
    outputs: tuple
    attributes: dict


@dataclasses.dataclass(frozen=True)
class Model:
    """`opsets` is [(domain, version)]; `weights` {name: dims}; `ranks` {inner tensor: number of dimensions}, where said."""

    opsets: list
    metadata: dict
    inputs: dict
    outputs: dict
    nodes: list
    weights: dict
    ranks: dict


def _varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number in it is too long")


def _fields(data):
    """Return {field number: [values]} of a message; a value is an int, or the bytes as a view."""
    found, at = defaultdict(list), 0
    while at < len(data):
        key, at = _varint(data, at)
        if key & 7 == 0:
            value, at = _varint(data, at)
        else:
            size, at = _varint(data, at) if key & 7 == 2 else ({1: 8, 5: 4}[key & 7], at)
            value = data[at:at + size]
            at += size
            if at > len(data):
                raise ValueError("it is cut short")
        found[key >> 3].append(value)
    return found


def _text(values):
    return bytes(values[-1]).decode() if values else ""


def _signed(value):
    return value - (1 << 64) if value >> 63 else value


def _ints(values):
    """Return a repeated integer, which is written one by one or packed."""
    numbers = []
    for value in values:
        at = 0 if not isinstance(value, int) else None
        while at is not None and at < len(value):
            number, at = _varint(value, at)
            numbers.append(_signed(number))
        if at is None:
            numbers.append(_signed(value))
    return numbers


def _pairs(entries):
    entries = [_fields(entry) for entry in entries]
    return {_text(entry[1]): _text(entry[2]) for entry in entries}


def _tensor(value_info):
    """Return (name, Tensor) of a ValueInfoProto."""
    info = _fields(value_info)
    tensor = _fields(_fields(info[2][0])[1][0]) if info[2] else defaultdict(list)
    dims = None
    if tensor[2]:
        dims = tuple(_signed(d[1][0]) if d[1] and _signed(d[1][0]) > 0 else None
                     for d in map(_fields, _fields(tensor[2][0])[1]))
    return _text(info[1]), Tensor(dims, DTYPES.get(tensor[1][0] if tensor[1] else 0, "unknown"))


def _nodes(graph):
    """Yield the Nodes of a GraphProto, those of branches and loop bodies too."""
    for node in map(_fields, graph[1]):
        attributes = {}
        for attribute in map(_fields, node[5]):
            if attribute[8]:
                attributes[_text(attribute[1])] = _ints(attribute[8])
            elif attribute[3]:
                attributes[_text(attribute[1])] = _signed(attribute[3][-1])
            elif attribute[5]:
                attributes[_text(attribute[1])] = _ints(_fields(attribute[5][-1])[1])
            for inner in attribute[6] + attribute[11]:
                yield from _nodes(_fields(inner))
        inputs, outputs = (tuple(bytes(v).decode() for v in node[field]) for field in (1, 2))
        yield Node(_text(node[4]), _text(node[7]), _text(node[3]), _layer(_text(node[3]), _pairs(node[9])),
                   inputs, outputs, attributes)


def _layer(name, metadata):
    """Return the torch module of a node: the older exporter puts it in the name (/act/Gelu), the newer one beside it."""
    try:
        scopes = ast.literal_eval(metadata.get("pkg.torch.onnx.name_scopes", "[]"))
        return scopes[-2] if len(scopes) > 1 else name.rpartition("/")[0].strip("/")
    except (SyntaxError, ValueError, TypeError, MemoryError):
        return ""


def read(path):
    """Return the Model in the file `path`; Failure when it is absent or no ONNX."""
    try:
        with open(path, "rb") as f:
            model = _fields(memoryview(mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)))
        graph = _fields(model[7][0])
        weights = {_text(weight[8]): tuple(_ints(weight[1])) for weight in map(_fields, graph[5])}
        nodes = list(_nodes(graph))
        if not nodes:
            raise ValueError("it holds no operators")
        opsets = [(_text(opset[1]), _signed(opset[2][-1]) if opset[2] else 0) for opset in map(_fields, model[8])]
        return Model(opsets, _pairs(model[14]), {n: t for n, t in map(_tensor, graph[11]) if n not in weights},
                     dict(map(_tensor, graph[12])), nodes, weights,
                     {n: len(t.dims) for n, t in map(_tensor, graph[13]) if t.dims is not None})
    except FileNotFoundError:
        raise cli.Failure(f"{path} does not exist (E10041)", "run make onnx, or check --model") from None
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, RecursionError) as e:
        raise cli.Failure(f"{path} is not an ONNX model ({e})", "delete it and run make onnx again") from e
