"""What is asked for and what is here: engine, precision, file of a model, processor."""
import os
import platform
import re
from pathlib import Path

from common import cli
from common.speed import measure

ENDINGS = {"openvino": ".blob", "onnxruntime": ".ort"}
PRECISIONS = ("f32", "bf16", "fp16", "int8")
# Instruction sets that compiled code is bound to.
INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")


def choice(variable, names):
    """What an environment variable says, None when it is unset; Usage for none of `names`."""
    value = os.environ.get(variable) or None
    if value and value not in names:
        raise cli.Usage(f"{variable}={value} is no choice", f"use one of: {', '.join(names)}")
    return value


def smooth_quant():
    """Whether int8 is to be made with NNCF's SmoothQuant (HOST_SMOOTHQUANT=1)."""
    return choice("HOST_SMOOTHQUANT", ("0", "1")) == "1"


def remedy(name, precision):
    """What to try where an engine fails in a precision; only OpenVINO has bf16 and int8."""
    if precision == "fp16":
        return "`make half` names the layers that do not fit float16"
    if precision != "f32":
        return "try PRECISION=f32 (atc: HOST_PRECISION=f32)"
    second = next(engine for engine in ENDINGS if engine != name)
    return f"try ENGINE={second} (atc: HOST_ENGINE={second})"


def find(path):
    """The file that `--model path` means: itself, or x.blob / x.ort when x.om is asked for."""
    path, wanted = Path(path), choice("HOST_ENGINE", ENDINGS)
    if path.suffix in ENDINGS.values():
        return path
    if path.suffix != ".om":
        raise cli.Usage(f"--model {path} is no offline model", "give a .blob, .ort or .om name")
    if path.exists():
        raise cli.Failure(f"{path} is for an NPU", "run it on an Ascend host, or compile the ONNX")
    beside = [path.with_suffix(ENDINGS[e]) for e in ENDINGS if wanted in (None, e)]
    found = [file for file in beside if file.exists()]
    if len(found) != 1:
        names = ", ".join(map(str, found or [path, *beside]))
        wrong = f"{path} could be any of {names}" if found else f"none of {names} exists"
        raise cli.Failure(wrong, "run `make om` (or atc), or set HOST_ENGINE to the one you mean")
    return found[0]


def cpu():
    """(name, kind): the processor's name, and the instruction sets that code is bound to."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"^flags\s*:(.*)", info.read_text() if info.exists() else "", re.MULTILINE)
    flags = found[1].split() if found else []
    kind = [platform.machine(), *(f for f in INSTRUCTIONS if f in flags)]
    return measure.cpu_name(), " ".join(kind)
