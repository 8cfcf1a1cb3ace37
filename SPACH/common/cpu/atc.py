#!/usr/bin/env python3
"""`atc` on a host that has no NPU: the same flags; compiles an ONNX for this CPU and writes no .om.

    source common/cpu/set_env.sh
    atc --framework=5 --model=x.onnx --output=x_bs8 --input_format=NCHW --input_shape="input:8,3,224,224"

writes x_bs8.blob (OpenVINO) or, with HOST_ENGINE=onnxruntime, x_bs8.ort, and beside it x_bs8.blob.json, which says
what is in it. The computation is float32, or with HOST_PRECISION=bf16 or int8 that; int8 is calibrated with the images
of the folder HOST_CALIB. Exit status: 0 done, 1 failed, 2 called wrongly.
"""
import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from common import cli  # noqa: E402  the model folder has to be on sys.path first
from common.ascend import aipp  # noqa: E402  the model folder has to be on sys.path first
from common.ascend.atc import parse_shapes  # noqa: E402
from common.cpu import engine, which  # noqa: E402

# They choose an NPU, how its operators are built, or what atc logs.
WITHOUT_EFFECT = ("soc_version log optypelist_for_implmode op_select_implmode op_precision_mode precision_mode "
                  "precision_mode_v2 keep_dtype modify_mixlist fusion_switch_file enable_small_channel buffer_optimize "
                  "oo_level optimization_switch").split()
# They change what the offline model takes or computes.
REFUSED = {**dict.fromkeys(("dynamic_batch_size", "dynamic_image_size", "dynamic_dims", "input_shape_range"),
                           "shapes are fixed here; compile one offline model a batch size")}


def get_args(argv=None):
    p = argparse.ArgumentParser("atc", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                allow_abbrev=False)
    p.add_argument("--framework", required=True, help="5, which is ONNX")
    p.add_argument("--model", required=True, help="the .onnx")
    p.add_argument("--output", required=True, help="path of the offline model, without ending")
    p.add_argument("--input_format", default="NCHW", help="NCHW")
    p.add_argument("--input_shape", help='"name:n,c,h,w", more inputs after a semicolon; n is the batch')
    p.add_argument("--insert_op_conf", help="AIPP: the model takes bytes and normalises them itself (common/ascend/aipp.py)")
    p.add_argument("--output_type", default="FP32", help="FP32 or FP16: the type of the outputs")
    for name in WITHOUT_EFFECT:
        p.add_argument(f"--{name}", help="taken and named, without effect here")
    for name, why in REFUSED.items():
        p.add_argument(f"--{name}", help=f"refused: {why}")
    args = p.parse_args(argv)
    for name, value in vars(args).items():
        if value == "":
            raise cli.Usage(f"--{name} is empty (E10054)", "is a shell variable unset?")
        if value is not None and name in REFUSED:
            raise cli.Usage(f"--{name} is not on the CPU stand-in", REFUSED[name])
    for name, good in {"framework": ["5"], "input_format": ["NCHW"], "output_type": ["FP32", "FP16"]}.items():
        if getattr(args, name) not in good:
            raise cli.Usage(f"--{name}={getattr(args, name)} is not on the CPU stand-in (E10001)",
                            f"give {' or '.join(good)}")
    if Path(args.output).suffix in (".om", *which.ENDINGS.values()):
        raise cli.Usage(f"--output={args.output} has an ending", "leave it away, the engine sets its own")
    return args


def fixed_shapes(text):
    """Return {name: [dims]} of an --input_shape; Usage when it is no such text, or leaves a dimension open."""
    shapes = parse_shapes(text)
    if not all(all(dims) for dims in shapes.values()):
        raise cli.Usage(f"--input_shape={text} leaves a dimension open (E10011)", REFUSED["dynamic_batch_size"])
    return shapes


def find_batch(text, inputs, path):
    """Return the batch that --input_shape `text` (or None) asks for; `inputs` are the graph's, see graph.inputs.

    Failure or Usage when a name is not in the graph, an open input is not named, or the dimensions do not fit.
    """
    shapes = {**{n: d for n, d in inputs.items() if None not in d}, **(fixed_shapes(text) if text else {})}
    real = "; ".join(f"{n}:{','.join('n' if d is None else str(d) for d in dims)}" for n, dims in inputs.items())
    for name, dims in shapes.items():
        if name not in inputs:
            raise cli.Failure(f"input {name!r} of --input_shape is not in {path} (E10016)", f'its inputs: "{real}"')
        if len(dims) != len(inputs[name]):
            raise cli.Failure(f"--input_shape gives {name!r} {len(dims)} dimensions, {path} has {len(inputs[name])} "
                              "(E10049)", f'its inputs: "{real}"')
        if any(known not in (None, given) for known, given in zip(inputs[name], dims, strict=True)):
            raise cli.Failure(f"--input_shape {name}:{','.join(map(str, dims))} does not fit {path}",
                              f'its inputs: "{real}"')
    missing = sorted(set(inputs) - set(shapes))
    if missing:
        raise cli.Usage(f"{path} leaves the shape of {', '.join(missing)} open", f'give --input_shape, as in "{real}"')
    batches = {dims[0] for dims in shapes.values() if dims}
    if len(batches) != 1:
        raise cli.Failure(f"the inputs of {path} have no common batch", f'its inputs: "{real}"')
    return batches.pop()


def main():
    args = get_args()
    from common.cpu import graph  # onnx takes long to import, --help does without it

    name = which.from_environment() or "openvino"
    print("ATC start working now, please wait for a moment.", flush=True)
    try:
        batch = find_batch(args.input_shape, graph.inputs(graph.read(args.model)), args.model)
        output = Path(args.output + which.ENDINGS[name])
        conf = aipp.read(args.insert_op_conf) if args.insert_op_conf else None
        model = engine.compile_onnx(args.model, batch, name, output, args.output_type, ["atc", *sys.argv[1:]], conf,
                                    which.precision(), os.environ.get("HOST_CALIB"))
    except cli.Failure:
        print("ATC run failed.", flush=True)
        raise
    parts = f", each core {model.meta['part']} images at a time" if model.meta["part"] < batch else ""
    print(f"This is the CPU stand-in for atc: {model.title}, {model.precision}, for {which.cpu()[0]}{parts}; no NPU can run "
          f"its file. Largest error to the ONNX: {model.meta['error_to_onnx']:.1e} of the output's scale.")
    idle = [f"--{n}" for n in WITHOUT_EFFECT if getattr(args, n) is not None]
    if idle:
        print(f"Without effect here: {', '.join(idle)}.")
    print("ATC run success, welcome to the next use.")
    results = (", FP16 outputs" if args.output_type == "FP16" else "") + (", uint8 input" if conf else "")
    print(f"wrote {output} ({model.title}, CPU, {model.precision}{results}, batch {batch}, "
          f"{output.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    cli.run(main)
