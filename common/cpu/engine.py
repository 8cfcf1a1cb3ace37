"""Compile an ONNX into an offline model for this CPU, and load and run such a file.

    meta = engine.compile_onnx("x.onnx", batch=8, engine="openvino", output_path="x_bs8.blob")
    model = engine.load("x_bs8.blob")
    logits, = model.run([images])
"""
import dataclasses
import hashlib
import importlib
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from common import cli
from common.cpu.which import ENDINGS, cpu

AGAIN = "delete it and run `make om` (or atc) again"


@dataclasses.dataclass(frozen=True)
class Tensor:
    """An input or output of an offline model."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def nbytes(self):
        """Return the size of its content in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclasses.dataclass(frozen=True)
class Model:
    """A loaded offline model; `run` takes one array an input (that shape and dtype, C order) and returns the outputs.

    `title` names the engine and its release, `precision` what it computes in, `meta` is the sidecar's content.
    """

    inputs: list[Tensor]
    outputs: list[Tensor]
    run: Callable[[list], list]
    title: str
    precision: str
    meta: dict = dataclasses.field(default_factory=dict)


def _backend(engine):
    # Imported when needed only: each engine costs a start some tenths of a second.
    try:
        return importlib.import_module(f"common.cpu.{engine}_engine")
    except ModuleNotFoundError as e:
        if e.name != engine:
            raise
        raise cli.Failure(f"the Python package {engine} is not installed", "pip install -r requirements.txt") from e


