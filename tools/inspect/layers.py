"""Layer by layer: what each module of the torch network computes against the tensor of the ONNX that stands for it.

The exporter writes a module's place into the names of its tensors (/blocks/blocks.0/mlp/fc1/Conv_output_0), and simplification
keeps those; so a module's output is the tensor of its scope that something outside the scope reads, of the same shape.
"""
import dataclasses

import numpy as np
import onnx
import torch

from common import cli
from common.model.export import TOLERANCE

JUMP = 10  # times the largest error before; float32 noise grows by less from one layer to the next


@dataclasses.dataclass
class Layer:
    """A module (with what the export folded into it, as "conv + bn"), the ONNX tensor that stands for it, the largest absolute
    error, and that error relative to the module's largest value."""

    module: str
    tensor: str
    error: float = 0.0
    relative: float = 0.0


def place(name):
    """The module in a tensor's name: "/blocks/blocks.0/blocks.0.1/fc/Conv_output_0" → "blocks.0.1.fc"; "" when none is."""
    parts = name.split("/")[1:-1]
    # A Sequential and its child stand as "blocks/blocks.0"; the child's part says both.
    return ".".join(p for p, behind in zip(parts, [*parts[1:], ""]) if not behind.startswith(f"{p}."))


def places(graph):
    """[(tensor, module, node)] of a graph's nodes, in their order. The graph's output has lost its name to the user's."""
    results = {o.name for o in graph.output}
    return [(t, place(node.name if t in results else t), node) for node in graph.node for t in node.output]


def inside(module, where):
    return module == "" or where == module or where.startswith(f"{module}.")


def candidates(graph, modules):
    """{module: [tensors that leave its scope, in the graph's order]}."""
    made = places(graph)
    where = {tensor: module for tensor, module, _ in made}
    readers = {}
    for _, module, node in made:
        for name in node.input:
            readers.setdefault(name, []).append(module)
    results = {o.name for o in graph.output}
    return {m: [t for t in where if inside(m, where[t])
                and (t in results or any(not inside(m, r) for r in readers.get(t, ())))] for m in modules}


def watch(net, images):
    """Run `net` on float32 `images` (N, 3, H, W). Returns {module: its output as an array}, in the order of computation,
    without modules that run several times; and {BatchNorm: the convolution or linear layer that feeds it}."""
    got, twice, latest, fed = {}, set(), {}, {}
    kinds = (torch.nn.Conv2d, torch.nn.Linear)
    modules = dict(net.named_modules())

    def hook(name):
        def keep(module, inputs, output):
            if not isinstance(output, torch.Tensor):
                return
            if name in got:
                twice.add(name)
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                before = latest.get(inputs[0].data_ptr())
                if isinstance(modules.get(before), kinds):
                    fed[name] = before
            latest[output.data_ptr()] = name
            got[name] = output.numpy().copy()  # what follows may work in place
        return keep

    hooks = [module.register_forward_hook(hook(name)) for name, module in modules.items()]
    with torch.no_grad():
        net(torch.from_numpy(images))
    for handle in hooks:
        handle.remove()
    return {name: value for name, value in got.items() if name not in twice}, fed


def folded(graph, fed):
    """{layer: BatchNorm} of those BatchNorms that the export has multiplied into the layer before them."""
    kept = {module for _, module, node in places(graph) if node.op_type == "BatchNormalization"}
    return {layer: norm for norm, layer in fed.items() if norm not in kept}


def compare(net, onnx_file, images):
    """Compare `net` with the ONNX in `onnx_file` on float32 images (N, 3, H, W), one at a time. Returns ([Layer] in the order
    of computation, the onnx.ModelProto)."""
    import onnxruntime

    model = onnx.load(onnx_file)
    layers, merged, session = {}, {}, None
    for image in images:
        values, fed = watch(net, image[None])
        if session is None:
            merged = folded(model.graph, fed)
            tensors = candidates(model.graph, values)
            for layer, norm in merged.items():
                # The layer's tensor holds what the norm computes; with an activation inside the norm, neither's output.
                alone, tensors[layer] = tensors.get(layer, []), []
                tensors[norm] = tensors.get(norm) or alone
            wanted = sorted({t for names in tensors.values() for t in names})
            there = {o.name for o in model.graph.output}
            watched = onnx.ModelProto()
            watched.CopyFrom(model)
            watched.graph.output.extend(onnx.ValueInfoProto(name=t) for t in wanted if t not in there)
            options = onnxruntime.SessionOptions()
            # As the file has it: no fusion may move a tensor.
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            options.log_severity_level = 3
            session = onnxruntime.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
        computed = dict(zip(wanted, session.run(wanted, {session.get_inputs()[0].name: image[None]})))
        taken = set()
        for module, value in values.items():
            match = [t for t in tensors.get(module, ())
                     if (computed[t].shape, computed[t].dtype) == (value.shape, value.dtype)]
            if not match or match[-1] in taken:  # the last module of a Sequential has the Sequential's output
                continue
            taken.add(match[-1])
            layer = layers.setdefault(module, Layer(" + ".join([n for n, norm in merged.items() if inside(norm, module)]
                                                               + [module or "the whole network"]), match[-1]))
            error = float(np.abs(computed[match[-1]] - value).max())
            layer.error = max(layer.error, error)
            layer.relative = max(layer.relative, error / max(float(np.abs(value).max()), 1e-30))
    if not layers:
        raise cli.Failure(f"no tensor of {onnx_file} bears the name of a module", "export it again (make onnx)")
    return list(layers.values()), model


def jump(layers):
    """The index of the first layer whose relative error exceeds the export's tolerance and JUMP times the errors before it;
    None when there is none."""
    largest = 0.0
    for i, layer in enumerate(layers):
        if not layer.relative <= max(TOLERANCE, JUMP * largest):
            return i
        largest = max(largest, layer.relative)
    return None


def between(model, layers, index):
    """(operators, weights): names of what the ONNX computes from the layers before layers[index] to it."""
    made = {t: node for t, _, node in places(model.graph)}
    known = {layer.tensor for layer in layers[:index]}
    weights = {w.name for w in model.graph.initializer}
    nodes, used, queue = [], [], [layers[index].tensor]
    while queue:
        tensor = queue.pop()
        node = made.get(tensor)
        if tensor in weights:
            used.append(tensor)
        if node is None or tensor in known or node in nodes:
            continue
        nodes.append(node)
        queue += node.input
    return [node.name or node.op_type for node in reversed(nodes)], sorted(set(used))
