"""The stand-ins' .om: a line that names it, a line of JSON, and the ONNX."""
import json
import re
from pathlib import Path

MAGIC = b"FAKE OM for tests\n"


def write(path, onnx, **about):
    """`about`: soc, inputs {name: dims}, gears ("1,4,8" or None), output_type or None, aipp (text of the file) or None.
    What amct_onnx's operators do is left out."""
    Path(path).write_bytes(MAGIC + json.dumps(about).encode() + b"\n" + without_quant(onnx))


def without_quant(path):
    """The bytes of an ONNX, AscendQuant and AscendDequant replaced by Identity."""
    data = Path(path).read_bytes()
    if not re.search(b"Ascend(De)?[qQ]uant", data):
        return data
    import onnx

    model = onnx.load_model_from_string(data)
    for node in model.graph.node:
        if node.op_type.startswith("Ascend"):
            node.op_type = "Identity"
            del node.attribute[:]
    return model.SerializeToString()


def read(path):
    """Return (about, bytes of the ONNX), or ({}, b"") when it is no such file."""
    data = Path(path).read_bytes()
    about, _, onnx = data[len(MAGIC):].partition(b"\n")
    return (json.loads(about), onnx) if data.startswith(MAGIC) else ({}, b"")
