"""Run CANN's atc, and believe it only when it has done all it should: one whole file, its record.

    python3 -m common.ascend.atc --framework=5 --model=x.onnx --output=build/x_bs8 \\
        --input_format=NCHW --input_shape="input:8,3,224,224" --log=error --soc_version=auto

writes build/x_bs8.om and build/x_bs8.om.json. --soc_version=auto asks the host for its chip and
310P3 is written in full; every other flag reaches atc as it is. atc runs in a scratch folder with
copies of the files it reads, which keeps kernel_meta/ and the like out of the way, and odd
characters from it. A path inside a configuration file has to be absolute for that reason.
"""
from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from common import cli, provenance, toolchain
from common.ascend import chip, errors, toolkit

# Flags that name a file to read (GE, CLI_options), and those that name a folder to keep things in.
READS = {"model", "weight", "fusion_switch_file", "insert_op_conf", "keep_dtype", "modify_mixlist",
         "op_precision_mode", "customize_dtypes", "compression_optimize_conf", "op_debug_config",
         "op_name_map", "cluster_config", "raw_ge_options"}
KEEPS = {"debug_dir", "op_bank_path", "mdl_bank_path", "op_compiler_cache_dir"}
OUTPUT_TYPES = {"FP32": "float32", "FP16": "float16", "UINT8": "uint8", "INT8": "int8"}
ODD = re.compile(r"[^A-Za-z0-9_.-]")  # what atc takes in no path


def get_args(argv=None):
    """Return atc's flags as [[name, value]]; Usage for what atc would misread."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="atc.py [-h] --model=FILE --output=PATH --soc_version=CHIP …", allow_abbrev=False)
    words = parser.parse_known_args(argv)[1]
    flags = []
    while words:
        name, equals, value = words.pop(0).partition("=")
        if not equals and words and not words[0].startswith("-"):
            value = words.pop(0)
        flags.append([name.lstrip("-").replace("-", "_"), value])
        if not name.startswith("-"):
            raise cli.Usage(f"{name} is no flag of atc", "write flags as --name=value")
    given = dict(flags)
    missing = [name for name, value in {"model": "", "output": "", **given}.items()
               if not value and name != "soc_version"]
    if missing:
        raise cli.Usage(f"--{missing[0]} is missing or empty (E10054)", "is a variable unset?")
    if given["output"].endswith(".om"):
        raise cli.Usage(f"--output={given['output']} has an ending", "omit .om, atc adds it")
    return flags


def find_atc():
    """Path of CANN's atc; Failure that says which file to source when it is not there."""
    atc = shutil.which("atc")
    if atc and "common/cpu" not in atc:
        return atc
    there = toolkit.installed()
    todo = f"source {there[0]} first" if there else "install CANN's toolkit"
    raise cli.Failure("CANN's atc is not on the PATH", f"{todo}, or say ENGINE=openvino")


def facts_of_onnx(path):
    """What the record of an ONNX says of it; Failure when it is of another file."""
    if not Path(path).is_file():
        raise cli.Failure(f"--model: {path} does not exist", "run make onnx, or check the path")
    about = provenance.read(path)
    wrong = provenance.misfit(path) if about else None
    if wrong:
        raise cli.Failure(f"{path} {wrong}", f"run make onnx again, or delete {path}.json")
    if not about:
        print(f"note: {path} has no record ({path}.json), so nothing is known of its weights")
    facts = {name: value for name, value in (about or {}).items() if name != "made"}
    # What amct.py quantised keeps the name and hash of the ONNX that it was made from.
    return facts if "quantised" in facts else {
        **facts, "file": Path(path).name, "sha256": cli.sha256(path)}


def modernise(flags, atc):
    """Return `flags` as this atc takes them: where its --help has --op_select_implmode no more, a
    file for --op_precision_mode says the same (GE, CLI_options/--op_precision_mode.md)."""
    given = dict(flags)
    mode, operators = given.get("op_select_implmode"), given.get("optypelist_for_implmode")
    said = (toolkit.call([atc, "--help"], 60)[0] or "") if mode and operators else ""
    if "--op_precision_mode" not in said or "--op_select_implmode" in said:
        return flags
    old = ("op_select_implmode", "optypelist_for_implmode")
    flags = [flag for flag in flags if flag[0] not in old]
    if "op_precision_mode" not in given:
        path = Path(f"{given['output']}.ini")
        with cli.whole_file(path) as part:
            lines = [f"{operator}={mode}\n" for operator in operators.split(",")]
            part.write_text("[ByOpType]\n" + "".join(lines))
        print(f"note: this atc has no --op_select_implmode; {path} says the same")
        flags.append(["op_precision_mode", str(path)])
    return flags


