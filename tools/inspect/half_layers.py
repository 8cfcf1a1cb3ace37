"""What `make half` computes: each tensor of an ONNX in float32 beside its rounded self, the norms
as an NPU may fuse them, and what to tell atc (see half.py)."""
import numpy as np
import onnx
from onnx import helper

from common import cli
from common.cpu import half, onnxruntime_engine, rewrites
from tools.inspect.places import place

LARGEST = 65504.0  # the largest float16
STEP = 2.0**-11  # what one rounding may change, relative
JUMP = 10  # times the largest error that went into a module
CUBE = {"Conv", "Gemm", "MatMul"}
NORM = {"InstanceNormalization", "LayerNormalization", "ReduceMean", "Pow", "Sqrt", "Sub"}
# How a GroupNorm may be computed, and what of it is in float16.
FORMS = {"apart": "each norm by itself, sums in float32",
         "squares": "fused: squares in float16, sums in float32",
         "total": "fused: sums in float16 too"}


# ---- both computations in one graph ----

def beside(model):
    """(a ModelProto that computes `model` and its rounded copy, [(tensor, its node)]).

    It gives three numbers for each of these tensors, as (peak, energy, error): max |x|, Σx², and
    Σ(x - rounded x)². Tensors of that size never leave the engine: those of a large network
    would not fit into memory.
    """
    rounded = copy(model)
    half.round_all(rounded)
    ours = {name for node in rounded.graph.node for name in node.output}
    ours |= {weight.name for weight in rounded.graph.initializer}
    known = half.floats(model)
    tensors = [(name, node) for node in model.graph.node for name in node.output
               if name in known and node.op_type not in half.MOVES]
    whole = copy(model)
    for node in rounded.graph.node:
        for side in (node.input, node.output):
            side[:] = [f"half/{name}" if name in ours else name for name in side]
        node.name = f"half/{node.name}" if node.name else ""
    for weight in rounded.graph.initializer:
        weight.name = f"half/{weight.name}"
    nodes, outputs = list(rounded.graph.node), []
    for name, _ in tensors:
        steps = [("Abs", [name], "abs"), ("ReduceMax", [f"{name}/abs"], "peak"),
                 ("ReduceSumSquare", [name], "energy"),
                 ("Sub", [name, f"half/{name}"], "off"),
                 ("ReduceSumSquare", [f"{name}/off"], "error")]
        for operator, inputs, suffix in steps:
            more = {"keepdims": 0} if operator.startswith("Reduce") else {}
            nodes.append(helper.make_node(operator, inputs, [f"{name}/{suffix}"], **more))
        outputs += [f"{name}/{what}" for what in ("peak", "energy", "error")]
    whole.graph.node.extend(nodes)
    whole.graph.initializer.extend(rounded.graph.initializer)
    del whole.graph.output[:], whole.graph.value_info[:]
    whole.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
    return whole, tensors


def copy(model):
    other = onnx.ModelProto()
    other.CopyFrom(model)
    return other


def runner(model):
    """A function float32 (N, 3, H, W) → [outputs]; nothing is optimised."""
    level = onnxruntime_engine.Level.ORT_DISABLE_ALL
    session = onnxruntime_engine.session(model.SerializeToString(), level)
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: images})


def measure(model, images):
    """[{"tensor", "operator", "name", "module", "peak", "error", "inputs"}] of the tensors
    that `model` computes, in its order; the largest of all images (N, 3, H, W)."""
    whole, tensors = beside(model)
    compute = runner(whole)
    peak, error = np.zeros((2, len(tensors)))
    for image in images:
        found = np.array(compute(image[None]), np.float64).reshape(-1, 3)
        with np.errstate(invalid="ignore"):
            relative = np.sqrt(found[:, 2] / np.maximum(found[:, 1], 1e-30))
        peak = np.maximum(peak, found[:, 0])
        error = np.maximum(error, np.nan_to_num(relative, nan=np.inf))
    results = {value.name for value in model.graph.output}
    rows, known = [], set()
    for (tensor, node), *figures in zip(tensors, peak.tolist(), error.tolist(), strict=True):
        rows.append({"tensor": tensor, "operator": node.op_type, "name": node.name or tensor,
                     "module": place(node.name if tensor in results else tensor),
                     "peak": figures[0], "error": figures[1]})
        known.add(tensor)
    handed = {name: node for node in model.graph.node if node.op_type in half.MOVES
              for name in node.output}
    for row, (_, node) in zip(rows, tensors, strict=True):
        row["inputs"] = [name for name in sources(node, handed) if name in known]
    return rows


