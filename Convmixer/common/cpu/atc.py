#!/usr/bin/env python3
"""`atc` on a host that has no NPU: the same flags; compiles an ONNX for this CPU, writes no .om.

    source common/cpu/set_env.sh
    atc --framework=5 --model=x.onnx --output=x_bs8 --input_format=NCHW \\
        --input_shape="input:8,3,224,224"

writes x_bs8.blob (OpenVINO) or, with HOST_ENGINE=onnxruntime, x_bs8.ort, and beside it
x_bs8.blob.json, which says what is in it. The computation is float32, or with HOST_PRECISION=bf16
or int8 that; int8 is calibrated with the images of --calibration (or HOST_CALIB), a folder. With
HOST_PRECISION=fp16 it is an estimate of an NPU's float16 (half.py), always by ONNX Runtime. Shapes
are fixed: one offline model for each batch size, or one file that holds several
(--input_shape="input:-1,3,224,224" --dynamic_batch_size="1,4,8").
Exit status: 0 done, 1 failed, 2 called wrongly.
"""
import argparse
import os
import signal
import sys
from pathlib import Path

# The model folder has to be on sys.path before common is imported.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from common import cli, toolchain  # noqa: E402
from common.cpu import engine, host  # noqa: E402

# They choose an NPU, how its operators are built, or what atc logs.
WITHOUT_EFFECT = (
    "soc_version log optypelist_for_implmode op_select_implmode op_precision_mode precision_mode "
    "precision_mode_v2 keep_dtype modify_mixlist fusion_switch_file enable_small_channel "
    "buffer_optimize oo_level optimization_switch").split()


