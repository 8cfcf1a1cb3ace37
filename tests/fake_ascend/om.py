"""The stand-ins' .om: a line that names it, a line of JSON, and the ONNX."""
import json
from pathlib import Path

MAGIC = b"FAKE OM for tests\n"


def write(path, onnx, **about):
    """`about`: soc, inputs {name: dims}, output_type or None, aipp (text of the file) or None."""
    Path(path).write_bytes(MAGIC + json.dumps(about).encode() + b"\n" + Path(onnx).read_bytes())


def read(path):
    """Return (about, bytes of the ONNX), or (None, None) when it is no such file."""
    data = Path(path).read_bytes()
    if not data.startswith(MAGIC):
        return None, None
    about, _, onnx = data[len(MAGIC):].partition(b"\n")
    return json.loads(about), onnx


def aipp(text):
    """Return the settings of an AIPP file as {name: text}."""
    lines = (line.split("#")[0] for line in text.splitlines())
    return dict((part.strip() for part in line.split(":", 1)) for line in lines if ":" in line)
