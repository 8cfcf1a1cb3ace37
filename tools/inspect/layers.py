"""Layer by layer: what each module of the torch network computes, beside its tensor in the ONNX.

The exporter writes a module's place into the names of nodes and tensors
(/blocks/blocks.0/mlp/fc1/Conv_output_0). Simplification keeps them, but for a step that it folds
away: then the node of one module has the tensor of another. So a module's output is looked for
among the tensors of either name that something outside the module reads, of the same shape.
"""
import dataclasses

import numpy as np
import onnx
import torch

from common import cli
from tools.inspect.places import place

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

    def add(self, got, value):
        """Take in the errors of one image: `got` beside torch's `value`, of the same shape."""
        error = float(np.abs(got - value).max())
        relative = error / max(float(np.abs(value).max()), 1e-30)
        # np.fmax would lose a NaN, and max() whichever comes second.
        self.error = float(np.maximum(self.error, error))
        self.relative = float(np.maximum(self.relative, relative))


def inside(module, where):
    """Whether the module `where` is `module` or in it; everything is in ""."""
    return module == "" or where == module or where.startswith(f"{module}.")


def candidates(graph, modules):
    """{module: [tensors of its scope that are read outside, in the graph's order]}."""
    results = {o.name for o in graph.output}
    where, readers = {}, {name: {""} for name in results}
    for node in graph.node:
        at = place(node.name)
        for tensor in node.output:
            where[tensor] = {at} if tensor in results else {at, place(tensor)}
        for name in node.input:
            readers.setdefault(name, set()).add(at)

    def leaves(tensor, module):
        read_outside = any(not inside(module, r) for r in readers.get(tensor, ()))
        return (any(inside(module, at) for at in where[tensor])
                and (read_outside or tensor in results))

    return {module: [t for t in where if leaves(t, module)] for module in modules}


def watch(net, images):
    """Run `net` on float32 `images` (N, 3, H, W). Returns {module: its output as an array} in the
    order of computation, without modules that run several times; and {BatchNorm: the modules whose
    output it gets, when a convolution or linear layer is among them}."""
    got, twice, same, fed, alive = {}, set(), {}, {}, []
    modules = dict(net.named_modules())

    def content(tensor):
        return tensor.data_ptr(), tensor._version  # which steps in place count up

    def before(name, inputs):
        if isinstance(modules[name], NORMS) and inputs:
            makers = same.get(content(inputs[0]), [])
            if any(isinstance(modules[m], LAYERS) for m in makers):
                fed[name] = list(makers)

    def after(name, output):
        if not isinstance(output, torch.Tensor):
            return
        if name in got:
            twice.add(name)
        alive.append(output)  # or its memory would become another tensor's
        same.setdefault(content(output), []).append(name)
        got[name] = output.numpy().copy()  # what follows may work in place

    hooks = []
    for name, module in modules.items():
        hooks += [
            module.register_forward_pre_hook(lambda _, inputs, name=name: before(name, inputs)),
            module.register_forward_hook(lambda _, inputs, output, name=name: after(name, output))]
    with torch.no_grad():
        net(torch.from_numpy(images))
    for handle in hooks:
        handle.remove()
    return {name: value for name, value in got.items() if name not in twice}, fed


def tensors_of(graph, values, fed):
    """({module: tensors that may be its output}, {BatchNorm: layer that it was folded into}) for
    what watch() gave."""
    kept = {place(n.name) for n in graph.node if n.op_type == "BatchNormalization"}
    tensors, merged = candidates(graph, values), {}
    for norm, makers in fed.items():
        if norm in kept:
            continue
        # What a layer (and a Sequential that ends with it) computes is nowhere any more: its tensor
        # holds what the norm does, or what is in the norm before its activation.
        merged[norm] = makers[0]
        alone = [t for maker in makers for t in tensors.pop(maker, [])]
        for module in tensors:
            if inside(norm, module):
                tensors[module] = list(dict.fromkeys([*tensors[module], *alone]))
    return tensors, merged


def matches(values, computed, tensors):
    """{module: its tensor} in the order of `values`, for torch's `values` and the ONNX's `computed`
    of one image: of the tensors that may be a module's, the nearest.

    A tensor belongs to one module: the one that it is nearest to, the first of several.
    """
    nearest = {}
    for module, value in values.items():
        same = [t for t in tensors.get(module, ())
                if (computed[t].shape, computed[t].dtype) == (value.shape, value.dtype)]
        gaps = {t: np.nan_to_num(np.abs(computed[t] - value).max(), nan=np.inf) for t in same}
        if gaps:
            nearest[module] = min((gap, tensor) for tensor, gap in gaps.items())
    owners = {}
    for module in sorted(nearest, key=lambda m: nearest[m][0]):
        owners.setdefault(nearest[module][1], module)
    return {module: tensor for module, (_, tensor) in nearest.items() if owners[tensor] == module}


def session_with(model, wanted):
    """An ONNX Runtime session on the onnx.ModelProto `model` that also gives the tensors
    `wanted`. Nothing is optimised: no fusion may move a tensor."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(giving(model, wanted).SerializeToString(), options,
                                        providers=["CPUExecutionProvider"])


def giving(model, wanted):
    """A copy of an onnx.ModelProto whose outputs are also the tensors `wanted`."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    there = {o.name for o in model.graph.output}
    watched.graph.output.extend(onnx.ValueInfoProto(name=t) for t in wanted if t not in there)
    return watched


def compare(net, onnx_file, images):
    """Compare `net` with the ONNX in `onnx_file` on float32 images (N, 3, H, W), one at a time.
    Returns ([Layer] in the order of computation, the onnx.ModelProto, for each image {tensor of a
    Layer: what torch has for it})."""
    model = onnx.load(onnx_file)
    layers, session, by_torch = {}, None, []
    for image in images:
        values, fed = watch(net, image[None])
        if session is None:
            tensors, merged = tensors_of(model.graph, values, fed)
            wanted = sorted({tensor for names in tensors.values() for tensor in names})
            session = session_with(model, wanted)
        results = session.run(wanted, {session.get_inputs()[0].name: image[None]})
        computed = dict(zip(wanted, results))
        if not layers:
            for module, tensor in matches(values, computed, tensors).items():
                name = module or "the whole network"
                folded = [merged[norm] for norm in merged if inside(norm, module)
                          and (norm == module or place(tensor) != module)]
                layers[module] = Layer(" + ".join([*folded, name]), tensor)
        for module, layer in layers.items():
            layer.add(computed[layer.tensor], values[module])
        by_torch.append({layer.tensor: values[module] for module, layer in layers.items()})
    if not layers:
        raise cli.Failure(f"no tensor of {onnx_file} has the name of a module", "make onnx")
    return list(layers.values()), model, by_torch
