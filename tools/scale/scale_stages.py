"""What runs on the workers of tools/scale/scale_out.py: images → pixels on the CPUs, pixels → a Parquet part on the devices.

A row of Ray Data is a whole block of images. Rows cannot be split, so neither can a block, whatever Ray does with them.
"""
import json
import tempfile
import time

import numpy as np

from common import cli
from common.data import transforms
from tools.scale import scale_blocks, scale_list


class Clock:
    """Seconds and seconds of this thread's CPU time, by stage."""

    def __init__(self, cpu=time.thread_time):
        self.seconds, self.cpu, self.now = {}, cpu, None

    def start(self):
        self.now = time.perf_counter(), self.cpu()

    def stop(self, stage):
        """Book the time since the last start or stop on `stage`."""
        before, now = self.now, (time.perf_counter(), self.cpu())
        for name, a, b in zip((stage, f"{stage}_cpu"), before, now):
            self.seconds[name] = self.seconds.get(name, 0) + b - a
        self.now = now


def load(path):
    """transforms.load() for a path or a URI, whose bytes go through a temporary file, since load() takes a file's name."""
    if "://" not in path:
        return transforms.load(path)
    fs, inside = scale_list.opened(path)
    with tempfile.NamedTemporaryFile() as copy, fs.open_input_stream(inside) as f:
        copy.write(f.read())
        copy.flush()
        try:
            return transforms.load(copy.name)
        except OSError as e:
            raise OSError(str(e).replace(copy.name, path)) from None


def pixels(images, recipe, dtype):
    """Decode and transform `images`: array (N, 3, crop, crop) float32, or (N, crop, crop, 3) uint8; {row: why} of the bad
    ones, whose rows are zeros (as common/data/preprocess.py leaves them in whole batches); and a Clock's seconds."""
    raw = dtype == "uint8"
    shape = (recipe.crop, recipe.crop, 3) if raw else (3, recipe.crop, recipe.crop)
    rows, errors, clock = np.zeros((len(images), *shape), dtype), {}, Clock()
    for i, image in enumerate(images):
        clock.start()
        try:
            picture = load(image.path)
            clock.stop("decode")
            rows[i] = recipe.pixels(picture) if raw else recipe(picture)
            clock.stop("transform")
        except FileNotFoundError:
            errors[i] = "is gone"
        except transforms.UNREADABLE as e:
            errors[i] = str(e).replace(image.path, image.name) or type(e).__name__
    return rows, errors, clock.seconds


def prepare(batch, recipe, dtype):
    """Ray Data's first stage: a row {block, images} gets its pixels; errors and seconds go along as JSON."""
    rows, errors, seconds = pixels(images_of(batch), recipe, dtype)
    return {**batch, "pixels": rows[None], "errors": [json.dumps(list(errors.items()))], "seconds": [json.dumps(seconds)]}


def images_of(batch):
    """The Images of a row."""
    return [scale_list.Image(*values) for values in json.loads(batch["images"][0])]


class Infer:
    """Ray Data's second stage, one actor a device: loads the offline model once, writes the part of each block.

    It loads with the first block, because Ray hands on what fails then, and only the text of what fails at the start.
    """

    def __init__(self, model, meta, folder, threads, keep_logits):
        self.model, self.meta, self.threads, self.run = model, meta, threads, None
        self.folder, self.keep_logits = folder, keep_logits
        self.buffer = np.zeros(meta["inputs"][0]["shape"], meta["inputs"][0]["dtype"])

    def __call__(self, batch):
        self.run = self.run or open_model(self.model, self.meta, self.threads)
        images, rows, errors = images_of(batch), batch["pixels"][0], dict(json.loads(batch["errors"][0]))
        clock = Clock(time.process_time)
        clock.start()
        logits = predict(self.run, rows, self.buffer)
        for i in np.flatnonzero(~np.isfinite(logits).all(1)):
            errors.setdefault(int(i), "the offline model gives NaN or infinity for it")
        clock.stop("infer")
        scale_blocks.write_part(scale_blocks.part_path(self.folder, int(batch["block"][0])), images, logits, errors,
                                self.keep_logits)
        clock.stop("write")
        return {"block": batch["block"], "images": [len(images)],
                "seconds": [json.dumps({**json.loads(batch["seconds"][0]), **clock.seconds})]}


def predict(run, rows, buffer):
    """Logits float32 (N, classes) of `rows`, a batch at a time; the last one is filled up with zeros in `buffer`."""
    batch, logits = len(buffer), []
    for start in range(0, len(rows), batch):
        part = rows[start:start + batch]
        buffer[:len(part)], buffer[len(part):] = part, 0
        output = np.asarray(run([buffer])[0])
        logits.append(output.reshape(batch, -1)[:len(part)].astype(np.float32))
    return np.concatenate(logits)


def open_model(path, meta, threads=None):
    """A function (list of arrays → list of arrays) that runs the offline model `path`; `meta` is its sidecar's content.

    An .om goes to ais_bench's InferSession, the others to common/cpu. Failure when this host's file is not the one that
    the run was started with, or cannot run here.
    """
    try:
        digest = cli.sha256(path)
    except FileNotFoundError:
        raise cli.Failure(f"{path} is not on every host", "put the model at one path on all of them") from None
    if digest != meta["sha256"]:
        raise cli.Failure(f"{path} is another file on one of the hosts", "copy the same offline model to all of them")
    if not str(path).endswith(".om"):
        from common.cpu import engine
        return engine.load(path, threads).run
    try:
        from ais_bench.infer.interface import InferSession
    except ImportError as e:
        raise cli.Failure(f"ais_bench does not load on one of the hosts ({e})",
                          "source CANN's set_env.sh before `ray start`, with the python3 that has ais_bench") from None
    # Ray gives the actor's own NPU in ASCEND_RT_VISIBLE_DEVICES, so in this process it is number 0.
    session = InferSession(0, str(path))
    tensor, = session.get_inputs()
    wanted = meta["inputs"][0]
    size = int(np.prod(wanted["shape"])) * np.dtype(wanted["dtype"]).itemsize
    if tensor.realsize != size:
        raise cli.Failure(f"{path} takes {tensor.realsize} bytes, its sidecar says {size}", "run make om again")
    return lambda arrays: session.infer(arrays, "static")
