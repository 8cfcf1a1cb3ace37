"""Which ONNX operators CANN's parser takes: said at the export, before atc fails after minutes."""

# By the model's opset: the keys ai.onnx::<opset>::<operator> in the *_onnx_plugin.cpp of
# hicann/ops-nn (e5c3fa9), ops-math (c419332) and ops-cv (6ae8765), 2026-08. An older release of
# CANN may have fewer. Constant is in none of them; the parser itself takes it (hicann/ge,
# onnx_parser.cc).
TABLE = {
    (1, 99): "Constant",
    (8, 22): "AscendAntiQuant AscendDequant AscendQuant AscendRequant",  # amct_onnx writes these
    (8, 18): """
        Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization
        Cast Ceil Celu Clip Concat ConstantOfShape Conv ConvTranspose Cos Cosh CumSum DepthToSpace
        Det Div Dropout Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor GRU Gather
        GatherElements GatherND Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool Greater
        HardSigmoid Hardmax Identity If InstanceNormalization LRN LSTM LeakyRelu Less LessOrEqual
        Log LogSoftmax LpNormalization LpPool MatMul Max MaxPool MaxRoiPool Mean Min Mul
        Multinomial Neg Not Or PRelu Pad Pow RandomNormal RandomNormalLike RandomUniform
        RandomUniformLike Range Reciprocal ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean
        ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape RoiAlign Round ScatterND Selu
        Shape Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt
        Squeeze Sub Sum Tan Tanh Tile TopK Transpose Unsqueeze Where Xor""",
    (8, 17): "ReduceL1 ReduceL2",
    (8, 16): "AffineGrid",
    (8, 9): "Upsample",
    (8, 8): "GreaterOrEqual",
    (9, 18): "Compress IsNaN MeanVarianceNormalization NonZero OneHot Shrink",
    (9, 11): "Scatter",
    (9, 9): "MaxUnpool",
    (10, 18): "IsInf Mod NonMaxSuppression Resize ReverseSequence ThresholdedRelu",
    (11, 18): """
        BitShift ConcatFromSequence MaxUnpool ScatterElements SequenceAt SequenceConstruct
        SequenceEmpty SequenceErase SequenceInsert SequenceLength SplitToSequence Unique""",
    (11, 16): "Upsample",
    (11, 11): "GridSample",
    (12, 18): "GreaterOrEqual SoftmaxCrossEntropyLoss",
    (14, 18): "HardSwish Trilu",
    (15, 18): "Bernoulli CastLike",
    (16, 18): "GridSample",
    (17, 18): "LayerNormalization",
    (18, 18): "BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Col2Im Mish",
}
OPSETS = {}  # operator → [(lowest, highest opset)]
for opsets, names in TABLE.items():
    for operator in names.split():
        OPSETS.setdefault(operator, []).append(opsets)


def refused(model):
    """Operators of an onnx.ModelProto that CANN's parser does not take at its opset, sorted."""
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    names = {f"{n.domain}::{n.op_type}" if n.domain else n.op_type for n in model.graph.node}
    return sorted(name for name in names
                  if not any(low <= opset <= high for low, high in OPSETS.get(name, [])))
