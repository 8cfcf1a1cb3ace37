#!/usr/bin/env python3
"""`atc` on a host that has no NPU: the same flags; compiles an ONNX for this CPU, writes no .om.

    source common/cpu/set_env.sh
    atc --framework=5 --model=x.onnx --output=x_bs8 --input_format=NCHW \\
        --input_shape="input:8,3,224,224"

writes x_bs8.blob (OpenVINO) or, with HOST_ENGINE=onnxruntime, x_bs8.ort, and beside it
x_bs8.blob.json, which says what is in it. The computation is float32, or with HOST_PRECISION=bf16
or int8 that; int8 is calibrated with the images of --calibration (or HOST_CALIB), a folder. Exit
status: 0 done, 1 failed, 2 called wrongly.
"""
import argparse
import os
import sys
from pathlib import Path

# The model folder has to be on sys.path before common is imported.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from common import cli, toolchain  # noqa: E402
from common.cpu import which  # noqa: E402

# They choose an NPU, how its operators are built, or what atc logs.
WITHOUT_EFFECT = (
    "soc_version log optypelist_for_implmode op_select_implmode op_precision_mode precision_mode "
    "precision_mode_v2 keep_dtype modify_mixlist fusion_switch_file enable_small_channel "
    "buffer_optimize oo_level optimization_switch").split()
# They change what the offline model takes.
REFUSED = ("dynamic_batch_size", "dynamic_image_size", "dynamic_dims", "input_shape_range")
FIXED = "shapes are fixed here; compile one offline model for each batch size"
VALUES = {"framework": ["5"], "input_format": ["NCHW"], "output_type": ["FP32", "FP16"]}


def get_args(argv=None):
    p = argparse.ArgumentParser("atc", description=__doc__, allow_abbrev=False,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--framework", required=True, help="5, which is ONNX")
    p.add_argument("--model", required=True, help="the .onnx")
    p.add_argument("--output", required=True, help="path of the offline model, without ending")
    p.add_argument("--input_format", default="NCHW", help="NCHW")
    p.add_argument("--input_shape", help='"name:n,c,h,w", more inputs after a semicolon')
    p.add_argument("--insert_op_conf", help="AIPP: the model takes bytes and normalises them "
                   "itself (common/toolchain.py writes it)")
    p.add_argument("--output_type", default="FP32", help="FP32 or FP16: the type of the outputs")
    p.add_argument("--calibration", default=os.environ.get("HOST_CALIB") or None,
                   help="the stand-in's own: folder of images for HOST_PRECISION=int8")
    for name in WITHOUT_EFFECT:
        p.add_argument(f"--{name}", help="taken, without effect here")
    for name in REFUSED:
        p.add_argument(f"--{name}", help=f"refused: {FIXED}")
    args = p.parse_args(argv)
    check_args(args)
    return args


def check_args(args):
    """Usage for an empty flag, and for what the stand-in does not have."""
    for name, value in vars(args).items():
        if value == "":
            raise cli.Usage(f"--{name} is empty (E10054)", "is a shell variable unset?")
        if value is not None and name in REFUSED:
            raise cli.Usage(f"--{name} is not on the CPU stand-in", FIXED)
    for name, good in VALUES.items():
        if getattr(args, name) not in good:
            raise cli.Usage(f"--{name}={getattr(args, name)} is not on the CPU stand-in (E10001)",
                            f"give {' or '.join(good)}")
    if Path(args.output).suffix in (".om", *which.ENDINGS.values()):
        raise cli.Usage(f"--output={args.output} has an ending", "omit it, the engine adds its own")


def find_batch(text, inputs, path):
    """The batch that --input_shape `text` (or None) asks for; `inputs` are those of graph.inputs.

    Failure or Usage when a name is not in the graph, an open input is not named, or the dimensions
    do not fit.
    """
    shapes = {name: dims for name, dims in inputs.items() if None not in dims}
    shapes.update(toolchain.parse_shapes(text or ""))
    as_text = [f"{name}:{','.join('n' if d is None else str(d) for d in dims)}"
               for name, dims in inputs.items()]
    todo = f'its inputs: "{"; ".join(as_text)}"'
    for name, dims in shapes.items():
        check_shape(name, dims, inputs, path, todo)
    missing = sorted(set(inputs) - set(shapes))
    if missing:
        raise cli.Usage(f"{path} leaves the shape of {', '.join(missing)} open; give --input_shape",
                        todo)
    batches = {dims[0] for dims in shapes.values() if dims}
    if len(batches) != 1:
        raise cli.Failure(f"the inputs of {path} have no common batch", todo)
    return batches.pop()


def check_shape(name, dims, inputs, path, todo):
    """Failure or Usage when the `dims` given for an input are not those of the graph."""
    if not all(dims):
        raise cli.Usage(f"--input_shape leaves a dimension of {name!r} open (E10011)", FIXED)
    if name not in inputs:
        raise cli.Failure(f"input {name!r} of --input_shape is not in {path} (E10016)", todo)
    if len(dims) != len(inputs[name]):
        raise cli.Failure(f"--input_shape gives {name!r} {len(dims)} dimensions, {path} has "
                          f"{len(inputs[name])} (E10049)", todo)
    if any(known not in (None, given) for known, given in zip(inputs[name], dims, strict=True)):
        raise cli.Failure(f"--input_shape {name}:{','.join(map(str, dims))} does not fit {path}",
                          todo)


def compile_as(args):
    """Compile as the command line says → (engine.Model, path of its file)."""
    from common.cpu import compiler, graph  # they import onnx; --help does without it

    name = which.from_environment() or "openvino"
    batch = find_batch(args.input_shape, graph.inputs(graph.read(args.model)), args.model)
    output = Path(args.output + which.ENDINGS[name])
    model = compiler.compile_onnx(
        args.model, batch, name, output, args.output_type, args.insert_op_conf,
        which.precision(), args.calibration)
    return model, output


def main():
    args = get_args()
    print("ATC start working now, please wait for a moment.", flush=True)
    try:
        model, output = compile_as(args)
    except cli.Failure:
        print("ATC run failed.", flush=True)
        raise
    batch, part = model.meta["batch"], model.meta["part"]
    parts = f", each core {part} images at a time" if part < batch else ""
    print(f"This is the CPU stand-in for atc: {model.title}, {model.precision}, for "
          f"{model.meta['cpu']}{parts}; no NPU can run its file. Largest error to the ONNX: "
          f"{model.meta['error_to_onnx']:.1e} of the output's scale.")
    idle = [f"--{name}" for name in WITHOUT_EFFECT if getattr(args, name) is not None]
    if idle:
        print(f"Without effect here: {', '.join(idle)}.")
    print("ATC run success, welcome to the next use.")
    types = ", FP16 outputs" if args.output_type == "FP16" else ""
    types += ", uint8 input" if args.insert_op_conf else ""
    print(f"wrote {output} ({model.title}, CPU, {model.precision}{types}, batch {batch}, "
          f"{output.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    cli.run(main)
