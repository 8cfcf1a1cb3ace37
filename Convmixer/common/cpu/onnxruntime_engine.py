"""ONNX Runtime as the embedded engine, on the CPU or on an NVIDIA GPU."""
import numpy as np
import onnxruntime
from onnxruntime import GraphOptimizationLevel as Level
from onnxruntime.capi import onnxruntime_pybind11_state

from common import cli
from common.cpu.engine import choice

NAME, TITLE = "onnxruntime", "ONNX Runtime"
VERSION = onnxruntime.__version__
LIBRARY = onnxruntime_pybind11_state.__file__  # the file that changes when the release does
# Images of a batch that one core computes at a time. Each core then waits for the others once for
# each batch and not once for each layer, and what one layer hands to the next stays in its caches.
# spnasnet on two cores: 1.0-1.1 times as fast at batch 8, 1.2-1.3 at 16, 1.4 at 64; parts of 1 or 4
# gain less.
PART = 2
# TF32 would round the factors to 10 bits; what is called f32 here is f32.
PROVIDERS = {"cpu": ("CPUExecutionProvider", {}),
             "cuda": ("CUDAExecutionProvider", {"use_tf32": "0"}),
             "tensorrt": ("TensorrtExecutionProvider", {"trt_fp16_enable": "0"})}


def provider():
    """What HOST_PROVIDER names; Usage for another name, Failure where this host lacks it."""
    name = choice("HOST_PROVIDER", PROVIDERS) or "cpu"
    if PROVIDERS[name][0] not in onnxruntime.get_available_providers():
        raise cli.Failure(f"PROVIDER={name}: this ONNX Runtime has no {PROVIDERS[name][0]}",
                          "pip uninstall onnxruntime, pip install onnxruntime-gpu")
    return name


def device():
    """Where it computes, CPU or GPU."""
    return "CPU" if provider() == "cpu" else "GPU"


def session(source, level, on="cpu", save=None, threads=None):
    """Return an InferenceSession, in float32; as many threads as cores unless `threads` says."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # its errors come as exceptions
    options.graph_optimization_level = level
    options.intra_op_num_threads = threads or 0
    if save:
        options.optimized_model_filepath = save
        options.add_session_config_entry("session.save_model_format", "ORT")
    ready = onnxruntime.InferenceSession(source, options, providers=[PROVIDERS[on]])
    if ready.get_providers()[0] != PROVIDERS[on][0]:  # when a GPU's libraries do not load
        raise cli.Failure(f"PROVIDER={on}: ONNX Runtime fell back to {ready.get_providers()[0]}",
                          "check the driver, CUDA and cuDNN (nvidia-smi)")
    return ready


def compile_model(onnx_bytes, path, batch, precision="f32", samples=None):
    """Optimise a serialised ONNX of fixed shape for this CPU and save it to `path`.

    For a GPU the ONNX itself is saved: what its provider compiles cannot be stored. fp16 is f32
    with Casts in the graph (half.py), which nothing may optimise away.
    """
    if precision not in ("f32", "fp16"):
        raise cli.Failure(f"PRECISION={precision}: ONNX Runtime computes in f32 here",
                          "use ENGINE=openvino")
    if precision == "fp16" and provider() != "cpu":
        raise cli.Failure("PRECISION=fp16 is estimated on a CPU", "omit PROVIDER=")
    if provider() == "cpu":
        level = Level.ORT_DISABLE_ALL if precision == "fp16" else Level.ORT_ENABLE_ALL
        session(onnx_bytes, level, save=str(path))
    else:
        path.write_bytes(onnx_bytes)


def load(data, precision="f32", threads=None):
    """Return (inputs, outputs, run) of a saved model; a tensor is (name, shape, dtype).

    For the CPU the optimisers ran at compile time and are off here: the same graph, hence the same
    bits, and a start that takes a third of the time.
    """
    on = provider()
    level = Level.ORT_DISABLE_ALL if on == "cpu" else Level.ORT_ENABLE_ALL
    ready = session(data, level, on, threads=threads)
    names = [t.name for t in ready.get_inputs()]
    dtypes = {"tensor(float)": "float32"}  # the others are called as numpy's, tensor(uint8)

    def run(arrays):
        return ready.run(None, dict(zip(names, arrays, strict=True)))

    def tensors(values):
        return [(t.name, tuple(t.shape), np.dtype(dtypes.get(t.type, t.type[7:-1])))
                for t in values]

    return tensors(ready.get_inputs()), tensors(ready.get_outputs()), run


def several(data, precision):
    """As many functions as load()'s run as there are cores: one session, which computes each call
    in the caller's own thread."""
    return [load(data, precision, 1)[2]] * cli.cores()
