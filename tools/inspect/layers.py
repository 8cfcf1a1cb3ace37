"""Layer by layer: what each module of the torch network computes, beside its tensor in the ONNX.

The exporter writes a module's place into the names of its tensors
(/blocks/blocks.0/mlp/fc1/Conv_output_0), and simplification keeps those. So a module's output
is the tensor of its scope that something outside the scope reads, of the same shape.
"""
import dataclasses

import numpy as np
import onnx
import torch

from common import cli
from common.model.export import TOLERANCE

JUMP = 10  # times the largest error before; float32 noise grows by less from layer to layer
LAYERS = (torch.nn.Conv2d, torch.nn.Linear)  # that an export may fold a BatchNorm into
NORMS = torch.nn.modules.batchnorm._BatchNorm


@dataclasses.dataclass
class Layer:
    """A module (with what the export folded into it, as "conv + bn"), its tensor in the ONNX,
    the largest absolute error, and that error relative to the module's largest value."""

    module: str
    tensor: str
    error: float = 0.0
    relative: float = 0.0


def place(name):
    """The module in a tensor's name: "/blocks/blocks.0/blocks.0.1/fc/Conv_output_0" →
    "blocks.0.1.fc"; "" when there is none."""
    parts = name.split("/")[1:-1]
    # A Sequential and its child are written as "blocks/blocks.0"; the child's part says both.
    after = [*parts[1:], ""]
    return ".".join(p for p, child in zip(parts, after) if not child.startswith(f"{p}."))


def places(graph):
    """[(tensor, module, node)] of a graph's nodes, in their order. The graph's output has the
    user's name; its node tells the module."""
    results = {o.name for o in graph.output}
    return [(tensor, place(node.name if tensor in results else tensor), node)
            for node in graph.node for tensor in node.output]


def inside(module, where):
    """Whether the module `where` is `module` or in it; everything is in ""."""
    return module == "" or where == module or where.startswith(f"{module}.")


def candidates(graph, modules):
    """{module: [tensors that leave its scope, in the graph's order]}."""
    where, readers = {}, {}
    for tensor, module, node in places(graph):
        where[tensor] = module
        for name in node.input:
            readers.setdefault(name, set()).add(module)
    results = {o.name for o in graph.output}

    def leaves(tensor, module):
        read_outside = any(not inside(module, r) for r in readers.get(tensor, ()))
        return inside(module, where[tensor]) and (tensor in results or read_outside)

    return {module: [t for t in where if leaves(t, module)] for module in modules}


def watch(net, images):
    """Run `net` on float32 `images` (N, 3, H, W). Returns {module: its output as an array} in
    the order of computation, without modules that run several times; and {BatchNorm: the
    convolution or linear layer whose output it gets}."""
    got, twice, latest, fed = {}, set(), {}, {}
    modules = dict(net.named_modules())

    def keep(name, module, inputs, output):
        if not isinstance(output, torch.Tensor):
            return
        if name in got:
            twice.add(name)
        before = latest.get(inputs[0].data_ptr())
        if isinstance(module, NORMS) and isinstance(modules.get(before), LAYERS):
            fed[name] = before
        latest[output.data_ptr()] = name
        got[name] = output.numpy().copy()  # what follows may work in place

    def hook(name):
        return lambda module, inputs, output: keep(name, module, inputs, output)

    hooks = [module.register_forward_hook(hook(name)) for name, module in modules.items()]
    with torch.no_grad():
        net(torch.from_numpy(images))
    for handle in hooks:
        handle.remove()
    return {name: value for name, value in got.items() if name not in twice}, fed


def tensors_of(graph, values, fed):
    """({module: tensors that may be its output}, {layer: BatchNorm folded into it}) for what
    watch() gave."""
    kept = {m for _, m, node in places(graph) if node.op_type == "BatchNormalization"}
    merged = {layer: norm for norm, layer in fed.items() if norm not in kept}
    tensors = candidates(graph, values)
    for layer, norm in merged.items():
        # The layer's tensor holds what the norm computes; with an activation inside the norm,
        # the output of neither.
        alone = tensors.pop(layer, [])
        tensors[norm] = tensors.get(norm) or alone
    return tensors, merged


def session_with(model, wanted):
    """An ONNX Runtime session on the onnx.ModelProto `model` that also gives the tensors
    `wanted`. Nothing is optimised: no fusion may move a tensor."""
    import onnxruntime

    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    there = {o.name for o in model.graph.output}
    watched.graph.output.extend(onnx.ValueInfoProto(name=t) for t in wanted if t not in there)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(watched.SerializeToString(), options,
                                        providers=["CPUExecutionProvider"])


def measure(layers, values, computed, tensors, merged):
    """Update `layers` {module: Layer} with the errors of one image: `values` are torch's,
    `computed` the ONNX's."""
    taken = set()
    for module, value in values.items():
        match = [t for t in tensors.get(module, ())
                 if (computed[t].shape, computed[t].dtype) == (value.shape, value.dtype)]
        # The last module of a Sequential has the Sequential's output.
        if not match or match[-1] in taken:
            continue
        taken.add(match[-1])
        folded = [layer for layer, norm in merged.items() if inside(norm, module)]
        name = " + ".join([*folded, module or "the whole network"])
        layer = layers.setdefault(module, Layer(name, match[-1]))
        error = float(np.abs(computed[match[-1]] - value).max())
        layer.error = max(layer.error, error)
        layer.relative = max(layer.relative, error / max(float(np.abs(value).max()), 1e-30))


def compare(net, onnx_file, images):
    """Compare `net` with the ONNX in `onnx_file` on float32 images (N, 3, H, W), one at a time.
    Returns ([Layer] in the order of computation, the onnx.ModelProto)."""
    model = onnx.load(onnx_file)
    layers, session = {}, None
    for image in images:
        values, fed = watch(net, image[None])
        if session is None:
            tensors, merged = tensors_of(model.graph, values, fed)
            wanted = sorted({tensor for names in tensors.values() for tensor in names})
            session = session_with(model, wanted)
        computed = session.run(wanted, {session.get_inputs()[0].name: image[None]})
        measure(layers, values, dict(zip(wanted, computed)), tensors, merged)
    if not layers:
        raise cli.Failure(f"no tensor of {onnx_file} has the name of a module", "make onnx")
    return list(layers.values()), model


def jump(layers):
    """The index of the first layer whose relative error exceeds the export's tolerance and JUMP
    times the errors before it; None when there is none."""
    largest = 0.0
    for i, layer in enumerate(layers):
        if not layer.relative <= max(TOLERANCE, JUMP * largest):
            return i
        largest = max(largest, layer.relative)
    return None


def between(model, layers, index):
    """(operators, weights): names of what the ONNX computes from the layers before
    layers[index] to it."""
    made = {tensor: node for tensor, _, node in places(model.graph)}
    known = {layer.tensor for layer in layers[:index]}
    weights = {w.name for w in model.graph.initializer}
    nodes, used, queue = [], set(), [layers[index].tensor]
    while queue:
        tensor = queue.pop()
        if tensor in weights:
            used.add(tensor)
        node = made.get(tensor)
        if node is not None and tensor not in known and node not in nodes:
            nodes.append(node)
            queue += node.input
    return [node.name or node.op_type for node in reversed(nodes)], sorted(used)
