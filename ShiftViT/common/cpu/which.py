"""Which engine, which file, which processor: what has to be settled before an engine is imported."""
import os
import platform
from pathlib import Path

from common import cli

ENDINGS = {"openvino": ".blob", "onnxruntime": ".ort"}
PRECISIONS = ("f32", "bf16", "int8")


def from_environment():
    """Return the engine that HOST_ENGINE names, None when it is unset or empty; Usage when there is no such engine."""
    name = os.environ.get("HOST_ENGINE") or None
    if name and name not in ENDINGS:
        raise cli.Usage(f"HOST_ENGINE={name} is no engine", f"use one of: {', '.join(ENDINGS)}")
    return name


def precision():
    """Return what HOST_PRECISION names, f32 when it is unset or empty; Usage when there is no such precision."""
    name = os.environ.get("HOST_PRECISION") or "f32"
    if name not in PRECISIONS:
        raise cli.Usage(f"HOST_PRECISION={name} is no precision", f"use one of: {', '.join(PRECISIONS)}")
    return name


def find(path):
    """Return the artefact that `--model path` means here: the file itself, or x.blob / x.ort when x.om is asked for."""
    path, wanted = Path(path), from_environment()
    if path.suffix in ENDINGS.values():
        return path
    if path.suffix != ".om":
        raise cli.Usage(f"--model {path} is no offline model", f"give a {', '.join(ENDINGS.values())} or .om name")
    if path.exists():
        raise cli.Failure(f"{path} is for an NPU", "run it on an Ascend host, or compile the ONNX with this atc")
    found = {e: path.with_suffix(end) for e, end in ENDINGS.items() if path.with_suffix(end).exists()}
    names = " and ".join(str(p) for p in found.values())
    if wanted in found:
        return found[wanted]
    if wanted and found:
        raise cli.Failure(f"HOST_ENGINE={wanted}, but of {path} there is {names} only", "run atc, or unset HOST_ENGINE")
    if len(found) > 1:
        raise cli.Failure(f"{path} could mean {names}", f"name one, or set HOST_ENGINE to {' or '.join(found)}")
    if not found:
        raise cli.Failure(f"none of {path} and its {' and '.join(ENDINGS.values())} exists", "run `make om` (or atc)")
    return next(iter(found.values()))


def cpu():
    """Return (name, kind): the processor's name, and the instruction sets that compiled code is bound to."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    field = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    flags = field.get("flags", "").split()
    kind = [platform.machine(), *(f for f in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f in flags)]
    return field.get("model name") or platform.processor() or platform.machine(), " ".join(kind)
