"""OpenVINO as the embedded engine, in f32, bf16 or int8."""
import logging
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import openvino
from openvino import _pyopenvino

from common import cli
from common.cpu.host import cpu, remedy, smooth_quant

NAME, TITLE = "openvino", "OpenVINO"
VERSION = openvino.__version__.split("-")[0]
LIBRARY = _pyopenvino.__file__  # the file that changes when the release does
# Batches are not computed in parts (see onnxruntime_engine): it gained 1.03-1.05.
PART = None


def config(precision, threads=None):
    """Properties for compiling and importing alike; what int8 leaves unquantised is f32.

    Without the hint a CPU that has bfloat16 computes in bfloat16 and says nothing (errors of 1-4 %
    of the logits' spread). The blob does not remember it: it is given at import too.
    """
    hint = {"INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32"}
    if threads:  # others compute beside it: pinned, all would share the first cores
        hint.update(INFERENCE_NUM_THREADS=threads, ENABLE_CPU_PINNING=False)
    return hint


def device():
    """Where it computes."""
    return "CPU"


def compile_model(onnx_bytes, path, batch, precision="f32", samples=None):
    """Compile a serialised ONNX for this CPU and `batch` images in a run; export it to `path`.

    int8 takes an ONNX whose batch is open, and `samples`: a list of inputs to calibrate with.
    Failure for fp16, and for bf16 when this CPU has none: it would be emulated.
    """
    if precision == "fp16":
        raise cli.Failure("PRECISION=fp16 is estimated with ONNX Runtime", "use ENGINE=onnxruntime")
    core = openvino.Core()
    if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise cli.Failure(f"PRECISION=bf16: this CPU has no bfloat16 ({cpu()[1]})",
                          "use PRECISION=f32 or int8")
    model = core.read_model(onnx_bytes)
    if precision == "int8":
        model = quantize(model, samples, smooth_quant())
        model.reshape([batch, *model.input().partial_shape[1:]])
    if precision == "f32" and "avx512f" in cpu()[1].split():
        model = prefer_jit_depthwise(core, model)
    compiled = core.compile_model(model, "CPU", config(precision))
    del model  # its weights, as large as the file, are not needed twice
    path.write_bytes(compiled.export_model().getbuffer())


def quantize(model, samples, smooth):
    """Return the openvino.Model in int8 by NNCF's post-training quantisation with `samples`; with
    its SmoothQuant where that is asked for."""
    # torch, which comes with nncf, warns of a GPU that is not there.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    import nncf

    # NNCF's way with transformers leaves norms and residual sums in f32: on all five models as fast
    # or faster, with errors of a half to a seventh. SmoothQuant, which comes with it, makes those
    # of Twins and SPACH 6-15 times as large, and is off unless OpenVINO crashes without it.
    alphas = nncf.AdvancedSmoothQuantParameters(**{} if smooth else {"matmul": -1})
    return nncf.quantize(
        model, nncf.Dataset(samples), subset_size=len(samples),
        model_type=nncf.ModelType.TRANSFORMER,
        advanced_parameters=nncf.AdvancedQuantizationParameters(smooth_quant_alphas=alphas))


def prefer_jit_depthwise(core, model):
    """Have depthwise convolutions of more than 5x5 computed by oneDNN's older kernel.

    ConvMixer's 9x9 ones run at an eighth of the CPU's speed in the kernel that OpenVINO chooses;
    the whole network is 1.08-1.18 times as fast this way in f32. Models without such come back as
    they are. The attribute can only be given in the IR's text (the Python binding writes it as a
    string, which the plugin refuses).
    """
    large = {op.get_friendly_name() for op in model.get_ops()
             if op.get_type_name() == "GroupConvolution" and op.input_value(1).get_shape()[-1] > 5}
    if not large:
        return model
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.xml")
        openvino.save_model(model, file, compress_to_fp16=False)
        tree = ElementTree.parse(file)
        for layer in tree.iter("layer"):
            if layer.get("type") == "GroupConvolution" and layer.get("name") in large:
                info = layer.find("rt_info")
                if info is None:
                    info = ElementTree.Element("rt_info")
                    layer.insert(1, info)  # after <data>
                ElementTree.SubElement(info, "attribute", name="primitives_priority", version="0",
                                       value="cpu:jit_avx512_dw")
        tree.write(file)
        return core.read_model(file)


def load(data, precision="f32", threads=None):
    """Return (inputs, outputs, run) of an exported blob; a tensor is (name, shape, dtype).

    Failure when OpenVINO would compute in another precision than asked for; raises what OpenVINO
    raises when the blob is of another release or another kind of CPU.
    """
    compiled = openvino.Core().import_model(data, "CPU", config(precision, threads))
    used = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    if used != config(precision)["INFERENCE_PRECISION_HINT"]:
        raise cli.Failure(f"OpenVINO computes in {used} although {precision} was asked for",
                          remedy(NAME, precision))
    run = request_of(compiled)

    def tensors(ports):
        return [(p.any_name, tuple(p.shape), p.element_type.to_dtype()) for p in ports]

    return tensors(compiled.inputs), tensors(compiled.outputs), run


def request_of(compiled):
    """A function that computes lists of arrays with a request of its own."""
    request = compiled.create_infer_request()

    def run(arrays):
        results = request.infer(arrays, share_inputs=True)
        return [results[i] for i in range(len(compiled.outputs))]

    return run


def several(data, precision):
    """As many functions as load()'s run as OpenVINO's throughput hint has requests; they share the
    weights and compute in streams, each with some of the cores."""
    hint = {**config(precision), "PERFORMANCE_HINT": "THROUGHPUT"}
    compiled = openvino.Core().import_model(data, "CPU", hint)
    count = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
    return [request_of(compiled) for _ in range(count)]
