"""Compile an ONNX into an offline model for this CPU, and load and run such a file.

    model = engine.compile_onnx("x.onnx", 8, "openvino", "x_bs8.blob")
    model = engine.load("x_bs8.blob")
    logits, = model.run([images])
"""
import dataclasses
import importlib
import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from common import cli, provenance, toolchain
from common.cpu.which import ENDINGS, cpu

AGAIN = "delete it and run `make om` (or atc) again"
# What a record has to hold for load() to use it.
KINDS = {"engine": str, "engine_version": str, "cpu_kind": str, "precision": str, "batch": int,
         "part": int, "demo": bool, "onnx": dict}


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


# ---- compile ----

def compile_onnx(onnx_path, batch, engine, output_path, output_type="FP32", insert_op_conf=None,
                 precision="f32", calib=None, arguments=None):
    """Compile an ONNX for `batch` images in a run, check it, write it and its record; the Model.

    engine: a key of which.ENDINGS. output_type: FP32 or FP16 (the outputs only). insert_op_conf:
    AIPP configuration, which makes the input bytes. precision: one of which.PRECISIONS. calib:
    folder of images for int8. arguments: recorded, those of this program by default. Failure when
    the engine refuses the graph, or computes something else than ONNX Runtime does on the plain
    ONNX; then no file gets its name.
    """
    from common.cpu import calibrate, graph
    from common.model import facts

    backend = backend_of(engine)
    aipp = toolchain.read_aipp(insert_op_conf) if insert_op_conf else None
    onnx_model = graph.read(onnx_path)
    about = facts.read(onnx_model)
    prepare(onnx_model, onnx_path, output_type, aipp)
    samples, calibration = None, None
    if precision == "int8":
        samples, calibration = calibrate.samples(onnx_path, onnx_model, about, calib, aipp)
    part = part_of(batch, backend, onnx_model)
    open_batch = onnx_model.SerializeToString() if samples else None
    graph.fix_batch(onnx_model, part, onnx_path)
    # int8 is quantised with the batch open: the same for every batch.
    content = open_batch or onnx_model.SerializeToString()
    del onnx_model  # Twins has 400 MB of weights; two or three copies at a time are enough
    with cli.whole_file(output_path) as file:
        model = build(backend, content, file, onnx_path, batch, part, precision, samples)
        del content
        error = check(model, onnx_path, batch, aipp, samples)
    known = {"engine": engine, **what_runs(backend), "precision": precision, "batch": batch,
             "part": part, "inputs": [t.described() for t in model.inputs],
             "outputs": [t.described() for t in model.outputs],
             "onnx": {"file": Path(onnx_path).name, "sha256": cli.sha256(onnx_path), **about},
             "error_to_onnx": error, "demo": bool(about.get("demo")), "calibration": calibration}
    inputs = [onnx_path, *filter(None, [insert_op_conf, calibration and calib]), *code(backend)]
    provenance.record(output_path, inputs, arguments, **known)
    return dataclasses.replace(model, meta=provenance.read(output_path))


def prepare(onnx_model, onnx_path, output_type, aipp):
    """Rewrite the graph for the engines, and for the types that are asked for."""
    from common.cpu import graph, rewrites

    rewrites.group_norm_as_formula(onnx_model)
    rewrites.flat_tokens(onnx_model)
    if output_type == "FP16":
        graph.cast_outputs(onnx_model)
    if aipp:
        graph.take_bytes(onnx_model, aipp, onnx_path)


def part_of(batch, backend, onnx_model):
    """How many images of a batch the engine computes at a time.

    Fewer than the batch where each core has several parts: with one for each, batch 4 on two cores
    was 0.98 times as fast.
    """
    from common.cpu import graph

    part = backend.PART or batch
    too_few = batch % part or batch // part < 2 * cli.cores()
    if too_few or backend.device() != "CPU" or not graph.is_open(onnx_model):
        return batch
    return part


def build(backend, content, file, onnx_path, batch, part, precision, samples):
    """Compile `content`, a serialised ONNX, to `file` and load that; Failure when it is refused."""
    try:
        backend.compile_model(content, file, part, precision, samples)
        return wrap(backend, file.read_bytes(), precision, parts=batch // part)
    except cli.Failure:
        raise
    except Exception as e:  # the engines' exceptions have no common class
        raise cli.Failure(f"{backend.TITLE} cannot compile {onnx_path} for batch {batch}: "
                          f"{cli.short(str(e))}",
                          "export the ONNX again, or try the other HOST_ENGINE") from e


def check(model, onnx_path, batch, aipp, samples):
    """The error against the plain ONNX; Failure when it is too large."""
    from common.cpu import verify

    return verify.against_onnx(model, onnx_path, batch, aipp, samples)


def what_runs(backend):
    """The release of the engine and the kind of CPU that its files are bound to."""
    name, kind = cpu()
    return {"engine_version": backend.version(), "device": backend.device(), "cpu": name,
            "cpu_kind": kind}


def code(backend):
    """Files that shape what is compiled: ours, and the engine's library."""
    ours = ["engine.py", "graph.py", "rewrites.py", "calibrate.py", Path(backend.__file__).name]
    files = [Path(__file__).with_name(name) for name in ours] + [backend.library()]
    return [os.path.relpath(file) for file in files]


# ---- load ----

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
    here = what_runs(backend)
    if any(meta[key] != here[key] for key in ("engine_version", "cpu_kind")):
        raise cli.Failure(f"{path} was compiled by {backend.TITLE} {meta['engine_version']} on a "
                          f"CPU with {meta['cpu_kind']}; here it is {here['engine_version']} on "
                          f"{here['cpu_kind']}", AGAIN)
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
