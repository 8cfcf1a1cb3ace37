"""Compile an ONNX into an offline model for this CPU.

    model = compiler.compile_onnx("x.onnx", 8, "openvino", "x_bs8.blob")
"""
import dataclasses
import tempfile
from pathlib import Path

from common import cli, provenance, toolchain
from common.cpu import engine, graph, half, host, rewrites, verify
from common.data import calibration, transforms
from common.data import recipe as data_recipe
from common.model import facts


def compile_onnx(onnx_path, batch, name, output_path, output_type="FP32", insert_op_conf=None,
                 precision="f32", calib=None, arguments=None):
    """Compile an ONNX for `batch` images in a run, check it, write it and its record; the Model.

    name: a key of host.ENDINGS. output_type: FP32 or FP16 (the outputs only). insert_op_conf:
    AIPP configuration, which makes the input bytes. precision: one of host.PRECISIONS. calib:
    folder of images for int8. arguments: recorded, those of this program by default. Failure when
    the engine refuses the graph, or computes something else than ONNX Runtime does on the plain
    ONNX; then no file gets its name.
    """
    backend = engine.backend_of(name)
    aipp = toolchain.read_aipp(insert_op_conf) if insert_op_conf else None
    onnx_model = graph.read(onnx_path)
    about = facts.read(onnx_model)
    estimate = precision == "fp16" and backend.device() == "CPU"
    rewrite(onnx_model, onnx_path, output_type, aipp, estimate)
    samples = calibrated = None
    part = part_of(batch, backend, onnx_model)
    if precision == "int8":  # quantised with an open batch: the same for every batch
        samples, calibrated = calibrate(onnx_path, onnx_model, about, calib, aipp)
    else:
        graph.fix_batch(onnx_model, part, onnx_path)
    content = onnx_model.SerializeToString()
    del onnx_model  # Twins has 400 MB of weights; two or three copies at a time are enough
    what, todo = f"{onnx_path} for batch {batch}", host.remedy(name, precision)
    with cli.whole_file(output_path) as file:
        with engine.explained(f"{backend.TITLE} cannot compile {what}", todo):
            backend.compile_model(content, file, part, precision, samples)
            del content
            model = engine.wrap(backend, file.read_bytes(), what, precision, batch // part)
        error = verify.against_onnx(model, onnx_path, batch, todo, aipp, samples)
    about = {
        "engine": name, **engine.what_runs(backend), "cpu": host.cpu()[0],
        "precision": precision, "batch": batch, "part": part,
        "inputs": [t.described() for t in model.inputs],
        "outputs": [t.described() for t in model.outputs],
        "onnx": {"file": Path(onnx_path).name, "sha256": cli.sha256(onnx_path), **about},
        "error_to_onnx": error, "demo": bool(about.get("demo")), "calibration": calibrated,
        "note": half.ESTIMATE if estimate else None}
    modules = [engine, graph, half, host, rewrites, toolchain, backend]
    modules += [calibration, transforms, data_recipe] if samples else []
    code = [__file__, *(module.__file__ for module in modules)]
    inputs = [onnx_path, *filter(None, [insert_op_conf, calibrated and calib])]
    inputs += map(facts.code_path, [*code, backend.LIBRARY])
    about["made"] = provenance.made(output_path, inputs, arguments)
    cli.write_json(provenance.record_path(output_path), about)
    return dataclasses.replace(model, meta=about)


def rewrite(onnx_model, onnx_path, output_type, aipp, estimate):
    """Make an onnx.ModelProto what the engine is to compute, in place: see compile_onnx(). With
    `estimate`, what an NPU computes in float16: what atc is given, rounded operator by operator."""
    if not estimate:
        rewrites.group_norm_as_formula(onnx_model)
        rewrites.flat_tokens(onnx_model)
    if output_type == "FP16":
        graph.cast_outputs(onnx_model)
    if aipp:
        graph.take_bytes(onnx_model, aipp, onnx_path)
    if estimate:
        half.round_all(onnx_model)


def compile_gears(onnx_path, gears, name, output_path, *how):
    """One offline model for several batches, `gears`: what compile_onnx() makes for each of them,
    one after the other in one file. `how` are its further arguments. Returns the Model of the last.

    Each gear is as fast as a file of its own; the weights are in the file once for each.
    """
    pieces, errors = {}, []
    with cli.whole_file(output_path) as file, tempfile.TemporaryDirectory() as folder:
        for batch in gears:
            piece = Path(folder, Path(output_path).name)
            model = compile_onnx(onnx_path, batch, name, piece, *how)
            errors.append(model.meta["error_to_onnx"])
            with open(file, "ab") as whole:
                pieces[str(batch)] = {"start": whole.tell(), "bytes": piece.stat().st_size,
                                      "part": model.meta["part"]}
                whole.write(piece.read_bytes())
    about = {**model.meta, "batch": None, "part": None, "gears": gears, "pieces": pieces,
             "error_to_onnx": max(errors)}
    for tensor in (*about["inputs"], *about["outputs"]):
        tensor["shape"][0] = -1
    about["made"] = provenance.made(output_path, model.meta["made"]["from"])
    cli.write_json(provenance.record_path(output_path), about)
    return dataclasses.replace(model, meta=about)


def part_of(batch, backend, onnx_model):
    """How many images of a batch the engine computes at a time.

    Fewer than the batch only where each core gets two parts or more: with one each, batch 4 on two
    cores was 0.98 times as fast.
    """
    part = backend.PART or batch
    too_few = batch % part or batch // part < 2 * cli.cores()
    if too_few or backend.device() != "CPU" or not graph.is_open(onnx_model):
        return batch
    return part


def calibrate(onnx_path, model, about, folder, aipp=None):
    """What int8's value ranges are taken from: ([one input for each image], what is recorded).

    `about` are the ONNX's facts. An input is float32 (1, 3, H, W) by the preprocessing that they
    name, or uint8 (1, H, W, 3) with `aipp`. Failure without a folder of readable images, without
    that preprocessing, and when the graph's batch is fixed.
    """
    if not folder:
        raise cli.Failure("PRECISION=int8 needs images to calibrate with",
                          "give training images: CALIB=/path/to/images (atc: HOST_CALIB=)")
    if "preprocessing" not in about or not graph.is_open(model):
        raise cli.Failure(f"{onnx_path}: int8 needs an open batch, and to know how its images are "
                          "prepared", "export it again (make onnx)")
    recipe = transforms.Recipe(**about["preprocessing"])
    images, said = calibration.read(folder, recipe.pixels if aipp else recipe)
    return [image[None] for image in images], {**said, "smooth_quant": host.smooth_quant()}
