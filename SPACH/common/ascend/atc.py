"""Run CANN's atc and believe it only when it has done all it should: same flags, one whole file, what it is beside it.

    python3 -m common.ascend.atc --framework=5 --model=x.onnx --output=build/x_bs8 --input_format=NCHW \\
        --input_shape="input:8,3,224,224" --log=error --soc_version=auto

writes build/x_bs8.om and build/x_bs8.om.json. --soc_version=auto asks the host for its chip, 310P3 is written in full;
every other flag reaches atc as it is. atc runs in a scratch folder that holds links to the files it is to read, which
keeps kernel_meta/, fusion_result.json and the like out of the way, and paths with spaces from it.
"""
import argparse
import codecs
import contextlib
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import cli
from common.ascend import chip as soc
from common.ascend.errors import SUCCESS, explain
from tools.inspect import onnx_file

# Flags that name a file to read (CANN, atc, CLI_options), and those that name a folder to keep things in.
READS = set("model fusion_switch_file insert_op_conf keep_dtype modify_mixlist op_precision_mode customize_dtypes "
            "compression_optimize_conf op_debug_config op_name_map cluster_config weight".split())
KEEPS = set("debug_dir op_bank_path mdl_bank_path op_compiler_cache_dir".split())
OUTPUT_TYPES = {"FP32": "float32", "FP16": "float16", "UINT8": "uint8", "INT8": "int8"}
SAFE = re.compile(r"[A-Za-z0-9_./-]+")


