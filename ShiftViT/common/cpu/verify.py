"""Does an offline model compute what its ONNX says?"""
import numpy as np

from common import cli, toolchain

# Of the outputs' largest absolute value. Engines that compute in float32 stay below 1e-5, bfloat16
# gives 1e-2; float16 results are rounded to 5e-4. int8 is held against its own calibration images;
# what it costs is for the accuracy to say, here only a broken graph is caught.
TOLERANCE = {"f32": 1e-3, "bf16": 5e-2, "int8": 0.5}
TOLERANCE_FP16 = 2e-3


def sample(tensor, rng):
    """Random content for an engine.Tensor: standard normal, or the type's range of whole numbers
    (0..255, -128..127, 0..1)."""
    if tensor.dtype.kind == "f":
        return rng.standard_normal(tensor.shape, dtype=np.float32).astype(tensor.dtype)
    low, high = {"bool": (0, 2), "int8": (-128, 128)}.get(tensor.dtype.name, (0, 256))
    return rng.integers(low, high, tensor.shape).astype(tensor.dtype)


def against_onnx(model, onnx_path, batch, aipp=None, samples=None):
    """The largest error of an engine.Model against ONNX Runtime, relative to the outputs' scale.

    A whole batch of seeded random input, or of `samples` (a list of single inputs), goes through
    the model. Where the ONNX leaves the batch open, ONNX Runtime computes its first and last image
    only: the plain graph, with no optimisation, is slow. Failure above TOLERANCE.
    """
    rng = np.random.default_rng(0)
    arrays = [sample(t, rng) for t in model.inputs]
    if samples:
        arrays = [np.concatenate([samples[i % len(samples)] for i in range(batch)])]
    results = model.run(arrays)
    for tensor, result in zip(model.outputs, results, strict=True):
        if result.shape[:1] != (batch,):
            raise cli.Failure(f"{onnx_path}: output {tensor.name!r} has the shape {result.shape} "
                              f"for batch {batch}", "the batch is baked into the graph, export it "
                              "with a dynamic batch")
    rows, wanted = plain(model, onnx_path, batch, arrays, aipp)
    errors = [error_of(model, onnx_path, tensor, result[rows], want)
              for tensor, result, want in zip(model.outputs, results, wanted, strict=True)]
    return max(errors)


def plain(model, onnx_path, batch, arrays, aipp):
    """What ONNX Runtime computes without optimisation: (rows of the batch, outputs for them)."""
    from common.cpu import onnxruntime_engine as reference

    try:
        session = reference.session(str(onnx_path), reference.Level.ORT_DISABLE_ALL)
        is_open = all(not isinstance(t.shape[0], int) for t in session.get_inputs())
        rows = sorted({0, batch - 1}) if is_open else list(range(batch))
        feed = {t.name: a[rows] for t, a in zip(model.inputs, arrays, strict=True)}
        if aipp:
            feed = {name: toolchain.normalise(a, aipp) for name, a in feed.items()}
        return rows, session.run([t.name for t in model.outputs], feed)
    except Exception as e:  # onnxruntime's exceptions have no common class
        raise cli.Failure(f"ONNX Runtime cannot run {onnx_path}: {cli.short(str(e))}",
                          "export the ONNX again") from e


def error_of(model, onnx_path, tensor, result, want):
    """The largest error of one output, relative to its scale; Failure above what is allowed."""
    want = np.asarray(want, np.float64)
    error = float(np.abs(result - want).max() / max(np.abs(want).max(), 1e-30))
    limit = max(TOLERANCE[model.precision], TOLERANCE_FP16 if tensor.dtype == np.float16 else 0)
    if not error <= limit:  # also when it is NaN
        raise cli.Failure(f"{model.title} computes output {tensor.name!r} of {onnx_path} with an "
                          f"error of {error:.1e} of its scale ({limit:.0e} is allowed)",
                          "try the other HOST_ENGINE")
    return error