def _model(backend, data, precision, meta=None, threads=None, parts=1):
    """The Model that an engine's file is, for a batch of so many `parts`, of which each thread computes some."""
    at_once = min(parts, threads or cli.cores())
    inputs, outputs, run = backend.load(data, precision, (threads or cli.cores()) // at_once if parts > 1 else threads)
    title = f"{backend.TITLE} {backend.version()}"
    tensors = [[Tensor(name, (*(n * parts for n in shape[:1]), *shape[1:]), dtype) for name, shape, dtype in side]
               for side in (inputs, outputs)]
    return Model(*tensors, _in_parts(run, parts, at_once) if parts > 1 else run, title, precision, meta or {})


def _in_parts(run, parts, at_once):
    pool = ThreadPoolExecutor(at_once)

    def whole(arrays):  # a result without a batch becomes one of another batch, which verify.py names
        done = pool.map(run, zip(*(np.split(a, parts) for a in arrays)))
        return [np.concatenate([*map(np.atleast_1d, output)]) for output in zip(*done)]

    return whole


def compile_onnx(onnx_path, batch, engine, output_path, output_type="FP32", command=(), aipp=None, precision="f32", calib=None):
    """Compile `onnx_path` for `batch` images a run, check it, write `output_path` and its sidecar; return the Model.

    `engine` is a key of which.ENDINGS; `output_type` is FP32 or FP16 (the outputs only); `aipp` (see aipp.read) makes
    the input bytes; `precision` is one of which.PRECISIONS, `calib` the folder of images that int8 is calibrated with;
    `command` is recorded. Failure when the engine refuses the graph, or computes something else than ONNX Runtime does
    on the plain ONNX; then no file gets its name.
    """
    from common.cpu import calibrate, graph, verify
    from common.cpu import rewrites as passes
    backend = _backend(engine)
    onnx_model = graph.read(onnx_path)
    metadata = graph.metadata(onnx_model)
    passes.group_norm_as_formula(onnx_model)
    passes.flat_tokens(onnx_model)
    if output_type == "FP16":
        graph.cast_outputs(onnx_model)
    if aipp:
        graph.take_bytes(onnx_model, aipp, onnx_path)
    sample, samples = None, None
    if precision == "int8":
        samples, sample = calibrate.samples(onnx_path, onnx_model, metadata, calib, aipp)
        content = onnx_model.SerializeToString()  # the batch still open: the same quantisation for every batch
    # In parts where each core has some: with one for each, batch 4 on two cores, it was 0.98 times as fast.
    part = backend.PART or batch
    if batch % part or batch // part < 2 * cli.cores() or backend.device() != "CPU" or not graph.is_open(onnx_model):
        part = batch
    graph.fix_batch(onnx_model, part, onnx_path)
    if precision != "int8":
        content = onnx_model.SerializeToString()
    del onnx_model  # Twins has 400 MB of weights; two or three copies at a time are enough
    with cli.whole_file(output_path) as file:
        try:
            backend.compile_model(content, file, part, precision, samples)
            del content
            data = file.read_bytes()
            model = _model(backend, data, precision, parts=batch // part)
        except cli.Failure:
            raise
        except Exception as e:
            raise cli.Failure(f"{backend.TITLE} cannot compile {onnx_path} for batch {batch}: {_line(e)}",
                              "export the ONNX again, or try the other HOST_ENGINE") from e
        error = verify.against_onnx(model, onnx_path, batch, aipp, samples)
        name, kind = cpu()
        tensors = {side: [{"name": t.name, "shape": t.shape, "dtype": t.dtype.name} for t in getattr(model, side)]
                   for side in ("inputs", "outputs")}
        meta = {"engine": engine, "engine_version": backend.version(), "device": backend.device(), "cpu": name,
                "cpu_kind": kind, "precision": precision, "calibration": sample, "batch": batch, "part": part,
                **tensors, "onnx": {"file": Path(onnx_path).name, "sha256": cli.sha256(onnx_path), "metadata": metadata},
                "error_to_onnx": error, "command": list(command), "demo": metadata.get("demo") == "true",
                "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        # The sidecar comes first: it names the bytes that belong to it, so a kill between the two leaves an
        # older artefact that load() refuses, and `make` sees a target that is still out of date.
        cli.write_json(sidecar(output_path), meta)
    return dataclasses.replace(model, meta=meta)


def sidecar(path):
    """Return the path of the JSON that belongs to an offline model."""
    return Path(f"{path}.json")


def load(path, threads=None):
    """Return the Model in `path`, without compiling it again; it computes in `threads` threads (None: in all cores).

    Failure when it or its sidecar is absent, when they do not belong together or the file is damaged, and when it
    was compiled by another release of the engine or for another kind of CPU.
    """
    path = Path(path)
    if not path.exists():
        raise cli.Failure(f"{path} does not exist", "run `make om` (or atc)")
    meta = cli.read_json(sidecar(path), f"{path} cannot be used without it, {AGAIN}")
    if meta.get("engine") not in list(ENDINGS):
        raise cli.Failure(f"{sidecar(path)} names no engine of ours", AGAIN)
    kinds = {"engine_version": str, "cpu_kind": str, "batch": int, "part": int, "demo": bool, "onnx": dict}
    wrong = [key for key, kind in kinds.items() if not isinstance(meta.get(key), kind)]
    if not wrong and (not 0 < meta["part"] <= meta["batch"] or meta["batch"] % meta["part"]):
        wrong = ["batch", "part"]
    if wrong:
        raise cli.Failure(f"{sidecar(path)} has no sound {' and '.join(wrong)}", AGAIN)
    # The engines take a blob with flipped weights, or of the same graph with other weights, without a murmur.
    data = path.read_bytes()
    if len(data) != meta.get("size") or hashlib.sha256(data).hexdigest() != meta.get("sha256"):
        raise cli.Failure(f"{path} is damaged, or is not the file that {sidecar(path)} describes", AGAIN)
    backend = _backend(meta["engine"])
    made, here = ((meta["engine_version"], meta["cpu_kind"]), (backend.version(), cpu()[1]))
    if made != here:
        raise cli.Failure(f"{path} was compiled by {backend.TITLE} {made[0]} on a CPU with {made[1]}; here it is "
                          f"{here[0]} on {here[1]}", AGAIN)
    try:
        model = _model(backend, data, meta["precision"], meta, threads, meta["batch"] // meta["part"])
    except cli.Failure:
        raise
    except Exception as e:
        raise cli.Failure(f"{backend.TITLE} rejects {path}: {_line(e)}", AGAIN) from e
    if model.inputs[0].shape[:1] != (meta["batch"],):
        raise cli.Failure(f"{sidecar(path)} says batch {meta['batch']}, and {path} takes {model.inputs[0].shape}", AGAIN)
    return model


def _line(error):
    return " ".join(str(error).split())[:300]
