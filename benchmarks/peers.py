"""The peers of the offline model, each with the settings that its own documentation gives for
speed on a CPU: torch eager, also with channels last; torch.compile; ONNX Runtime, also on the graph
that onnxslim leaves; OpenVINO with an open batch, and with the batch fixed, as its latency hint has
it.
"""
import copy
import importlib.util
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TORCH = ("torch", "channels last", "compiled")
ENGINES = ("ort", "ort slim", "ov", "ov static")
PLAIN, SLICES, OURS = "torch's plain export", "torch's, with the authors' slices", "ours"
F32 = {"INFERENCE_PRECISION_HINT": "f32"}  # else it is bf16, where the CPU has that
LATENCY = {**F32, "PERFORMANCE_HINT": "LATENCY"}
THROUGHPUT = {**F32, "PERFORMANCE_HINT": "THROUGHPUT"}


def network(folder):
    """The torch module of a model folder with the demo's weights, and its model.py."""
    import torch

    from common.model import checkpoint

    spec = importlib.util.spec_from_file_location("model", ROOT / folder / "model.py")
    model = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(model)
    weights, = (ROOT / folder / "build/demo").glob("*_demo.pth")
    net, _ = checkpoint.network(model, weights)
    torch.set_grad_enabled(False)
    return net, model


def assign_to_slices(block, x):
    """ShiftViT's shift in the authors' form, which exports as ScatterND; float32 (N, C, H, W) →
    the same shape."""
    import torch

    g, out = block.group, torch.zeros_like(x)
    out[:, :g, :, :-1] = x[:, :g, :, 1:]
    out[:, g:2 * g, :, 1:] = x[:, g:2 * g, :, :-1]
    out[:, 2 * g:3 * g, :-1] = x[:, 2 * g:3 * g, 1:]
    out[:, 3 * g:4 * g, 1:] = x[:, 3 * g:4 * g, :-1]
    out[:, 4 * g:] = x[:, 4 * g:]
    return out


def plain_export(net, model, path):
    """Export with an open batch as torch's documentation shows it: nothing is simplified."""
    import torch

    axes = {model.INPUT: {0: "batch"}, model.OUTPUT: {0: "batch"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, torch.zeros(2, 3, 224, 224), str(path), opset_version=model.OPSET,
                          dynamo=False, input_names=[model.INPUT], output_names=[model.OUTPUT],
                          dynamic_axes=axes)


def onnx_for(folder, export, net, model, temp):
    """The ONNX file that the peers get."""
    for module in net.modules():
        if export == SLICES and hasattr(module, "shift"):
            module.shift = assign_to_slices.__get__(module)
    if export == OURS:
        name = {"ShiftViT": "shiftvit2"}.get(folder, model.STEM)
        return ROOT / folder / f"build/demo/{name}.onnx"
    plain_export(net, model, temp / "peer.onnx")
    return temp / "peer.onnx"


def torch_sides(net, x, peers):
    """{peer: function} of torch itself."""
    import torch

    for module in net.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = True  # what timm gives its users; it is off for the export alone
    tensor, found = torch.from_numpy(x), {}
    if "torch" in peers:
        found["torch"] = lambda: net(tensor).numpy()
    if "compiled" in peers:
        compiled = torch.compile(net)
        found["compiled"] = lambda: compiled(tensor).numpy()
    if "channels last" in peers:
        last = copy.deepcopy(net).to(memory_format=torch.channels_last)
        tensor_last = tensor.to(memory_format=torch.channels_last)
        found["channels last"] = lambda: last(tensor_last).numpy()
    return found


def slimmed(file):
    """The path of what onnxslim makes of an ONNX file, beside it."""
    import onnx
    import onnxslim

    path = file.with_name("slim.onnx")
    onnx.save(onnxslim.slim(onnx.load(file)), path)
    return path


def ort_side(file):
    """A function of ONNX Runtime as it comes."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x})[0]


def ov_compiled(file, hints, shape=None):
    """An ONNX file compiled by OpenVINO with `hints`, its batch fixed where a `shape` is given."""
    import openvino

    core = openvino.Core()
    graph = core.read_model(str(file))
    if shape:
        graph.reshape(shape)
    return core.compile_model(graph, "CPU", hints)


def ov_side(compiled):
    """A function of a request of OpenVINO."""
    request = compiled.create_infer_request()
    return lambda x: request.infer([x])[0]


def engine_sides(file, x, peers):
    """{peer: function} of the two engines on the ONNX `file`."""
    make = {"ort": lambda: ort_side(file),
            "ort slim": lambda: ort_side(slimmed(file)),
            "ov": lambda: ov_side(ov_compiled(file, F32)),
            "ov static": lambda: ov_side(ov_compiled(file, LATENCY, x.shape))}
    found = {peer: make[peer]() for peer in make if peer in peers}
    return {peer: lambda side=side: side(x) for peer, side in found.items()}
