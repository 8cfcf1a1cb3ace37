"""Load and run an offline model that was compiled for this CPU (see compiler.py).

    model = engine.load("x_bs8.blob")
    logits, = model.run([images])
"""
import dataclasses
import importlib
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from common import cli, provenance
from common.cpu.which import ENDINGS, cpu

AGAIN = "delete it and run `make om` (or atc) again"
BOUND = ("engine_version", "device", "cpu_kind")  # what an offline model is bound to
# What a record has to hold for load() to use it.
KINDS = {"engine": str, "engine_version": str, "device": str, "cpu_kind": str, "precision": str,
         "batch": int, "part": int, "demo": bool, "onnx": dict}


@dataclasses.dataclass(frozen=True)
class Tensor:
    """An input or output of an offline model."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def nbytes(self):
        """The size of its content in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    def described(self):
        """As a record has it."""
        return {"name": self.name, "shape": list(self.shape), "dtype": self.dtype.name}


@dataclasses.dataclass(frozen=True)
class Model:
    """A loaded offline model.

    `run` takes one array for each input (that shape and dtype, C order) and returns the outputs.
    `title` names the engine and its release, `precision` what it computes in; `meta` is the record.
    """

    inputs: list[Tensor]
    outputs: list[Tensor]
    run: Callable[[list], list]
    title: str
    precision: str
    meta: dict = dataclasses.field(default_factory=dict)


def backend_of(engine):
    """The module of an engine; imported only when needed: each takes some tenths of a second."""
    try:
        return importlib.import_module(f"common.cpu.{engine}_engine")
    except ModuleNotFoundError as e:
        if e.name != engine:
            raise
        raise cli.Failure(f"the Python package {engine} is not installed",
                          "pip install -r requirements.txt") from e


def what_runs(backend):
    """The release of the engine and the kind of CPU that its files are bound to."""
    name, kind = cpu()
    return {"engine_version": backend.version(), "device": backend.device(), "cpu": name,
            "cpu_kind": kind}


def load(path, threads=None):
    """Return the Model in `path`; it computes in `threads` threads (None: in all cores).

    Failure when it or its record is absent, when it is not what the record says or was made from
    other files than those at hand, and when it was compiled by another release of the engine or
    for another kind of CPU.
    """
    path = Path(path)
    if not path.exists():
        raise cli.Failure(f"{path} does not exist", "run `make om` (or atc)")
    meta = sound_record(path)
    backend = backend_of(meta["engine"])
    check_host(path, backend, meta)
    # The engines take a blob with flipped weights, or with other weights, without a word.
    wrong = provenance.misfit(path)
    if wrong:
        raise cli.Failure(f"{path} {wrong}", AGAIN)
    try:
        parts = meta["batch"] // meta["part"]
        model = wrap(backend, path.read_bytes(), meta["precision"], parts, threads)
    except cli.Failure:
        raise
    except Exception as e:
        raise cli.Failure(f"{backend.TITLE} rejects {path}: {cli.short(str(e))}", AGAIN) from e
    if model.inputs[0].shape[:1] != (meta["batch"],):
        raise cli.Failure(f"{provenance.record_path(path)} says batch {meta['batch']}, and {path} "
                          f"takes {model.inputs[0].shape}", AGAIN)
    return dataclasses.replace(model, meta=meta)


def check_host(path, backend, meta):
    """Failure when a model is for another engine release, device or kind of CPU than is here."""
    here = what_runs(backend)
    made, now = ([about[key] for key in BOUND] for about in (meta, here))
    if made != now:
        raise cli.Failure(f"{path} was compiled by {backend.TITLE} {' for '.join(made)}; here it "
                          f"is {' for '.join(now)}", AGAIN)


def sound_record(path):
    """The record of an offline model; Failure when it is absent, damaged or says too little."""
    record = provenance.record_path(path)
    meta = cli.read_json(record, f"{path} cannot be used without it, {AGAIN}")
    wrong = [key for key, kind in KINDS.items() if not isinstance(meta.get(key), kind)]
    if not wrong and meta["engine"] not in ENDINGS:
        wrong = ["engine"]
    if not wrong and not 0 < meta["part"] <= meta["batch"]:
        wrong = ["batch", "part"]
    if wrong:
        raise cli.Failure(f"{record} has no sound {', '.join(wrong)}", AGAIN)
    return meta


def wrap(backend, data, precision, parts=1, threads=None):
    """The Model that an engine's file is, for a batch of so many `parts`.

    Each of some threads computes whole parts; see PART of the engine for what that gains.
    """
    at_once = min(parts, threads or cli.cores())
    each = (threads or cli.cores()) // at_once if parts > 1 else threads
    inputs, outputs, run = backend.load(data, precision, each)

    def whole(tensors):
        return [Tensor(name, (*(n * parts for n in shape[:1]), *shape[1:]), dtype)
                for name, shape, dtype in tensors]

    run = in_parts(run, parts, at_once) if parts > 1 else run
    title = f"{backend.TITLE} {backend.version()}"
    return Model(whole(inputs), whole(outputs), run, title, precision)


def in_parts(run, parts, at_once):
    """A function as `run` for a batch of so many `parts`, `at_once` of them at the same time."""
    pool = ThreadPoolExecutor(at_once)

    def whole(arrays):
        done = pool.map(run, zip(*(np.split(a, parts) for a in arrays)))
        # A result without a batch becomes one of another batch, which verify.py names.
        return [np.concatenate([*map(np.atleast_1d, output)]) for output in zip(*done)]

    return whole
