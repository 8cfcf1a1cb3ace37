"""ONNX Runtime as the embedded engine: ONNX bytes → .ort → a function that runs it."""
import numpy as np
import onnxruntime
from onnxruntime import GraphOptimizationLevel as Level

TITLE = "ONNX Runtime"
DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64,
          "tensor(uint8)": np.uint8, "tensor(int8)": np.int8, "tensor(int32)": np.int32, "tensor(int64)": np.int64,
          "tensor(bool)": np.bool_}


def version():
    """Return the release, for example "1.31.1"."""
    return onnxruntime.__version__


def session(source, level, **config):
    """Return an InferenceSession on the CPU; its default is as many threads as there are cores, in float32."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # its errors come as exceptions; printed as well they only hide ours
    options.graph_optimization_level = level
    if "save" in config:
        options.optimized_model_filepath = config["save"]
        options.add_session_config_entry("session.save_model_format", "ORT")
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def compile_model(onnx_bytes, path):
    """Optimise a serialised ONNX of fixed shape for this CPU, with all that ONNX Runtime has, and save it to `path`."""
    session(onnx_bytes, Level.ORT_ENABLE_ALL, save=str(path))


def load(data):
    """Return (inputs, outputs, run, precision) of a saved model; a tensor is (name, shape, dtype).

    The optimisers have run at compile time, so they are off here: the same graph, hence the same bits, and a
    start that takes a third of the time.
    """
    ready = session(data, Level.ORT_DISABLE_ALL)
    names = [t.name for t in ready.get_inputs()]

    def run(arrays):
        return ready.run(None, dict(zip(names, arrays, strict=True)))

    def tensors(values):
        return [(t.name, tuple(t.shape), np.dtype(DTYPES[t.type])) for t in values]

    return tensors(ready.get_inputs()), tensors(ready.get_outputs()), run, "f32"
