"""Which engine, which file, which processor: settled before an engine is imported."""
import os
import platform
from pathlib import Path

from common import cli

ENDINGS = {"openvino": ".blob", "onnxruntime": ".ort"}
PRECISIONS = ("f32", "bf16", "int8")
# Instruction sets that compiled code is bound to.
INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")


def from_environment():
    """The engine that HOST_ENGINE names, None when it is unset; Usage when there is no such."""
    return _choice("HOST_ENGINE", ENDINGS, "engine")


def precision():
    """What HOST_PRECISION names, f32 when it is unset; Usage when there is no such precision."""
    return _choice("HOST_PRECISION", PRECISIONS, "precision") or "f32"


def _choice(variable, names, what):
    name = os.environ.get(variable) or None
    if name and name not in names:
        raise cli.Usage(f"{variable}={name} is no {what}", f"use one of: {', '.join(names)}")
    return name


def find(path):
    """The file that `--model path` means: itself, or x.blob / x.ort when x.om is asked for."""
    path, wanted = Path(path), from_environment()
    if path.suffix in ENDINGS.values():
        return path
    if path.suffix != ".om":
        raise cli.Usage(f"--model {path} is no offline model",
                        f"give a {', '.join(ENDINGS.values())} or .om name")
    if path.exists():
        raise cli.Failure(f"{path} is for an NPU",
                          "run it on an Ascend host, or compile the ONNX with this atc")
    candidates = {e: path.with_suffix(ending) for e, ending in ENDINGS.items()}
    found = {e: file for e, file in candidates.items() if file.exists()}
    names = " and ".join(map(str, found.values()))
    if wanted in found:
        return found[wanted]
    if wanted and found:
        raise cli.Failure(f"HOST_ENGINE={wanted}, but of {path} there is {names} only",
                          "run atc, or unset HOST_ENGINE")
    if len(found) > 1:
        raise cli.Failure(f"{path} could mean {names}",
                          f"name one, or set HOST_ENGINE to {' or '.join(found)}")
    if not found:
        raise cli.Failure(f"none of {path} and its {' and '.join(ENDINGS.values())} exists",
                          "run `make om` (or atc)")
    return next(iter(found.values()))


def cpu():
    """(name, kind): the processor's name, and the instruction sets that code is bound to."""
    info = Path("/proc/cpuinfo")
    fields = {}
    for line in info.read_text().splitlines() if info.exists() else []:
        key, _, value = line.partition(":")
        fields[key.strip()] = value.strip()
    flags = fields.get("flags", "").split()
    kind = [platform.machine(), *(f for f in INSTRUCTIONS if f in flags)]
    name = fields.get("model name") or platform.processor() or platform.machine()
    return name, " ".join(kind)
