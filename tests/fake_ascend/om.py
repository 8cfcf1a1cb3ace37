"""The stand-ins' .om: a line that names it, a line of JSON, and the ONNX."""
import json
from pathlib import Path

MAGIC = b"FAKE OM for tests\n"


def write(path, onnx, **about):
    """`about`: soc, inputs {name: dims}, gears ("1,4,8" or None), output_type or None, aipp (text of the file) or None."""
    Path(path).write_bytes(MAGIC + json.dumps(about).encode() + b"\n" + Path(onnx).read_bytes())


def read(path):
    """Return (about, bytes of the ONNX), or ({}, b"") when it is no such file."""
    data = Path(path).read_bytes()
    about, _, onnx = data[len(MAGIC):].partition(b"\n")
    return (json.loads(about), onnx) if data.startswith(MAGIC) else ({}, b"")
