"""Which layer is to blame for what differs at the end."""
from common.model.export import TOLERANCE

JUMP = 10  # times the largest error before; float32 noise grows by less from layer to layer


def differs(layer, limit=TOLERANCE):
    """Whether a layers.Layer is off by more than `limit`; NaN is."""
    return not layer.relative <= limit


def back(graph, tensor, known):
    """(tensors of `known` that `tensor` is computed from, nodes between them and it)."""
    made = {name: node for node in graph.node for name in node.output}
    nodes, from_known, queue, seen = [], set(), [tensor], set()
    while queue:
        name = queue.pop()
        if name in known and name != tensor:
            from_known.add(name)
        elif name in made and name not in seen:
            seen.add(name)
            if made[name] not in nodes:
                nodes.append(made[name])
            queue += made[name].input
    return from_known, nodes


def split(graph, layers, limit=TOLERANCE):
    """(layers that agree or whose error is inherited, layers whose error is not).

    It is inherited when the end of the network differs, and so does all that is compared on a way
    from the layer to there. What follows the others agrees with torch, so they are right: they were
    merged with their neighbours, and no tensor is the output of them alone.
    """
    wrong = {layer.tensor for layer in layers if differs(layer, limit)}
    known = {layer.tensor for layer in layers}
    queue = [o.name for o in graph.output if o.name in wrong]
    inherited = set(queue)
    while queue:
        new = (back(graph, queue.pop(), known)[0] & wrong) - inherited
        queue += new
        inherited |= new
    alone = wrong - inherited
    return ([x for x in layers if x.tensor not in alone], [x for x in layers if x.tensor in alone])


def jump(layers):
    """The index of the first layer whose relative error exceeds the export's tolerance and JUMP
    times the errors before it; None when there is none."""
    largest = 0.0
    for i, layer in enumerate(layers):
        if not layer.relative <= max(TOLERANCE, JUMP * largest):
            return i
        largest = max(largest, layer.relative)
    return None


def between(graph, layers, index):
    """(operators, weights): names of what the ONNX computes from the layers before layers[index]
    to it."""
    _, nodes = back(graph, layers[index].tensor, {layer.tensor for layer in layers[:index]})
    weights = {w.name for w in graph.initializer}
    used = {name for node in nodes for name in node.input if name in weights}
    return [node.name or node.op_type for node in reversed(nodes)], sorted(used)
