"""ONNX Runtime as the embedded engine, on the CPU, an NVIDIA GPU, or an NPU by onnxruntime-cann."""
import collections
import json
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
from onnxruntime import GraphOptimizationLevel as Level
from onnxruntime.capi import onnxruntime_pybind11_state

from common import cli
from common.cpu.host import choice

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
             "tensorrt": ("TensorrtExecutionProvider", {"trt_fp16_enable": "0"}),
             "cann": ("CANNExecutionProvider", {"precision_mode": "force_fp32"})}
DEVICES = {"cpu": "CPU", "cann": "NPU"}  # the others are GPUs
HALF = {"precision_mode": "force_fp16"}  # of an NPU; it is what the provider does by default
INSTALL = {"cann": "load CANN (source its set_env.sh), pip uninstall onnxruntime, pip install "
                   "onnxruntime-cann (Python 3.11 or later)"}


def provider():
    """What HOST_PROVIDER names; Usage for another name, Failure where this host lacks it."""
    name = choice("HOST_PROVIDER", PROVIDERS) or "cpu"
    if PROVIDERS[name][0] not in onnxruntime.get_available_providers():
        raise cli.Failure(f"PROVIDER={name}: this ONNX Runtime has no {PROVIDERS[name][0]}",
                          INSTALL.get(name, "pip uninstall onnxruntime, pip install "
                                      "onnxruntime-gpu"))
    return name


def device():
    """Where it computes: CPU, GPU or NPU."""
    return DEVICES.get(provider(), "GPU")


def session(source, level, on="cpu", save=None, threads=None, half=False, profile=None):
    """Return an InferenceSession, in float32, or with `half` in an NPU's float16; as many threads
    as cores unless `threads` says. `profile` starts the name of the file of its clocks."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # its errors come as exceptions
    options.graph_optimization_level = level
    options.intra_op_num_threads = threads or 0
    if save:
        options.optimized_model_filepath = save
        options.add_session_config_entry("session.save_model_format", "ORT")
    if profile:
        options.enable_profiling, options.profile_file_prefix = True, profile
    name, how = PROVIDERS[on]
    ready = onnxruntime.InferenceSession(source, options,
                                         providers=[(name, {**how, **HALF} if half else how)])
    if ready.get_providers()[0] != name:  # when a device's libraries do not load
        check = "CANN's set_env.sh (npu-smi info)" if on == "cann" else "CUDA, cuDNN (nvidia-smi)"
        raise cli.Failure(f"PROVIDER={on}: ONNX Runtime fell back to {ready.get_providers()[0]}",
                          f"check the driver and {check}")
    return ready


def left_on_cpu(onnx_bytes, on, half):
    """Which nodes of a graph a device leaves to the CPU, as text. ONNX Runtime itself does not
    say: they are counted in the profile of one run."""
    with tempfile.TemporaryDirectory() as folder:
        ready = session(onnx_bytes, Level.ORT_ENABLE_ALL, on, half=half, profile=f"{folder}/run")
        given = ready.get_inputs()
        ready.run(None, {t.name: np.zeros(t.shape, dtype_of(t)) for t in given})
        ran = [event["args"] for _, event in kernels(ready)]
    left = collections.Counter(each["op_name"] for each in ran
                               if each["provider"] == PROVIDERS["cpu"][0])
    kinds = ", ".join(f"{count} {name}" for name, count in left.most_common())
    return f"{sum(left.values())} of {len(ran)} nodes run on the CPU{kinds and f': {kinds}'}"


def kernels(ready):
    """[(node, event)] of each time that a session with a `profile` computed a node: "dur" is in
    microseconds, "args" has op_name, node_index and provider. It ends the profile."""
    end = "_kernel_time"
    return [(event["name"][:-len(end)], event)
            for event in json.loads(Path(ready.end_profiling()).read_text())
            if event["cat"] == "Node" and event["name"].endswith(end)]


def dtype_of(tensor):
    """The numpy.dtype of an input or output of a session: tensor(float), tensor(uint8)."""
    return np.dtype({"tensor(float)": "float32"}.get(tensor.type, tensor.type[7:-1]))


def compile_model(onnx_bytes, path, batch, precision="f32", samples=None):
    """Optimise a serialised ONNX of fixed shape for this CPU and save it to `path`.

    For a GPU or NPU the ONNX itself is saved: what its provider compiles cannot be stored. fp16 on
    a CPU is f32 with Casts in the graph (half.py), which nothing may optimise away.
    """
    on, half = provider(), precision == "fp16"
    if precision not in ("f32", "fp16"):
        raise cli.Failure(f"PRECISION={precision}: ONNX Runtime computes in f32 here",
                          "use ENGINE=openvino")
    if half and device() == "GPU":
        raise cli.Failure("PRECISION=fp16 is estimated on a CPU", "omit PROVIDER=")
    if on == "cpu":
        session(onnx_bytes, Level.ORT_DISABLE_ALL if half else Level.ORT_ENABLE_ALL, save=str(path))
    else:
        print(f"PROVIDER={on}: {left_on_cpu(onnx_bytes, on, half)}")
        path.write_bytes(onnx_bytes)


def load(data, precision="f32", threads=None):
    """Return (inputs, outputs, run) of a saved model; a tensor is (name, shape, dtype).

    For the CPU the optimisers ran at compile time and are off here: the same graph, hence the same
    bits, and a start that takes a third of the time.
    """
    on = provider()
    level = Level.ORT_DISABLE_ALL if on == "cpu" else Level.ORT_ENABLE_ALL
    half = on == "cann" and precision == "fp16"
    ready = session(data, level, on, threads=threads, half=half)
    names = [t.name for t in ready.get_inputs()]

    def run(arrays):
        return ready.run(None, dict(zip(names, arrays, strict=True)))

    def tensors(values):
        return [(t.name, tuple(t.shape), dtype_of(t)) for t in values]

    return tensors(ready.get_inputs()), tensors(ready.get_outputs()), run


def several(data, precision):
    """As many functions as load()'s run as there are cores: one session, which computes each call
    in the caller's own thread."""
    return [load(data, precision, 1)[2]] * cli.cores()
