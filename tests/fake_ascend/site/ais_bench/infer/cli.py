"""A stand-in for ais_bench 0.0.2: batching, file names, formats, folders and texts as its source
has them (Ascend/tools at 9d6da90 is old, mjlovesz/sync-ait at c432ed5 is new), the numbers from
ONNX Runtime.

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


def legal(path, mode="read"):
    """Say whether the newer release takes a path, and print its reason when not."""
    if re.search(r"[^_A-Za-z0-9/.-]", path):
        log("ERROR", f"path:{path} contains illegal char, legal chars include A-Z a-z 0-9 _ - / .")
        return False
    if not os.path.exists(path):
        if mode == "read":
            log("ERROR", f"path: {path} not exist, please check if file or dir is exist")
        return mode == "write"
    about = os.stat(path)
    if os.path.islink(path):
        log(
            "ERROR",
            f"path :{path} is a soft link, not supported, please import file(or directory) "
            "directly",
        )
    elif about.st_uid != os.geteuid() and about.st_gid not in os.getgroups():
        log(
            "ERROR",
            f"current user isn't path:{path}'s owner or ownergroup, make sure current user "
            "belong to file(or directory)'s owner or ownergroup",
        )
    elif about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        kind = "import" if mode == "read" else "export"
        log(
            "ERROR",
            f"The file {path} is group writable, or is others writable, as {kind} file(or "
            "directory), permission should not be over 0o755(rwxr-xr-x)",
        )
    else:
        return True
    return False


def checked(what, mode="read"):
    def check(value):
        paths = value.split(",") if what == "input" else [value]
        if NEW and not all(legal(p, mode) for p in paths):
            raise argparse.ArgumentTypeError(f"{what} path:{value} is illegal. Please check.")
        if NEW and what == "om" and not value.endswith(".om"):
            log("ERROR", f"path:{value}, file type not in ['om']")
            raise argparse.ArgumentTypeError(f"om path:{value} is illegal. Please check.")
        return value

    return check


def boolean(text):
    if text.lower() in ("yes", "true", "t", "y", "1"):
        return True
    if text.lower() in ("no", "false", "f", "n", "0"):
        return False
    raise argparse.ArgumentTypeError(
        "Boolean value expected true, 1, false, 0 with case insensitive."
    )


def positive(text):
    if int(text) <= 0:
        raise argparse.ArgumentTypeError(f"{text} is an invalid positive int value")
    return int(text)


def get_args():
    p = argparse.ArgumentParser(prog="ais_bench")

    def add(name, *short, **options):
        spelt = name.replace("_", "-") if RELEASE == "dashed" and name not in PORTABLE else name
        p.add_argument(f"--{spelt}", *short, dest=name, **options)

    add("model", "-m", required=True, type=checked("om"))
    add("input", "-i", type=checked("input"))
    add("output", "-o", type=checked("output", "write"))
    add("output_dirname", type=checked("output", "write"))
    add("outfmt", default="BIN", choices=["NPY", "BIN", "TXT"])
    add("loop", "-l", type=positive, default=1)
    add("device", "-d", type=lambda text: [int(d) for d in text.split(",")], default=[0])
    add("batchsize", type=positive)
    add("warmup_count", type=int, default=1)
    add("debug", type=boolean, default=False)
    add("dymBatch", type=int, default=0)
    add("pure_data_type", choices=["zero", "random"], default="zero")
    add("run_mode", choices=["array", "files", "tensor", "full"], default="array")
    add("display_all_summary", type=boolean, default=False)
    add("output_batchsize_axis", type=int, default=0)
    if NEW:
        add("divide_input", type=boolean, default=False)
        add("pipeline", type=boolean, default=False)
    args = p.parse_args()
    if args.output_dirname and not args.output:
        log(
            "ERROR",
            "parameter --output_dirname cann't be used alone. Please use it together with the "
            "parameter --output!\n",
        )
        raise RuntimeError("error bad parameters --output_dirname")
    if NEW and (args.output_dirname or "").startswith("/"):
        raise ValueError("--output_dirname do not support abs path!")
    return args


def natural(name):
    return [int(part) if part.isdigit() else part.lower() for part in re.split("([0-9]+)", name)]


def files_of(text):
    if text is None or os.path.isfile(text.split(",")[0]):
        return text.split(",") if text else []
    names = sorted(os.listdir(text))
    for name in names:
        if NEW and not legal(os.path.join(text, name)):
            raise RuntimeError(f"input data:{os.path.join(text, name)} is illegal")
    found = [
        os.path.join(text, n)
        for n in sorted(names, key=natural)
        if n.endswith((".npy", ".NPY", ".bin", ".BIN"))
    ]
    if not found:
        log(
            "ERROR",
            f"{text} of input args not find valid file,valid file format:[*.npy *.NPY *.bin *.BIN]",
        )
        raise RuntimeError()
    return found


def content(path):
    return np.load(path).tobytes() if path.lower().endswith(".npy") else Path(path).read_bytes()


class Session:
    """One opened model: `size` bytes of its input, `run(bytes)` → outputs, `times` in ms."""

    def __init__(self, path, device):
        import onnxruntime

        log("INFO", "acl init success")
        if device >= int(os.environ.get("FAKE_DEVICES", "4")):
            log("ERROR", f"open device {device} failed. ret=507033")
            raise RuntimeError("[-1][ACL: general failure] ")
        log("INFO", f"open device {device} success")
        self.about, onnx = om.read(path)
        if self.about is None or self.about["soc"] != os.environ.get(
            "FAKE_ASCEND_SOC", "Ascend310P3"
        ):
            log("ERROR", f"load model from file failed, model file is {path}")
            print("E19999: Inner Error!", flush=True)
            raise RuntimeError("[-1][ACL: general failure] ")
        log("INFO", f"load model {path} success")
        log("INFO", "create model description success")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.ort = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
        ((self.name, dims),) = self.about["inputs"].items()
        self.aipp = om.aipp(self.about["aipp"]) if self.about["aipp"] else None
        self.shape, self.batch, self.times = dims, dims[0], []
        if self.aipp:
            self.shape = [
                dims[0],
                int(self.aipp["src_image_size_h"]),
                int(self.aipp["src_image_size_w"]),
                3,
            ]
        self.dtype = (
            np.uint8
            if self.aipp
            else {"tensor(float)": np.float32, "tensor(float16)": np.float16}[
                self.ort.get_inputs()[0].type
            ]
        )
        self.size = math.prod(self.shape) * np.dtype(self.dtype).itemsize

    def run(self, data, loop=1):
        if len(data) != self.size:
            log(
                "ERROR",
                f"Check i:0 name:{self.name} in size:{len(data)} needsize:{self.size} not match",
            )
            raise RuntimeError("[-1][ACL: invalid parameter] ")
        array = np.frombuffer(data, self.dtype).reshape(self.shape)
        if self.aipp:
            array = normalise(array, self.aipp)
        for _ in range(loop):
            start = time.perf_counter()
            outputs = self.ort.run(None, {self.name: array})
            self.times.append((time.perf_counter() - start) * 1000)
        kind = {"FP16": np.float16, "FP32": np.float32}.get(self.about["output_type"])
        return [out.astype(kind or out.dtype) for out in outputs]


def normalise(images, conf):
    """AIPP on uint8 NHWC: swap, crop, (in - mean - min) * reciprocal; return float32 NCHW."""
    assert (
        conf["aipp_mode"] == "static"
        and conf["input_format"] == "RGB888_U8"
        and conf["csc_switch"] == "false"
    )
    images = images[..., ::-1] if conf.get("rbuv_swap_switch") == "true" else images
    if conf.get("crop") == "true":
        top, left = int(conf["load_start_pos_h"]), int(conf["load_start_pos_w"])
        images = images[
            :, top : top + int(conf["crop_size_h"]), left : left + int(conf["crop_size_w"])
        ]
    constant = {
        k: np.array([float(conf.get(f"{k}_{c}", default)) for c in range(3)], np.float16).astype(
            np.float32
        )
        for k, default in (("mean_chn", 0), ("min_chn", 0), ("var_reci_chn", 1))
    }
    out = (images.astype(np.float32) - constant["mean_chn"] - constant["min_chn"]) * constant[
        "var_reci_chn"
    ]
    return np.ascontiguousarray(out.transpose(0, 3, 1, 2))


def save(path, array):
    if path.endswith(".npy"):
        np.save(path, array)
    elif path.endswith(".txt"):
        form = "%f " if array.dtype.kind == "f" else "%d "
        Path(path).write_text(
            "".join(
                "".join(form % v for v in row) + "\n" for row in array.reshape(-1, array.shape[-1])
            )
        )
    else:
        array.tofile(path)
    if NEW:
        os.chmod(path, 0o640)


def report(session, batchsize, prefix, files, show_all):
    numbers = {}
    for name, times in (
        ("H2D_latency", [0.1]),
        ("NPU_compute_time", session.times),
        ("D2H_latency", [0.1]),
    ):
        numbers[name] = {
            "min": min(times),
            "max": max(times),
            "mean": float(np.mean(times)),
            "median": float(np.median(times)),
            "percentile(99%)": float(np.percentile(times, 99)),
        }
    mean = numbers["NPU_compute_time"]["mean"]
    throughput = 1000 * batchsize / mean
    log("INFO", "-----------------Performance Summary------------------")
    for name, values in numbers.items():
        if show_all or name == "NPU_compute_time":
            log("INFO", f"{name} (ms): " + ", ".join(f"{k} = {v}" for k, v in values.items()))
    spelt = "batchsize" if RELEASE == "oldest" else "batchsize.mean"
    log("INFO", f"throughput 1000*{spelt}({batchsize})/NPU_compute_time.mean({mean}): {throughput}")
    log("INFO", "------------------------------------------------------")
    if prefix:
        content = {
            "filesinfo": files,
            "args": sys.argv,
            **{name: {**values, "count": len(session.times)} for name, values in numbers.items()},
            "npu_compute_time_list": session.times,
            "throughput": throughput,
            "pid": os.getpid(),
        }
        Path(f"{prefix}_summary.json").write_text(json.dumps(content))
    return throughput


def infer(args, device, inputs, prefix):
    """One device: run all `inputs` (none: zeros), write results below `prefix` (None: nothing);
    return the throughput."""
    session = Session(args.model, device)
    batchsize = args.batchsize or session.batch
    if not args.batchsize:
        log("INFO", f"try get model batchsize:{batchsize}")
    if prefix:
        os.makedirs(prefix, 0o750 if NEW else 0o755, exist_ok=True)
        if NEW:
            os.chmod(args.output, 0o750)
        log("INFO", f"output path:{prefix}")
    per_batch = 1
    if inputs:
        size = len(content(inputs[0]))
        if size == 0 or session.size % size:
            log("ERROR", f"arg0 tensorsize: {session.size} filesize: {size} not match")
            raise RuntimeError()
        per_batch = session.size // size
        log(
            "INFO",
            f"get filesperbatch files0 size:{size} tensor0size:{session.size} "
            f"filesperbatch:{per_batch} runcount:{math.ceil(len(inputs) / per_batch)}",
        )
    batches = [inputs[i : i + per_batch] for i in range(0, len(inputs), per_batch)] or [
        ["pure_infer_data"]
    ]
    dropped, killed, files, written = (
        int(os.environ.get("FAKE_AIS_DROP", "-1")),
        os.environ.get("FAKE_AIS_KILL"),
        {},
        0,
    )
    for i, batch in enumerate(batches):
        data = (
            b"".join(content(f) for f in batch + batch[:1] * (per_batch - len(batch)))
            if inputs
            else bytes(session.size)
        )
        if i == 0:
            for _ in range(args.warmup_count):
                session.run(data)
            session.times.clear()
            log("INFO", f"warm up {args.warmup_count} done")
        if killed == str(i):
            os.kill(os.getpid(), signal.SIGKILL)
        outputs = session.run(data, args.loop)
        for k, output in enumerate(outputs if prefix else []):
            if per_batch > 1 and output.shape[0] % per_batch:
                log("ERROR", f"save out files error array shape:{output.shape} filesinfo:{batch}")
                raise RuntimeError()
            for name, piece in zip(batch, np.array_split(output, per_batch), strict=False):
                path = os.path.join(
                    prefix, f"{os.path.basename(name).split('.')[0]}_{k}.{args.outfmt.lower()}"
                )
                if written != dropped:
                    save(path, piece)
                files.setdefault(str(written), {"infiles": [name], "outfiles": []})[
                    "outfiles"
                ].append(path)
                written += 1
    throughput = report(session, batchsize, prefix, files, args.display_all_summary)
    log("INFO", "unload model success, model Id is 1")
    log("INFO", "end to destroy context")
    log("INFO", f"end to reset device is {device}")
    log("INFO", "end to finalize acl")
    return throughput


def several(args, inputs, folder):
    """As the releases do with a list of devices; return the exit status."""
    log("INFO", f"multidevice:{args.device} run begin")
    n = len(args.device)
    if not NEW:
        step = math.ceil(len(inputs) / n) if inputs else 0
        pieces = [inputs[i * step : (i + 1) * step] for i in range(n)]
    elif args.divide_input:
        ends = [i * (len(inputs) // n) + min(i, len(inputs) % n) for i in range(n + 1)]
        pieces = [inputs[ends[i] : ends[i + 1]] for i in range(n)]
    else:
        pieces = [inputs] * n
    done = []
    for i, device in enumerate(args.device):
        start = time.time()
        log("INFO", f"subprocess_{i} main run")
        try:
            if inputs and not pieces[i]:
                raise RuntimeError("Invalid args.   of --input is invalid")
            prefix = folder and os.path.join(
                folder, f"device{device}_{i}" if NEW else f"device{device}"
            )
            done.append((i, infer(args, device, pieces[i], prefix), start, time.time()))
        except RuntimeError as e:
            log("ERROR", f"subprocess run failed error_callback:{e}")
    status = 0 if len(done) == n else 1
    log("INFO", f"multidevice run end qsize:{2 * len(done)} result:{status}")
    for i, throughput, start, end in done:
        text = f"i:{i} device_{args.device[i]} throughput:{throughput} "
        text += f"start_time:{start} end_time:{end}"
        log("INFO", text) if NEW else print(text)
    log("INFO", f"summary throughput:{sum(d[1] for d in done)}")
    return status


def main():
    record.call("ais_bench")
    args = get_args()
    inputs = files_of(args.input)
    folder = (
        os.path.join(args.output, args.output_dirname or time.strftime("%Y_%m_%d-%H_%M_%S"))
        if args.output
        else None
    )
    if len(args.device) > 1:
        sys.exit(several(args, inputs, folder))
    infer(args, args.device[0], inputs, folder)
