"""A stand-in for ais_bench 0.0.2: batching, file names, formats, folders and texts as its source
has them (Ascend/tools at 9d6da90 is old, mjlovesz/sync-ait at c432ed5 is new), the numbers from
ONNX Runtime. It takes .bin alone, and no .om with AIPP.

FAKE_AIS_BENCH: old; oldest (throughput without .mean); new (checks of paths and rights, every
device runs all files); dashed (new, with --output-dirname). FAKE_ASCEND_SOC: the chip of this host.
FAKE_DEVICES: how many open. FAKE_AIS_DROP=n: the n-th result file is not written.
FAKE_AIS_KILL=n: killed before the n-th batch.
"""
import argparse
import json
import math
import os
import re
import signal
import stat
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
import om  # noqa: E402
import record  # noqa: E402

RELEASE = os.environ.get("FAKE_AIS_BENCH", "old")
NEW = RELEASE in ("new", "dashed")
PORTABLE = set("model input output outfmt loop device batchsize dymBatch".split())


def log(level, text):
    print(f"[{level}] {text}", flush=True)


def fail(text, error=""):
    log("ERROR", text)
    raise RuntimeError(error)


def legal(path, kind="import"):
    """Whether the newer release takes a path; it prints its reason when not."""
    if re.search(r"[^_A-Za-z0-9/.-]", path):
        log("ERROR", f"path:{path} contains illegal char, legal chars include A-Z a-z 0-9 _ - / .")
        return False
    if not os.path.lexists(path):
        return kind == "export"
    about = os.stat(path)
    if os.path.islink(path):
        log("ERROR", f"path :{path} is a soft link, not supported, please import file(or "
            "directory) directly")
    elif about.st_uid != os.geteuid() and about.st_gid not in os.getgroups():
        log("ERROR", f"current user isn't path:{path}'s owner or ownergroup, make sure current "
            "user belong to file(or directory)'s owner or ownergroup")
    elif about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        log("ERROR", f"The file {path} is group writable, or is others writable, as {kind} file(or "
            "directory), permission should not be over 0o755(rwxr-xr-x)")
    else:
        return True
    return False


def checked(what, kind="import"):
    def check(value):
        if NEW and not (legal(value, kind) and (what != "om" or value.endswith(".om"))):
            raise argparse.ArgumentTypeError(f"{what} path:{value} is illegal. Please check.")
        return value

    return check


def get_args():
    p = argparse.ArgumentParser(prog="ais_bench")

    def add(name, *short, **options):
        spelt = name.replace("_", "-") if RELEASE == "dashed" and name not in PORTABLE else name
        p.add_argument(f"--{spelt}", *short, dest=name, **options)

    add("model", "-m", required=True, type=checked("om"))
    add("input", "-i", type=checked("input"))
    add("output", "-o", type=checked("output", "export"))
    add("output_dirname", type=checked("output", "export"))
    add("outfmt", default="BIN", choices=["NPY", "BIN", "TXT"])
    add("loop", "-l", type=int, default=1)
    add("device", "-d", type=lambda text: [int(d) for d in text.split(",")], default=[0])
    add("batchsize", type=int)
    add("dymBatch", type=int, default=0)
    add("warmup_count", type=int, default=1)
    if NEW:
        add("divide_input", type=int, choices=[0, 1], default=0)
    return p.parse_args()


def files_of(folder):
    """The bins of a folder; the newer release refuses whatever else is wrong there."""
    paths = [os.path.join(folder, name) for name in sorted(os.listdir(folder))]
    for path in paths:
        if NEW and not legal(path):
            raise RuntimeError(f"input data:{path} is illegal")
    found = [path for path in paths if path.endswith(".bin")]
    return found or fail(f"{folder} of input args not find valid file,valid file format:"
                         "[*.npy *.NPY *.bin *.BIN]")


class Session:
    """One opened model: `size` bytes of its input, `run(bytes)` → outputs, `times` in ms."""

    def __init__(self, path, device, batch=0):
        import onnxruntime

        if device >= int(os.environ.get("FAKE_DEVICES", "4")):
            fail(f"open device {device} failed. ret=507033", "[-1][ACL: general failure] ")
        log("INFO", f"open device {device} success")
        self.about, onnx = om.read(path)
        if self.about.get("soc") != os.environ.get("FAKE_ASCEND_SOC", "Ascend310P3"):
            print("E19999: Inner Error!", flush=True)
            fail(f"load model from file failed, model file is {path}",
                 "[-1][ACL: general failure] ")
        log("INFO", f"load model {path} success")
        assert not self.about.get("aipp")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.ort = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
        (self.name, self.shape), = self.about["inputs"].items()
        gears = self.about.get("gears")
        if batch and (not gears or str(batch) not in gears.split(",")):
            fail(f"set dynamic batch {batch} failed, the model has {gears}")
        if gears:  # none chosen: the largest
            self.shape[0] = batch or max(map(int, gears.split(",")))
        self.batch, self.times = self.shape[0], []
        self.size = math.prod(self.shape) * 4

    def run(self, data, loop=1):
        if len(data) != self.size:
            fail(f"Check i:0 name:{self.name} in size:{len(data)} needsize:{self.size} not match",
                 "[-1][ACL: invalid parameter] ")
        array = np.frombuffer(data, np.float32).reshape(self.shape)
        for _ in range(loop):
            start = time.perf_counter()
            outputs = self.ort.run(None, {self.name: array})
            self.times.append((time.perf_counter() - start) * 1000)
        kind = {"FP16": np.float16, "FP32": np.float32}.get(self.about["output_type"])
        return [out.astype(kind or out.dtype) for out in outputs]


