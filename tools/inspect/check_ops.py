"""Compare every operator of an ONNX with what CANN's ONNX parser takes, so that atc does not fail after minutes.

    python3 -m tools.inspect.check_ops build/x.onnx

Exit status 1 when an operator, the opset or a bound does not fit; what to do is the last line.
"""
import argparse
import collections

from common import cli
from tools.inspect import onnx_file

# ONNX operators that CANN's parser has a plugin for, by the model's opset: the keys ai.onnx::<opset>::<operator> in
# the *_onnx_plugin.cpp of hicann/ops-nn (e5c3fa9), ops-math (c419332) and ops-cv (6ae8765), 2026-08. A release of one's
# own may have fewer. Constant is in none of them: the parser takes it at any opset (hicann/ge, onnx_parser.cc).
TABLE = {
    (8, 18): "Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Cast Ceil Celu Clip "
             "Concat ConstantOfShape Conv ConvTranspose Cos Cosh CumSum DepthToSpace Det Div Dropout Einsum Elu Equal Erf "
             "Exp Expand EyeLike Flatten Floor GRU Gather GatherElements GatherND Gemm GlobalAveragePool GlobalLpPool "
             "GlobalMaxPool Greater HardSigmoid Hardmax Identity If InstanceNormalization LRN LSTM LeakyRelu Less "
             "LessOrEqual Log LogSoftmax LpNormalization LpPool MatMul Max MaxPool MaxRoiPool Mean Min Mul Multinomial Neg "
             "Not Or PRelu Pad Pow RandomNormal RandomNormalLike RandomUniform RandomUniformLike Range Reciprocal "
             "ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape "
             "RoiAlign Round ScatterND Selu Shape Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign SpaceToDepth "
             "Split Sqrt Squeeze Sub Sum Tan Tanh Tile TopK Transpose Unsqueeze Where Xor",
    (8, 17): "ReduceL1 ReduceL2",
    (8, 16): "AffineGrid",
    (8, 9): "Upsample",
    (8, 8): "GreaterOrEqual",
    (9, 18): "Compress IsNaN MeanVarianceNormalization NonZero OneHot Shrink",
    (9, 11): "Scatter",
    (9, 9): "MaxUnpool",
    (10, 18): "IsInf Mod NonMaxSuppression Resize ReverseSequence ThresholdedRelu",
    (11, 18): "BitShift ConcatFromSequence MaxUnpool ScatterElements SequenceAt SequenceConstruct SequenceEmpty "
              "SequenceErase SequenceInsert SequenceLength SplitToSequence Unique",
    (11, 16): "Upsample",
    (11, 11): "GridSample",
    (12, 18): "GreaterOrEqual SoftmaxCrossEntropyLoss",
    (14, 18): "HardSwish Trilu",
    (15, 18): "Bernoulli CastLike",
    (16, 18): "GridSample",
    (17, 18): "LayerNormalization",
    (18, 18): "BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Col2Im Mish",
}
OPSETS = {op: [r for r, ops in TABLE.items() if op in ops.split()] for names in TABLE.values() for op in names.split()}
# What CANN's own documents state (atc's manual of each release, parameter --framework and the ONNX operator list).
STATED = {"5.0.4": (9, 13), "5 and 6 (--framework)": (11, 11), "6.0.1": (9, 13), "7.0": (9, 18), "8.0 alpha": (11, 15),
          "9": (11, 18)}
LOWEST, HIGHEST = 8, 18
# Bounds of convolutions and poolings in CANN 5's ONNX operator list.
MAX_KERNEL, MAX_STRIDE = 255, 63
# Their result has as many dimensions as the largest of their inputs.
SAME_RANK = set("Add Sub Mul Div Pow Sqrt Erf Relu Sigmoid Clip Softmax Cast Identity Where Slice Pad Concat Split".split())
EXPORT = "export it again at opset 11 (make onnx OPSET=11), where torch writes it with operators that are"


def get_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="the .onnx")
    return parser.parse_args(argv)


def where(node):
    """Return the node as people know it: its name, or else what it writes, and the layer it is from."""
    name = repr(node.name) if node.name else f"that writes {node.outputs[0]!r}" if node.outputs else "without a name"
    return name + (f", layer {node.layer}" if node.layer else "")