def get_args(argv=None):
    """Return atc's flags as [[name, value]]; Usage when --model or --output is missing, or a value."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     usage="atc.py [-h] --model=FILE --output=PATH --soc_version=CHIP …",
                                     allow_abbrev=False)
    words, flags = parser.parse_known_args(argv)[1], []
    while words:
        name, equals, value = words.pop(0).partition("=")
        if not re.fullmatch(r"--?[a-z][\w-]*", name):
            raise cli.Usage(f"{name} is no flag of atc", "write flags as --name=value")
        if not equals and words and not words[0].startswith("-"):
            value = words.pop(0)
        flags.append([name.lstrip("-").replace("-", "_"), value])
    given = dict(flags)
    for name in ("model", "output"):
        if not given.get(name):
            raise cli.Usage(f"--{name} is missing or empty (E10054)", f"give --{name}=…")
    empty = [name for name, value in flags if not value and name != "soc_version"]
    if empty:
        raise cli.Usage(f"--{empty[0]} is empty (E10054)", "is a variable unset?")
    if given["output"].endswith(".om"):
        raise cli.Usage(f"--output={given['output']} has an ending", "leave .om away, atc adds it")
    return flags


def parse_shapes(text):
    """Return {name: [dims]} of an --input_shape."""
    shapes = {}
    for part in filter(None, text.split(";")):
        name, _, dims = part.strip().rpartition(":")
        if not name or not re.fullmatch(r"-?\d{1,9}(~\d+)?(,-?\d{1,9}(~\d+)?)*", dims.replace(" ", "")):
            raise cli.Usage(f"--input_shape={text} is not 'name:n,c,h,w' (E10002)", "quote it, and check its variables")
        shapes[name] = [int(d) if d.isdigit() else None for d in dims.replace(" ", "").split(",")]
    return shapes


def check_shapes(shapes, onnx, path):
    """Failure when --input_shape names an input that the onnx_file.Model has not, or leaves one open, or does not fit."""
    real = "; ".join(f"{name}:{','.join('n' if d is None else str(d) for d in t.dims or ())}"
                     for name, t in onnx.inputs.items())
    for name, dims in shapes.items():
        if name not in onnx.inputs:
            raise cli.Failure(f"input {name!r} of --input_shape is not in {path} (E10016)", f'its inputs: "{real}"')
        known = onnx.inputs[name].dims
        if known is not None and (len(known) != len(dims) or any(
                None not in (k, dims[i]) and k != dims[i] for i, k in enumerate(known))):
            raise cli.Failure(f"--input_shape {name}:{','.join(map(str, dims))} does not fit {path} (E10049)",
                              f'its inputs: "{real}"')
    missing = [name for name, t in onnx.inputs.items() if name not in shapes and (t.dims is None or None in t.dims)]
    if missing:
        raise cli.Failure(f"{path} leaves the shape of {missing[0]!r} open", f'give --input_shape, as in "{real}"')


def version(atc):
    """Return the release of the CANN toolkit that the program `atc` is of, or "unknown"."""
    roots = [Path(os.environ[v]) for v in ("ASCEND_TOOLKIT_HOME", "ASCEND_HOME_PATH") if os.environ.get(v)]
    roots += list(Path(atc).resolve().parents)[1:4]  # of bin/atc, compiler/bin/atc, x86_64-linux/…/bin/atc
    places = [("*-linux/ascend_toolkit_install.info", r"^version=(\S+)"), ("ascend_toolkit_install.info", r"^version=(\S+)"),
              ("version.cfg", r"^toolkit_running_version=\[(?:[^\]:]*:)?([^\]]+)\]"),
              ("compiler/version.info", r"^[Vv]ersion=(\S+)"), ("version.info", r"^[Vv]ersion=(\S+)")]
    for pattern, line in places:
        for root in roots:
            for file in sorted(root.glob(pattern)):
                found = re.search(line, file.read_text(errors="replace"), re.MULTILINE)
                if found:
                    return found[1]
    return "unknown"


def link_inputs(flags, scratch):
    """Link the files that `flags` read into `scratch`; return the flags as atc shall see them from there."""
    seen, ours = {}, []
    for name, value in flags:
        if name in READS:
            path = Path(value).absolute()
            if not path.is_file():
                raise cli.Failure(f"--{name}: {value} does not exist", "run make onnx, or check the path")
            value = re.sub(r"[^A-Za-z0-9_.-]", "_", path.name)
            value = value if seen.setdefault(value, path) == path else f"{name}-{value}"
            if not (scratch / value).exists():
                os.symlink(path, scratch / value) if SAFE.fullmatch(str(path)) else shutil.copyfile(path, scratch / value)
        elif name in KEEPS:
            value = str(Path(value).absolute())
        elif name == "output":
            value = re.sub(r"[^A-Za-z0-9_.-]", "_", Path(value).name)
        ours.append([name, value])
    return ours


def run(command, folder):
    """Run `command` in `folder`, showing what it prints; return (exit status, that text). Its children end with it."""
    process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, start_new_session=True)
    decoder, log = codecs.getincrementaldecoder("utf-8")("replace"), []
    try:
        # By pieces and not by lines, because atc prints dots; and by turns, because its children may outlive it.
        while True:
            if select.select([process.stdout], [], [], 1)[0]:
                piece = os.read(process.stdout.fileno(), 1 << 16)
                if not piece:
                    break
                log.append(decoder.decode(piece))
                sys.stdout.write(log[-1])
                sys.stdout.flush()
            elif process.poll() is not None:
                break
        if not "".join(log).endswith("\n"):
            print(flush=True)
        return process.wait(), "".join(log)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def describe(given, onnx, chip, atc, command):
    """Return what goes beside the .om: the keys that the CPU stand-in's files have, as far as they are known here.

    `given` are atc's flags, `onnx` is the onnx_file.Model of --model, `command` what was run.
    """
    shapes = parse_shapes(given.get("input_shape", ""))
    inputs = [{"name": name, "shape": shapes.get(name, tensor.dims), "dtype": tensor.dtype}
              for name, tensor in onnx.inputs.items()]
    if "insert_op_conf" in given:  # AIPP takes bytes, a pixel's three colours together
        inputs[0] = {**inputs[0], "shape": [inputs[0]["shape"][i] for i in (0, 2, 3, 1)], "dtype": "uint8"}
    batch = inputs[0]["shape"][0]
    outputs = [{"name": name, "shape": [d or batch for d in tensor.dims] if tensor.dims else None,
                "dtype": OUTPUT_TYPES.get(given.get("output_type"), tensor.dtype)} for name, tensor in onnx.outputs.items()]
    mode = given.get("precision_mode_v2") or given.get("precision_mode") or "fp16"
    return {"engine": "ascend", "engine_version": version(atc), "device": "NPU", "soc": chip, "batch": batch,
            "precision": "fp16" if mode == "force_fp16" else mode, "inputs": inputs, "outputs": outputs,
            "onnx": {"file": Path(given["model"]).name, "sha256": cli.sha256(given["model"]), "metadata": onnx.metadata},
            "command": command, "demo": onnx.metadata.get("demo") == "true"}


def main():
    flags = get_args()
    given = dict(flags)
    onnx = onnx_file.read(given["model"])
    check_shapes(parse_shapes(given.get("input_shape", "")), onnx, given["model"])
    atc = shutil.which("atc")
    if not atc or atc.endswith("common/cpu/bin/atc"):
        raise cli.Failure("CANN's atc is not on PATH", "source the set_env.sh of the toolkit, or use ENGINE=openvino")
    asked = given.get("soc_version", "auto")
    chip, where = soc.find("" if asked in ("", "auto") else asked)
    print(f"soc_version {chip} (from {where})", flush=True)
    flags = [[name, chip if name == "soc_version" else value] for name, value in flags]
    flags += [] if "soc_version" in given else [["soc_version", chip]]

    output = Path(f"{given['output']}.om")
    output.parent.mkdir(parents=True, exist_ok=True)
    scratch = output.with_name(f".{output.stem}.atc")
    if not SAFE.fullmatch(str(scratch.absolute())):
        scratch = Path(tempfile.gettempdir(), f"atc-{os.getpid()}")
    shutil.rmtree(scratch, ignore_errors=True)  # of a run that was killed
    scratch.mkdir()
    try:
        ours = link_inputs(flags, scratch)
        command = ["atc"] + [f"--{name}={value}" for name, value in ours]
        since = time.time()
        status, log = run([atc] + command[1:], scratch)
        # With host code in it, atc names the file x_linux_aarch64.om.
        made = sorted(p for p in scratch.glob(f"{dict(ours)['output']}*.om") if p.stat().st_size)
        if status or SUCCESS not in log or not made:
            raise explain(output, status, log, since)
        sidecar = {**describe(given, onnx, chip, atc, command), "size": made[0].stat().st_size, "sha256": cli.sha256(made[0])}
        with cli.whole_file(output) as part:
            shutil.move(str(made[0]), str(part))
            part.chmod(0o640)  # ais_bench refuses what others may write
            cli.write_json(f"{output}.json", sidecar)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    print(f"wrote {output} (CANN {sidecar['engine_version']}, {chip}, {sidecar['precision']}, batch {sidecar['batch']}, "
          f"{sidecar['size'] / 1e6:.1f} MB)")


if __name__ == "__main__":
    cli.run(main)
