"""Does an offline model compute what its ONNX says?"""
import numpy as np

from common import cli, toolchain
from common.cpu import engine

TOLERANCE_FP16 = 2e-3  # results in float16 are rounded to 5e-4


def random(tensor):
    """Seeded content for an engine.Tensor: standard normal, or bytes."""
    rng = np.random.default_rng(0)
    if tensor.dtype == np.uint8:
        return rng.integers(0, 256, tensor.shape).astype(np.uint8)
    return rng.standard_normal(tensor.shape, dtype=np.float32).astype(tensor.dtype)


def error(result, wanted):
    """The largest difference of two arrays, relative to the scale of `wanted`; NaN for NaN."""
    wanted = np.asarray(wanted, np.float64)
    return float(np.abs(result - wanted).max() / max(np.abs(wanted).max(), 1e-30))


def against_onnx(model, onnx_path, batch, todo, aipp=None, samples=None):
    """The largest error of an engine.Model against ONNX Runtime, relative to the outputs' scale.

    A whole batch of random input, or of `samples` (a list of single inputs), goes through the
    model. Where the ONNX leaves the batch open, ONNX Runtime computes its first and last image
    only: the plain graph, with no optimisation, is slow. Failure with `todo` above
    toolchain.TOLERANCE.
    """
    from common.cpu import onnxruntime_engine as reference

    array = random(model.inputs[0])
    if samples:
        array = np.concatenate([samples[i % len(samples)] for i in range(batch)])
    results = model.run([array])
    for tensor, result in zip(model.outputs, results, strict=True):
        if result.shape[:1] != (batch,):
            raise cli.Failure(f"{onnx_path}: output {tensor.name!r} has the shape {result.shape} "
                              f"for batch {batch}", "the batch is baked into the graph, export it "
                              "with a dynamic batch")
    with engine.explained(f"ONNX Runtime cannot run {onnx_path}", "export the ONNX again"):
        session = reference.session(str(onnx_path), reference.Level.ORT_DISABLE_ALL)
        taken = session.get_inputs()[0]
        rows = list(range(batch)) if isinstance(taken.shape[0], int) else sorted({0, batch - 1})
        images = toolchain.normalise(array[rows], aipp) if aipp else array[rows]
        wanted = session.run([t.name for t in model.outputs], {taken.name: images})
    worst = 0.0
    for tensor, result, want in zip(model.outputs, results, wanted, strict=True):
        found = error(result[rows], want)
        limit = max(toolchain.TOLERANCE[model.precision],
                    TOLERANCE_FP16 * (tensor.dtype == np.float16))
        if not found <= limit:  # also when it is NaN
            raise cli.Failure(
                f"{model.title} computes output {tensor.name!r} of {onnx_path} with an error of "
                f"{found:.1e} of its scale ({limit:.0e} is allowed)", todo)
        worst = max(worst, found)
    return worst
