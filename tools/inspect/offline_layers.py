"""Layer by layer on a CPU: the offline model compiled once more, with its layers as outputs.

What is compiled is what common/cpu/compiler.py compiles: the same rewrites of the graph, precision,
engine and calibration images, for one image at a time. An output keeps an engine from fusing what
is on either side of it, and bytes are normalised before the graph and not in it.
"""
import tempfile
from pathlib import Path

from common import cli
from common.cpu import compiler, engine, graph
from common.model import facts
from tools.inspect import layers as by_module


def compare(onnx_file, meta, images, layers, by_torch):
    """Compare the offline model whose record is `meta` with torch on float32 images (N, 3, H, W).

    `layers` and `by_torch` are what layers.compare() gave. Returns ([Layer] of those that the
    engine's graph still has, that graph as an onnx.ModelProto, the outputs of each image).
    """
    if (meta["precision"], meta.get("device")) == ("fp16", "CPU"):
        raise cli.Failure("its float16 is an estimate, rounded operator by operator",
                          "make half names the layers that it costs most")
    model = graph.read(onnx_file)
    about = facts.read(model)
    compiler.rewrite(model, onnx_file, "FP32", None, estimate=False)
    samples = None
    if meta["precision"] == "int8":
        folder = meta["calibration"]["folder"]
        samples, _ = compiler.calibrate(onnx_file, model, about, folder)
    made = {tensor for node in model.graph.node for tensor in node.output}
    found = [by_module.Layer(x.module, x.tensor) for x in layers if x.tensor in made]
    run = prepared(model, meta, [x.tensor for x in found], onnx_file, samples)
    outputs = []
    for image, values in zip(images, by_torch, strict=True):
        computed = run(image[None])
        for layer in found:
            value = values[layer.tensor]
            # Where channels are last, height and width may have become one dimension.
            layer.add(computed[layer.tensor].reshape(value.shape), value)
        outputs.append(computed[model.graph.output[0].name])
    return found, model, outputs


def prepared(model, meta, wanted, onnx_file, samples):
    """A function of an image (1, 3, H, W) that gives {tensor: its content} for the outputs of the
    onnx.ModelProto `model` and the tensors `wanted`, by the engine and in the precision of `meta`.
    """
    backend, precision = engine.backend_of(meta["engine"]), meta["precision"]
    names = list(dict.fromkeys([*(o.name for o in model.graph.output), *wanted]))
    said = f"{backend.TITLE} cannot compile {onnx_file} with its layers as outputs"
    with engine.explained(said, "compare without LAYERS=1"):
        if precision == "int8":
            smooth_quant = meta["calibration"].get("smooth_quant")
            return quantised(backend, model.SerializeToString(), names, samples, smooth_quant)
        graph.fix_batch(model, 1, onnx_file)
        content = by_module.giving(model, wanted).SerializeToString()
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "layers"
            backend.compile_model(content, file, 1, precision, None)
            _, _, run = backend.load(file.read_bytes(), precision)
    return lambda image: dict(zip(names, run([image]), strict=True))


def quantised(backend, content, names, samples, smooth_quant):
    """As prepared(), in int8. The outputs are added after quantising, which looks at what reads a
    tensor."""
    import openvino

    core = openvino.Core()
    model = backend.quantize(core.read_model(content), samples, smooth_quant)
    model.reshape([1, *samples[0].shape[1:]])
    there = {name for output in model.outputs for name in output.names}
    model.add_outputs([name for name in names if name not in there])
    request = core.compile_model(model, "CPU", backend.config("int8")).create_infer_request()

    def run(image):
        request.infer([image])
        return {name: request.get_tensor(name).data for name in names}

    return run
