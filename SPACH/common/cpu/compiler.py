"""Compile an ONNX into an offline model for this CPU.

    model = compiler.compile_onnx("x.onnx", 8, "openvino", "x_bs8.blob")
"""
import dataclasses
from pathlib import Path

from common import cli, provenance, toolchain
from common.cpu import calibrate, engine, graph, rewrites, verify
from common.model import facts


def compile_onnx(onnx_path, batch, name, output_path, output_type="FP32", insert_op_conf=None,
                 precision="f32", calib=None, arguments=None):
    """Compile an ONNX for `batch` images in a run, check it, write it and its record; the Model.

    name: a key of which.ENDINGS. output_type: FP32 or FP16 (the outputs only). insert_op_conf:
    AIPP configuration, which makes the input bytes. precision: one of which.PRECISIONS. calib:
    folder of images for int8. arguments: recorded, those of this program by default. Failure when
    the engine refuses the graph, or computes something else than ONNX Runtime does on the plain
    ONNX; then no file gets its name.
    """
    backend = engine.backend_of(name)
    aipp = toolchain.read_aipp(insert_op_conf) if insert_op_conf else None
    onnx_model = graph.read(onnx_path)
    about = facts.read(onnx_model)
    prepare(onnx_model, onnx_path, output_type, aipp)
    samples, calibration = None, None
    if precision == "int8":
        samples, calibration = calibrate.samples(onnx_path, onnx_model, about, calib, aipp)
    content, part = serialised(onnx_model, onnx_path, batch, backend, precision)
    del onnx_model  # Twins has 400 MB of weights; two or three copies at a time are enough
    with cli.whole_file(output_path) as file:
        model = build(backend, content, file, onnx_path, batch, part, precision, samples)
        del content
        error = verify.against_onnx(model, onnx_path, batch, aipp, samples)
    about = {
        "engine": name, **engine.what_runs(backend), "precision": precision, "batch": batch,
        "part": part, "inputs": [t.described() for t in model.inputs],
        "outputs": [t.described() for t in model.outputs],
        "onnx": {"file": Path(onnx_path).name, "sha256": cli.sha256(onnx_path), **about},
        "error_to_onnx": error, "demo": bool(about.get("demo")), "calibration": calibration}
    inputs = [onnx_path, *filter(None, [insert_op_conf, calibration and calib]), *code(backend)]
    about["made"] = provenance.made(output_path, inputs, arguments)
    cli.write_json(provenance.record_path(output_path), about)
    return dataclasses.replace(model, meta=about)


def prepare(onnx_model, onnx_path, output_type, aipp):
    """Rewrite the graph for the engines, and for the types that are asked for."""
    rewrites.group_norm_as_formula(onnx_model)
    rewrites.flat_tokens(onnx_model)
    if output_type == "FP16":
        graph.cast_outputs(onnx_model)
    if aipp:
        graph.take_bytes(onnx_model, aipp, onnx_path)


def serialised(onnx_model, onnx_path, batch, backend, precision):
    """(the graph as bytes, how many images of a batch the engine computes at a time).

    Its batch is fixed, but for int8, which is quantised the same for every batch.
    """
    part = part_of(batch, backend, onnx_model)
    open_batch = onnx_model.SerializeToString() if precision == "int8" else None
    graph.fix_batch(onnx_model, part, onnx_path)
    return open_batch or onnx_model.SerializeToString(), part


def part_of(batch, backend, onnx_model):
    """How many images of a batch the engine computes at a time.

    Fewer than the batch where each core has several parts: with one for each, batch 4 on two cores
    was 0.98 times as fast.
    """
    part = backend.PART or batch
    too_few = batch % part or batch // part < 2 * cli.cores()
    if too_few or backend.device() != "CPU" or not graph.is_open(onnx_model):
        return batch
    return part


def build(backend, content, file, onnx_path, batch, part, precision, samples):
    """Compile `content`, a serialised ONNX, to `file` and load that; Failure when it is refused."""
    try:
        backend.compile_model(content, file, part, precision, samples)
        return engine.wrap(backend, file.read_bytes(), precision, parts=batch // part)
    except cli.Failure:
        raise
    except Exception as e:  # the engines' exceptions have no common class
        raise cli.Failure(f"{backend.TITLE} cannot compile {onnx_path} for batch {batch}: "
                          f"{cli.short(str(e))}",
                          "export the ONNX again, or try the other HOST_ENGINE") from e


def code(backend):
    """Files that shape what is compiled: ours, and the engine's library."""
    ours = [m.__file__ for m in (calibrate, engine, graph, rewrites, backend)]
    files = [__file__, toolchain.__file__, *ours, backend.library()]
    return [facts.code_path(file) for file in files]
