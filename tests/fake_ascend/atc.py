"""A stand-in for CANN's atc.bin: records its call, answers as CANN's documents say (hicann/ge:
docs/en/user_guides/error_codes, api/atc/main_impl.cc), and writes an .om that the stand-in for
ais_bench can run. The vendor's `atc` is a shell script around it, and so is ours.

FAKE_ATC: ok; nofile; silent (exit 0 without the success line); linux (another name); killed (for
memory); slow (FAKE_ATC_SECONDS); later (a release without --op_select_implmode); or a code such as
EZ3002, which it fails with.
"""
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import om  # noqa: E402
import record  # noqa: E402

MODE = os.environ.get("FAKE_ATC", "ok")
OLD = {"optypelist_for_implmode", "op_select_implmode"}
FLAGS = OLD | set("""
    framework model output input_format input_shape soc_version log output_type
    op_precision_mode precision_mode precision_mode_v2
    keep_dtype modify_mixlist fusion_switch_file insert_op_conf enable_small_channel
    dynamic_batch_size buffer_optimize oo_level optimization_switch op_debug_level debug_dir
    """.split())
VALUES = {
    "framework": "5",
    "input_format": "NCHW|ND",
    "soc_version": r"Ascend(310|310P[1357](Vir0[1248])?|310B[1-4]|910[AB]|910(Pro|Premium)[AB]|"
                   r"910B[1-4]C?|910_93\d\d|950(PR|DT)_\w{4})",
    "output_type": "FP32|FP16|UINT8",
    "op_select_implmode": "high_(performance|precision)(_for_all)?",
    "enable_small_channel": "[01]",
    "log": "debug|info|warning|error|null",
    "model": r"[\w./-]+",
    "output": r"[\w./-]+",
}
# What FAKE_ATC makes it fail with.
TEXTS = {
    "E10016": "Op name GroupNorm specified in --input_shape is not found in the model. Confirm "
              "whether this node name exists.",
    "E16002": "No ONNX parser is registered for optype GroupNorm.",
    "EZ3002": "Optype [GroupNorm] of Ops kernel [AIcoreEngine] is unsupported. Reason: [tbe-custom]"
              ":op type GroupNorm is not found in this op store.",
    "E19999": "Inner Error! GroupNorm",
}


def fail(code, text):
    print("ATC run failed, Please check the detail log, Try 'atc --help' for more information")
    print(f"{code}: [PID: {os.getpid()}] 2023-05-01-10:00:00.000.000 {text}")
    print("        TraceBack (most recent call last):")
    sys.exit(255)


def get_flags(words):
    flags, known = {}, FLAGS - OLD if MODE == "later" else FLAGS
    if words == ["--help"]:
        print("usage: ./atc <args>", *(f"  --{name}    Set …" for name in sorted(known)), sep="\n")
        sys.exit()
    while words:
        name, equals, value = words.pop(0).partition("=")
        name = name.lstrip("-")
        if name not in known:
            print(f"ERROR: unknown command line flag '{name}'", file=sys.stderr)
            sys.exit(1)
        flags[name] = value if equals else words.pop(0)
    return flags


def check(flags):
    for name in {"framework", "soc_version", "model", "output", *flags}:
        if not flags.get(name):
            fail("E10054", f"The required parameter --{name} for ATC is empty.")
        if not re.fullmatch(VALUES.get(name, ".*"), flags[name]):
            fail("E10001", f"Value {flags[name]} for parameter --{name} is invalid. Reason: The "
                 "current value is not within the valid range.")
    if {"precision_mode", "precision_mode_v2"} <= set(flags):
        fail("E10056", "Cannot configure both parameters --precision_mode and --precision_mode_v2 "
             "simultaneously.")
    for name in ("model", "fusion_switch_file", "insert_op_conf", "op_precision_mode"):
        if name in flags and not Path(flags[name]).is_file():
            fail("E13001", f"Failed to open file {flags[name]}. Reason: [Error 2] No such file or "
                 "directory.")
    if "fusion_switch_file" in flags:
        switch = json.loads(Path(flags["fusion_switch_file"]).read_text())
        assert set(switch["Switch"]) <= {"GraphFusion", "UBFusion"}