def ranks(model):
    """Return {tensor: number of dimensions} as far as it follows without computing shapes."""
    weights = {**model.weights, **{n.outputs[0]: n.attributes.get("value", ()) for n in model.nodes if n.op == "Constant"}}
    known = {**model.ranks, **{name: len(dims) for name, dims in weights.items()},
             **{name: len(tensor.dims) for name, tensor in model.inputs.items() if tensor.dims}}
    for node in model.nodes:
        rank = max((known.get(name, 0) for name in node.inputs), default=0) if node.op in SAME_RANK else 0
        if node.op == "Reshape":
            rank = sum(weights.get(node.inputs[1], ()))  # the length of the list that it is given as its shape
        elif node.op == "Transpose":
            rank = len(node.attributes.get("perm", []))
        known.update((name, rank) for name in node.outputs if rank and name not in known)
    return known


def check(model):
    """Return (problems, notes, opset) of an onnx_file.Model; a problem is (what, what to do), a note is a line."""
    problems, notes = [], []
    versions = collections.defaultdict(list)
    for domain, version in model.opsets:
        versions[domain or "ai.onnx"].append(version)
    domains = {node.domain or "ai.onnx" for node in model.nodes if node.op != "Constant"}
    for domain in sorted(domains - {"ai.onnx"}):
        ops = [node for node in model.nodes if node.domain == domain]
        problems.append((f"{len(ops)} operators are of the domain {domain}, such as {ops[0].op} {where(ops[0])}; "
                         "CANN has ONNX's own only", "export it with standard operators"))
    for domain in sorted(domains & {"ai.onnx"} | set(versions)):
        if len(versions[domain]) != 1 and domain in domains:
            problems.append((f"it states {len(versions[domain])} opsets of the domain {domain} (E19999, E16005)",
                             "export it again, with one opset_import a domain"))
    if len(versions["ai.onnx"]) != 1:
        return problems, notes, None
    opset = versions["ai.onnx"][0]
    if not LOWEST <= opset <= HIGHEST:
        problems.append((f"opset {opset} is none of {LOWEST} to {HIGHEST}, which CANN's parser takes",
                         "export it at opset 11 (make onnx OPSET=11)"))
    against = [cann for cann, (low, high) in STATED.items() if not low <= opset <= high]
    if against:
        notes.append(f"opset {opset} is outside what CANN {', '.join(against)} states; opset 11 is inside all of it")

    missing = collections.defaultdict(list)
    judged = min(max(opset, LOWEST), HIGHEST)  # of a wrong opset, name what is wrong beyond it
    for node in model.nodes:
        ranges = OPSETS.get(node.op, [])
        if not node.domain and node.op != "Constant" and not any(low <= judged <= high for low, high in ranges):
            missing[node.op].append(node)
        kernel, strides = node.attributes.get("kernel_shape", []), node.attributes.get("strides", [])
        if max(kernel, default=1) > MAX_KERNEL or max(strides, default=1) > MAX_STRIDE:
            problems.append((f"{node.op} {where(node)} has kernel {kernel} and strides {strides}",
                             f"CANN 5 takes kernels up to {MAX_KERNEL} and strides up to {MAX_STRIDE}"))
    for op, nodes in sorted(missing.items()):
        at = " and ".join(f"{low} to {high}" for low, high in OPSETS.get(op, []))
        problems.append((f"{op}, {len(nodes)} nodes, the first {where(nodes[0])}, is not in CANN's table at opset {opset} "
                         f"({f'only at {at}' if at else 'at no opset'})", EXPORT))
    known = ranks(model)
    slices = [node for node in model.nodes if node.op == "Slice" and known.get(node.inputs[0], 0) > 4]
    if slices:
        notes.append(f"{len(slices)} Slice of tensors with more than 4 dimensions, the first {where(slices[0])}: CANN 5 has "
                     "refused such (E20001 StridedSliceD)")
    return problems, notes, opset


def main():
    args = get_args()
    model = onnx_file.read(args.model)
    problems, notes, opset = check(model)
    for note in notes:
        print(f"note: {args.model}: {note}")
    for what, todo in problems[:-1]:
        print(f"{args.model}: {what} — {todo}")
    if problems:
        raise cli.Failure(f"{args.model}: {problems[-1][0]}", problems[-1][1])
    print(f"check-ops: {len({node.op for node in model.nodes})} operators, {len(model.nodes)} nodes, opset {opset}: "
          "all in CANN's table")


if __name__ == "__main__":
    cli.run(main)
