"""What runs on the workers of scale_out.py: images → pixels on the CPUs, pixels → a Parquet part
on the devices.

A row of Ray Data is a whole block of images. Rows cannot be split, so neither can a block,
whatever Ray does with them.
"""
import dataclasses
import io
import json
import time

import numpy as np

from common import cli
from common.data import transforms
from tools.scale import scale_blocks, scale_list


class Clock:
    """Seconds and seconds of CPU time, by stage; of this thread unless `cpu` says otherwise."""

    def __init__(self, cpu=time.thread_time):
        self.seconds, self.cpu, self.now = {}, cpu, None

    def start(self):
        """Begin to count."""
        self.now = time.perf_counter(), self.cpu()

    def stop(self, stage):
        """Book the time since the last start or stop on `stage`."""
        before, now = self.now, (time.perf_counter(), self.cpu())
        for name, a, b in zip((stage, f"{stage}_cpu"), before, now):
            self.seconds[name] = self.seconds.get(name, 0) + b - a
        self.now = now


def load(path):
    """transforms.load() for a path or a URI."""
    if "://" not in path:
        return transforms.load(path)
    fs, inside = scale_list.opened(path)
    try:
        with fs.open_input_stream(inside) as f:
            content = f.read()
    except OSError as e:
        raise transforms.BadImage(transforms.why(e)) from e
    return transforms.load(io.BytesIO(content))


def pixels(images, recipe, dtype):
    """Decode and transform Images: array (N, 3, crop, crop) float32, or (N, crop, crop, 3) uint8;
    {row: why} of the bad ones, whose rows are zeros; and a Clock's seconds."""
    raw = dtype == "uint8"
    shape = (recipe.crop, recipe.crop, 3) if raw else (3, recipe.crop, recipe.crop)
    rows, errors, clock = np.zeros((len(images), *shape), dtype), {}, Clock()
    clock.seconds = dict.fromkeys(("decode", "decode_cpu", "transform", "transform_cpu"), 0)
    for i, image in enumerate(images):
        clock.start()
        try:
            picture = load(image.path)
            clock.stop("decode")
            rows[i] = recipe.pixels(picture) if raw else recipe(picture)
            clock.stop("transform")
        except transforms.BadImage as e:
            errors[i] = str(e)
    return rows, errors, clock.seconds


def to_row(index, block):
    """A block as a row of Ray Data."""
    images = json.dumps([dataclasses.astuple(image) for image in block])
    return {"block": index, "images": images}


def images_of(batch):
    """The Images of a row."""
    return [scale_list.Image(*values) for values in json.loads(batch["images"][0])]


def prepare(batch, recipe, dtype):
    """Ray Data's first stage: a row gets its pixels; errors and seconds go along as JSON."""
    rows, errors, seconds = pixels(images_of(batch), recipe, dtype)
    return {**batch, "pixels": rows[None], "errors": [json.dumps(list(errors.items()))],
            "seconds": [json.dumps(seconds)]}


class Infer:
    """Ray Data's second stage, one actor per device: loads the offline model once, writes the
    part of each block.

    It loads with the first block, because Ray hands on what fails then, and only the text of what
    fails at the start.
    """

    def __init__(self, model, facts, folder, threads, keep_logits):
        self.model, self.facts, self.threads, self.run = model, facts, threads, None
        self.folder, self.keep_logits = folder, keep_logits
        tensor = facts["inputs"][0]
        self.buffer = np.zeros(tensor["shape"], tensor["dtype"])

    def __call__(self, batch):
        self.run = self.run or open_model(self.model, self.facts, self.threads)
        images, errors = images_of(batch), dict(json.loads(batch["errors"][0]))
        clock = Clock(time.process_time)
        clock.start()
        logits = predict(self.run, batch["pixels"][0], self.buffer)
        for i in np.flatnonzero(~np.isfinite(logits).all(1)):
            errors.setdefault(int(i), "the offline model gives NaN or infinity for it")
        clock.stop("infer")
        path = scale_blocks.part_path(self.folder, int(batch["block"][0]))
        scale_blocks.write_part(path, images, logits, errors, self.keep_logits)
        clock.stop("write")
        seconds = {**json.loads(batch["seconds"][0]), **clock.seconds}
        return {"block": batch["block"], "images": [len(images)], "seconds": [json.dumps(seconds)]}


def predict(run, rows, buffer):
    """Logits float32 (N, classes) of `rows`, a batch at a time; the last one is filled up with
    zeros in `buffer`."""
    batch, logits = len(buffer), []
    for start in range(0, len(rows), batch):
        part = rows[start:start + batch]
        buffer[:len(part)], buffer[len(part):] = part, 0
        output = np.asarray(run([buffer])[0])
        logits.append(output.reshape(batch, -1)[:len(part)].astype(np.float32))
    return np.concatenate(logits)


def open_model(path, facts, threads=None):
    """A function (list of arrays → list of arrays) that runs the offline model `path`; `facts`
    are its record's.

    An .om goes to ais_bench's InferSession, the others to common/cpu. Failure when this host's
    file is not the one that the run was started with, or cannot run here.
    """
    try:
        found = cli.sha256(path)
    except FileNotFoundError:
        raise cli.Failure(f"{path} is not on every host",
                          "put the model at one path on all of them") from None
    if found != facts["made"]["sha256"]:
        raise cli.Failure(f"{path} is another file on one of the hosts",
                          "copy the same offline model to all of them")
    if not str(path).endswith(".om"):
        from common.cpu import engine
        return engine.load(path, threads).run
    try:
        from ais_bench.infer.interface import InferSession
    except ImportError as e:
        raise cli.Failure(f"ais_bench does not load on one of the hosts ({e})", "source CANN's "
                          "set_env.sh before `ray start`, with the python3 that has ais_bench"
                          ) from None
    # Ray gives the actor its own NPU in ASCEND_RT_VISIBLE_DEVICES: here it is number 0.
    session = InferSession(0, str(path))
    tensor, wanted = session.get_inputs()[0], facts["inputs"][0]
    size = int(np.prod(wanted["shape"])) * np.dtype(wanted["dtype"]).itemsize
    if tensor.realsize != size:
        raise cli.Failure(f"{path} takes {tensor.realsize} bytes, its record says {size}",
                          "make om")
    return lambda arrays: session.infer(arrays, "static")