def get_shapes(flags):
    """Return {input: dims} of the model with --input_shape filled in."""
    import onnx

    try:
        model = onnx.load(flags["model"])
    except Exception:
        fail("E10041", f"Failed to load the model from {flags['model']}.")
    opset = {o.domain: o.version for o in model.opset_import}[""]
    if opset > 18:
        fail("E16002", f"No ONNX parser is registered for optype ai.onnx::{opset}::Conv.")
    weights = {w.name for w in model.graph.initializer}
    shapes = {v.name: [d.dim_value or -1 for d in v.type.tensor_type.shape.dim]
              for v in model.graph.input if v.name not in weights}
    for part in filter(None, flags.get("input_shape", "").split(";")):
        name, _, dims = part.rpartition(":")
        given = [int(d) for d in dims.split(",")]
        if name not in shapes:
            fail("E10016", f"Op name {name} specified in --input_shape is not found in the model.")
        if len(given) != len(shapes[name]):
            fail("E10049", f"Dimension count {len(given)} configured in --input_shape does not "
                 f"match dimension count {len(shapes[name])}.")
        shapes[name] = given
    gears = flags.get("dynamic_batch_size")
    if gears and (not 1 < len(gears.split(",")) <= 100 or [d[0] for d in shapes.values()] != [-1]):
        fail("E10001", f"Value {gears} for parameter --dynamic_batch_size is invalid. Reason: 2 to "
             "100 batches, and -1 as the first dimension of --input_shape.")
    if any(d < 1 for dims in shapes.values() for d in dims[bool(gears):]):
        fail("E10011", "Shape values must be positive integers.")
    return shapes


def main():
    flags = get_flags(sys.argv[1:])
    record.call("atc")
    print("ATC start working now, please wait for a moment.", flush=True)
    check(flags)
    if flags.get("log", "null") != "null":
        root = os.environ.get("ASCEND_PROCESS_LOG_PATH") or Path.home() / "ascend/log"
        logs = Path(root) / "debug/plog"
        logs.mkdir(parents=True, exist_ok=True)
        (logs / f"plog-{os.getpid()}_20230501100000000.log").write_text("[ERROR] GE …\n")
    Path("kernel_meta").mkdir(exist_ok=True)
    Path("kernel_meta/te_conv.o").write_text("x")
    Path("fusion_result.json").write_text("{}")
    shapes = get_shapes(flags)
    print("..", end="", flush=True)
    if MODE == "killed":
        Path(f"{flags['output']}.om").write_bytes(om.MAGIC)  # half of it
        # A compiler that outlives it and holds its stdout.
        record.call("compiler", [subprocess.Popen(["sleep", "60"]).pid])
        os.kill(os.getpid(), signal.SIGKILL)
    if MODE == "slow":
        time.sleep(float(os.environ["FAKE_ATC_SECONDS"]))
    if MODE in TEXTS:
        fail(MODE, TEXTS[MODE])
    print("...")
    if MODE != "nofile":
        path = f"{flags['output']}{'_linux_x86_64' if MODE == 'linux' else ''}.om"
        aipp = Path(flags["insert_op_conf"]).read_text() if "insert_op_conf" in flags else None
        om.write(path, flags["model"], soc=flags["soc_version"], inputs=shapes,
                 gears=flags.get("dynamic_batch_size"),
                 output_type=flags.get("output_type"), aipp=aipp)
    if MODE != "silent":
        print("ATC run success, welcome to the next use.")
        print("W11001: [PID: 1] Op Conv_0 does not hit the high-priority operator information "
              "library, which might result in compromised performance.")


main()