def save(path, array):
    if path.endswith(".npy"):
        np.save(path, array)
    elif path.endswith(".txt"):
        rows = array.reshape(-1, array.shape[-1])
        lines = ["".join(f"{value:f} " for value in row) for row in rows]
        Path(path).write_text("".join(f"{line}\n" for line in lines))
    else:
        array.tofile(path)
    if NEW:
        os.chmod(path, 0o640)


def report(times, batchsize, prefix, files):
    """Print the figures and write the summary; return the throughput."""
    figures = {"min": min(times), "max": max(times), "mean": float(np.mean(times)),
               "median": float(np.median(times)), "percentile(99%)": float(np.percentile(times, 99))}
    throughput = 1000 * batchsize / figures["mean"]
    spelt = "batchsize" if RELEASE == "oldest" else "batchsize.mean"
    log("INFO", "-----------------Performance Summary------------------")
    log("INFO", "NPU_compute_time (ms): " + ", ".join(f"{k} = {v}" for k, v in figures.items()))
    log("INFO", f"throughput 1000*{spelt}({batchsize})/NPU_compute_time.mean({figures['mean']}): "
        f"{throughput}")
    log("INFO", "------------------------------------------------------")
    if prefix:
        summary = {"filesinfo": files, "args": sys.argv, "throughput": throughput,
                   "NPU_compute_time": {**figures, "count": len(times)},
                   "npu_compute_time_list": times, "pid": os.getpid()}
        Path(f"{prefix}_summary.json").write_text(json.dumps(summary))
    return throughput


def infer(args, device, inputs, prefix):
    """One device: run all `inputs` (none: zeros), write results below `prefix` (None: nothing);
    return the throughput."""
    session = Session(args.model, device, args.dymBatch)
    if not args.batchsize:
        log("INFO", f"try get model batchsize:{session.batch}")
    if prefix:
        os.makedirs(prefix, 0o750 if NEW else 0o755, exist_ok=True)
        if NEW:
            os.chmod(args.output, 0o750)
        log("INFO", f"output path:{prefix}")
    step = 1
    if inputs:
        size = os.path.getsize(inputs[0])
        if size == 0 or session.size % size:
            fail(f"arg0 tensorsize: {session.size} filesize: {size} not match")
        step = session.size // size
        log("INFO", f"get filesperbatch files0 size:{size} tensor0size:{session.size} "
            f"filesperbatch:{step} runcount:{math.ceil(len(inputs) / step)}")
    batches = [inputs[i:i + step] for i in range(0, len(inputs), step)] or [["pure_infer_data"]]
    files = {}
    for i, batch in enumerate(batches):
        padded = batch + batch[:1] * (step - len(batch))
        data = b"".join(Path(p).read_bytes() for p in padded) if inputs else bytes(session.size)
        if i == 0:
            session.run(data, args.warmup_count)
            session.times.clear()
            log("INFO", f"warm up {args.warmup_count} done")
        if os.environ.get("FAKE_AIS_KILL") == str(i):
            os.kill(os.getpid(), signal.SIGKILL)
        outputs = session.run(data, args.loop)
        for k, output in enumerate(outputs if prefix else []):
            for name, piece in zip(batch, np.array_split(output, step)):  # noqa: B905
                stem = os.path.basename(name).split(".")[0]
                path = os.path.join(prefix, f"{stem}_{k}.{args.outfmt.lower()}")
                if os.environ.get("FAKE_AIS_DROP") != str(len(files)):
                    save(path, piece)
                files[str(len(files))] = {"infiles": [name], "outfiles": [path]}
    throughput = report(session.times, args.batchsize or session.batch, prefix, files)
    log("INFO", "unload model success, model Id is 1")
    return throughput


def several(args, inputs, folder):
    """As the releases do with a list of devices; return the exit status."""
    n = len(args.device)
    step = math.ceil(len(inputs) / n)
    pieces = [inputs[i * step:(i + 1) * step] for i in range(n)]
    if NEW and args.divide_input:
        pieces = [list(piece) for piece in np.array_split(inputs, n)]
    elif NEW:
        pieces = [inputs] * n
    done = []
    for i, (device, piece) in enumerate(zip(args.device, pieces)):  # noqa: B905
        try:
            if inputs and not piece:
                raise RuntimeError("Invalid args.   of --input is invalid")
            name = f"device{device}_{i}" if NEW else f"device{device}"
            done.append(infer(args, device, piece, folder and os.path.join(folder, name)))
            text = f"i:{i} device_{device} throughput:{done[-1]} start_time:1.0 end_time:2.0"
            log("INFO", text) if NEW else print(text)
        except RuntimeError as e:
            log("ERROR", f"subprocess run failed error_callback:{e}")
    log("INFO", f"summary throughput:{sum(done)}")
    return 0 if len(done) == n else 1


def main():
    record.call("ais_bench")
    args = get_args()
    inputs = files_of(args.input) if args.input else []
    dirname = args.output_dirname or time.strftime("%Y_%m_%d-%H_%M_%S")
    folder = os.path.join(args.output, dirname) if args.output else None
    if len(args.device) > 1:
        sys.exit(several(args, inputs, folder))
    infer(args, args.device[0], inputs, folder)