def copy_inputs(flags, scratch):
    """Copy the files that `flags` read into `scratch`; return the flags as atc will see them."""
    ours = []
    for name, value in flags:
        if name in READS:
            if not Path(value).is_file():
                raise cli.Failure(f"--{name}: {value} does not exist", "check the path")
            path, value = value, ODD.sub("_", Path(value).name)
            value = f"{name}-{value}" if (scratch / value).exists() else value
            shutil.copyfile(path, scratch / value)
        elif name in KEEPS:
            value = str(Path(value).absolute())
        elif name == "output":
            value = ODD.sub("_", Path(value).name)
        ours.append([name, value])
    return ours


def run(command, folder):
    """Run `command` in `folder`, showing what it prints; return (exit status, that text).

    Through a file and not a pipe, because its compilers may outlive it and would hold a pipe open;
    they end with it.
    """
    path = folder / "atc.log"
    with open(path, "wb") as out:
        try:
            process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=out,
                                       stderr=subprocess.STDOUT, start_new_session=True)
        except OSError as e:  # an atc of another architecture, where it is no shell script
            return 126, f"{command[0]}: {e.strerror}"
    with open(path, encoding="utf-8", errors="replace") as log:
        try:
            while process.poll() is None:
                print(log.read(), end="", flush=True)
                time.sleep(0.1)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        print(log.read(), flush=True)
    return process.returncode, path.read_text(encoding="utf-8", errors="replace")


def describe(given, onnx, soc, atc):
    """The facts of an .om's record: those that a CPU artefact has too, and the chip."""
    shapes = toolchain.parse_shapes(given.get("input_shape", ""))
    inputs = [{"name": name, "shape": dims, "dtype": "float32"} for name, dims in shapes.items()]
    batch = inputs[0]["shape"][0] if inputs else None
    if "insert_op_conf" in given and inputs:  # AIPP takes bytes, a pixel's three colours together
        if len(inputs[0]["shape"]) != 4:
            raise cli.Usage("AIPP takes images", "give --input_shape as name:N,C,H,W")
        n, *c, h, w = inputs[0]["shape"]
        inputs[0].update(shape=[n, h, w, *c], dtype="uint8")
    kind = OUTPUT_TYPES.get(given.get("output_type", "FP32"))
    outputs = [{"name": onnx.get("output"), "shape": [batch, onnx.get("classes")], "dtype": kind}]
    gears = given.get("dynamic_batch_size")
    mode = given.get("precision_mode_v2") or given.get("precision_mode") or "fp16"
    mode = "int8" if "quantised" in onnx else mode
    folders = [toolkit.loaded(), *Path(atc).resolve().parents[1:4]]
    cann = toolkit.release(*filter(None, folders))
    return {
        "engine": "ascend", "engine_version": cann, "cann": cann, "device": "NPU", "soc": soc,
        "precision": "fp16" if mode == "force_fp16" else mode, "batch": batch,
        "gears": toolchain.parse_gears(gears) if gears else None,
        "inputs": inputs, "outputs": outputs if onnx.get("output") else [],
        "onnx": onnx, "demo": bool(onnx.get("demo")),
    }


def convert(flags, atc, scratch, output):
    """Run atc with `flags` in `scratch`, give `output` its file, return the command; or Failure."""
    ours = copy_inputs(flags, scratch)
    command = ["atc", *(f"--{name}={value}" for name, value in ours)]
    since = time.time()
    status, log = run([atc, *command[1:]], scratch)
    # With host code in it, atc names the file x_linux_aarch64.om.
    made = [p for p in scratch.glob(f"{dict(ours)['output']}*.om") if p.stat().st_size]
    if status or errors.SUCCESS not in log or not made:
        why, todo = errors.explain(log, status, "atc")
        raise cli.Failure(f"atc made no {output}: {why}",
                          f"{todo} (CANN's log: {errors.plog(since)})")
    with cli.whole_file(output) as part:
        shutil.move(str(made[0]), str(part))
        part.chmod(0o640)  # ais_bench refuses what others may write
    return command


def main():
    flags = get_args()
    given = dict(flags)
    onnx = facts_of_onnx(given["model"])
    atc = find_atc()
    soc, where = chip.find(given.get("soc_version", ""))
    print(f"soc_version {soc} (from {where})", flush=True)
    facts = describe(given, onnx, soc, atc)
    flags = [flag for flag in flags if flag[0] != "soc_version"] + [["soc_version", soc]]
    flags = modernise(flags, atc)
    output = Path(f"{given['output']}.om")
    with tempfile.TemporaryDirectory(prefix="atc-") as scratch:
        command = convert(flags, atc, Path(scratch), output)
    read = [value for name, value in flags if name in READS]
    provenance.record(output, read, **facts, command=command)
    print(f"wrote {output} (CANN {facts['cann']}, {soc}, {facts['precision']}, "
          f"batch {facts['batch'] or facts['gears']}, {output.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    cli.run(main)