def get_args(argv=None):
    p = argparse.ArgumentParser("atc", description=__doc__, allow_abbrev=False,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--framework", required=True, choices=["5"], help="5, which is ONNX")
    p.add_argument("--model", required=True, help="the .onnx")
    p.add_argument("--output", required=True, help="path of the offline model, without ending")
    p.add_argument("--input_format", default="NCHW", choices=["NCHW"], help="NCHW")
    p.add_argument("--input_shape", help='"name:n,c,h,w"')
    p.add_argument("--dynamic_batch_size", help='"1,4,8": one file for several batches')
    p.add_argument("--insert_op_conf", help="AIPP: the model takes bytes and normalises them "
                   "itself (common/toolchain.py writes it)")
    p.add_argument("--output_type", default="FP32", choices=["FP32", "FP16"],
                   help="the type of the outputs")
    p.add_argument("--calibration", default=os.environ.get("HOST_CALIB") or None,
                   help="the stand-in's own: folder of images for HOST_PRECISION=int8")
    for name in WITHOUT_EFFECT:
        p.add_argument(f"--{name}", help="taken, without effect here")
    args = p.parse_args(argv)
    empty = [name for name, value in vars(args).items() if value == ""]
    if empty:
        raise cli.Usage(f"--{empty[0]} is empty (E10054)", "is a shell variable unset?")
    if Path(args.output).suffix in (".om", *host.ENDINGS.values()):
        raise cli.Usage(f"--output={args.output} has an ending", "omit it, the engine adds its own")
    return args


def chosen():
    """(engine, precision) of HOST_ENGINE and HOST_PRECISION; Usage for names that are none."""
    precision = host.choice("HOST_PRECISION", host.PRECISIONS) or "f32"
    usual = "onnxruntime" if precision == "fp16" else "openvino"
    return host.choice("HOST_ENGINE", host.ENDINGS) or usual, precision


def find_batch(text, name, known, path, gears=None):
    """The batch that --input_shape `text` (or None) asks for an input whose dimensions are `known`.
    With `gears`, those of --dynamic_batch_size, it is -1 there, and the largest is returned.

    Failure or Usage when it names another input, leaves a dimension open, or does not fit.
    """
    shape = ",".join("n" if d is None else str(d) for d in known)
    todo = f'it takes "{name}:{shape}", for one batch size n'
    shapes = toolchain.parse_shapes(text) if text else {name: known}
    other = [given for given in shapes if given != name]
    if other:
        raise cli.Failure(f"input {other[0]!r} of --input_shape is not in {path} (E10016)", todo)
    dims = shapes.get(name, [None])
    if gears and dims and dims[0]:
        raise cli.Usage(f"--dynamic_batch_size needs -1 as the batch of {name!r}", todo)
    dims = [gears[-1], *dims[1:]] if gears and dims else dims
    if not dims or not all(dims):
        raise cli.Usage(f"the shape of {name!r} is open (E10011); give --input_shape", todo)
    if len(dims) != len(known) or any(k not in (None, d) for k, d in zip(known, dims, strict=True)):
        raise cli.Failure(f"--input_shape {name}:{','.join(map(str, dims))} does not fit {path} "
                          "(E10049)", todo)
    return dims[0]


def main():
    args = get_args()
    print("ATC start working now, please wait for a moment.", flush=True)
    try:
        from common.cpu import compiler, graph  # they import onnx; --help does without it

        name, precision = chosen()
        value, = graph.inputs(graph.read(args.model))
        gears = args.dynamic_batch_size and toolchain.parse_gears(args.dynamic_batch_size)
        dims = graph.dims_of(value)
        batch = find_batch(args.input_shape, value.name, dims, args.model, gears)
        output = Path(args.output + host.ENDINGS[name])
        compile_it = compiler.compile_gears if gears else compiler.compile_onnx
        model = compile_it(args.model, gears or batch, name, output, args.output_type,
                           args.insert_op_conf, precision, args.calibration)
    except cli.Failure:
        print("ATC run failed.", flush=True)
        raise
    part = model.meta["part"]  # None with several batches
    notes = [model.meta["note"], (model.meta["calibration"] or {}).get("note")]
    parts = f", each core {part} images at a time" if part and part < batch else ""
    print(f"This is the CPU stand-in for atc: {model.title}, {precision}, for "
          f"{model.meta['cpu']}{parts}; no NPU can run its file. Largest error to the ONNX: "
          f"{model.meta['error_to_onnx']:.1e} of the output's scale.")
    idle = [f"--{name}" for name in WITHOUT_EFFECT if getattr(args, name) is not None]
    if idle:
        print(f"Without effect here: {', '.join(idle)}.")
    for note in filter(None, notes):
        print(f"note: {note}")
    print("ATC run success, welcome to the next use.")
    types = ", FP16 outputs" if args.output_type == "FP16" else ""
    types += ", uint8 input" if args.insert_op_conf else ""
    print(f"wrote {output} ({model.title}, CPU, {precision}{types}, "
          f"batch {', '.join(map(str, gears or [batch]))}, {output.stat().st_size / 1e6:.1f} MB)")


def child():
    """How a process of its own that runs main() ended, as os.waitpid() says it.

    Forked before numpy or an engine is imported: it costs a millisecond.
    """
    number = os.fork()
    if not number:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        main()
        if sys.stdout:  # closed by the caller: there is none
            sys.stdout.flush()
        os._exit(0)  # the file is whole and checked: no engine may crash while it is unloaded
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the child to report
    return os.waitpid(number, 0)[1]


def apart():
    """main() in a process of its own, so that an engine's crash leaves one to say so.

    An int8 model that crashes (XCiT did) is tried again with NNCF's SmoothQuant. Failure when a
    signal ended that process.
    """
    args = get_args()
    (name, precision), status = chosen(), child()
    crashes = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)
    crashed = os.WIFSIGNALED(status) and os.WTERMSIG(status) in crashes
    if crashed and precision == "int8" and not host.smooth_quant():
        print("note: OpenVINO crashed; now with SmoothQuant, NNCF's default", flush=True)
        os.environ["HOST_SMOOTHQUANT"] = "1"
        status = child()
    if not os.WIFSIGNALED(status):
        sys.exit(os.WEXITSTATUS(status))
    print("ATC run failed.", flush=True)
    number = os.WTERMSIG(status)
    todo = engine.LESS if number == signal.SIGKILL else host.remedy(name, precision)
    raise cli.Failure(f"{name} was ended by {signal.Signals(number).name} while it compiled or "
                      f"checked {args.model} in {precision}", todo)


if __name__ == "__main__":
    cli.run(apart)
