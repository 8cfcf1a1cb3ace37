"""OpenVINO as the embedded engine: ONNX bytes → .blob → a function that runs it."""
import openvino

from common import cli

TITLE = "OpenVINO"
# Without this hint a CPU that has bfloat16 computes in bfloat16 and says nothing (errors of 1-4 % of the logits'
# spread). The blob does not remember it: it has to be given at import too.
CONFIG = {"INFERENCE_PRECISION_HINT": "f32"}


def version():
    """Return the release, for example "2026.4.1"."""
    return openvino.__version__.split("-")[0]


def compile_model(onnx_bytes, path):
    """Compile a serialised ONNX of fixed shape for this CPU and export the result to `path`."""
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(onnx_bytes), "CPU", CONFIG)
    path.write_bytes(compiled.export_model().getvalue())


def load(data):
    """Return (inputs, outputs, run, precision) of an exported blob; a tensor is (name, shape, dtype).

    Raises what OpenVINO raises when the blob is of another release or another kind of CPU.
    """
    compiled = openvino.Core().import_model(data, "CPU", CONFIG)
    precision = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    if precision != "f32":
        raise cli.Failure(f"OpenVINO computes in {precision} although f32 was asked for", "use HOST_ENGINE=onnxruntime")
    request = compiled.create_infer_request()

    def run(arrays):
        results = request.infer(arrays, share_inputs=True)
        return [results[i] for i in range(len(compiled.outputs))]

    def tensors(ports):
        return [(p.any_name, tuple(p.shape), p.element_type.to_dtype()) for p in ports]

    return tensors(compiled.inputs), tensors(compiled.outputs), run, precision