def sources(node, handed):
    """The tensors that a node computes from; `handed` {tensor: the node that only hands it on}."""
    found = []
    for name in node.input:
        found += sources(handed[name], handed) if name in handed else [name]
    return found


def by_module(rows):
    """[{"module", "peak", "error", "over", "jump", "operators"}] in the order of computation: the
    largest |x| of all its tensors, the error of its last one, and whether that is JUMP times what
    came in. (Inside a module an error may be large and not matter: the mean of what adds up to 0.)
    """
    modules, tensors = {}, {row["tensor"]: row for row in rows}
    for row in rows:
        modules.setdefault(row["module"], []).append(row)
    found = []
    for name, inside in modules.items():
        entering = [tensors[t] for row in inside for t in row["inputs"]]
        before = max((row["error"] for row in entering if row["module"] != name), default=0.0)
        peak, error = max(row["peak"] for row in inside), inside[-1]["error"]
        found.append({"module": name, "peak": peak, "error": error, "over": peak > LARGEST,
                      "jump": bool(np.isfinite(before) and error > JUMP * max(before, STEP)),
                      "operators": list(dict.fromkeys(row["operator"] for row in inside))})
    return found


# ---- a GroupNorm, fused ----

def with_norms(model, form):
    """The rounded copy of `model` with its GroupNorms in one of FORMS; None where it has none."""
    other = copy(model)
    if not rewrites.group_norm_as_formula(other):
        return None
    if form == "apart":
        other = copy(model)
    half.round_all(other)
    if form == "total":
        for node in list(other.graph.node):
            if node.op_type == "ReduceMean" and node.output[0].endswith(("_mean_exact",
                                                                         "_variance_exact")):
                round_total(other, node)
    return other


def round_total(model, mean):
    """Round the sum that the ReduceMean `mean` divides: whatever the order of adding, that total
    has to be held."""
    name = mean.output[0]
    known = rewrites.shapes_of(model)
    count = rewrites.add_constant(
        model, f"{name}_count", np.float32(np.prod(known[mean.input[0]][1:])))
    mean.output[0] = f"{name}_whole"
    steps = [helper.make_node("Mul", [mean.output[0], count], [f"{name}_total_exact"]),
             *half.casts(f"{name}_total_exact", f"{name}_total"),
             helper.make_node("Div", [f"{name}_total", count], [name])]
    at = list(model.graph.node).index(mean) + 1
    for step in reversed(steps):
        model.graph.node.insert(at, step)


def norm_forms(model, images, wanted):
    """{form: {"error" of the logits, "same" Top-1}} beside `wanted`, float32's logits (N, C)."""
    said = {}
    for form in FORMS:
        rounded = with_norms(model, form)
        if rounded is None:
            return {}
        got = logits(rounded, images)
        error = np.linalg.norm(got - wanted) / np.linalg.norm(wanted)
        same = np.isfinite(got).all(1) & (got.argmax(1) == wanted.argmax(1))
        said[form] = {"error": float(np.nan_to_num(error, nan=np.inf)), "same": int(same.sum())}
    return said


def logits(model, images):
    compute = runner(model)
    return np.concatenate([compute(image[None])[0].reshape(1, -1) for image in images])


# ---- what to do ----

def advice(rows, modules):
    """Lines for people: what to tell atc about what measure() and by_module() found."""
    over = [row for row in rows if row["peak"] > LARGEST]
    jumps = {operator for module in modules if module["jump"] for operator in module["operators"]}
    said = []
    if over:
        names = cli.some([row["name"] for row in over], 8)
        said.append(f"float16 ends at {LARGEST:.0f}: keep {names} in float32, a name a line in a "
                    "file, ATC_FLAGS=--keep_dtype=FILE")
        if CUBE & {row["operator"] for row in over}:
            said.append("a 310P has no float32 convolution or matrix product: there the values "
                        "must become smaller (divide weights and bias, multiply after the norm)")
    if jumps - CUBE:
        types = ", ".join(sorted(jumps - CUBE))
        said.append(f"errors jump in {types}: high_precision for atc's operator there, a line "
                    "Operator=high_precision under [ByOpType] in a file, "
                    "ATC_FLAGS=--op_precision_mode=FILE")
    if NORM & jumps.union(row["operator"] for row in over):
        said.append("a norm is among them: keep atc from fusing it, --fusion_switch_file with "
                    "GroupNormFusionPass off (SPACH/fusion_switch.cfg), or as "
                    "ShiftViT/modify_onnx.py does")
    return said
