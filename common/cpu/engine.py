"""Offline models of this CPU: whether they are sound, and how they run.

    model = engine.load("x_bs8.blob")
    logits, = model.run([images])

numpy and the engines are imported when a model is loaded: --help does without.
"""
import contextlib
import dataclasses
import importlib
from collections.abc import Callable
from pathlib import Path

from common import cli, provenance
from common.cpu import host

# What a record has to hold for load() to use it.
KINDS = {"engine": str, "engine_version": str, "device": str, "cpu_kind": str, "precision": str,
         "batch": int, "part": int, "demo": bool, "onnx": dict}
KINDS_OF_SEVERAL = {**KINDS, "batch": type(None), "part": type(None), "gears": list, "pieces": dict}
AGAIN = "delete it and run `make om` (or atc) again"
LESS = "take a smaller batch (BS=), or end other programs"


def backend_of(engine):
    """The module of an engine; imported only when needed: each takes some tenths of a second."""
    return importlib.import_module(f"common.cpu.{engine}_engine")


def what_runs(backend):
    """The release of the engine, the device and the kind of CPU that its files are bound to; of a
    GPU also by which of its providers."""
    found = {"engine_version": backend.VERSION, "device": backend.device(),
             "cpu_kind": host.cpu()[1]}
    return {**found, "provider": backend.provider()} if found["device"] == "GPU" else found


@contextlib.contextmanager
def explained(what, todo):
    """A block in which an engine works: what it raises becomes a Failure with `what` and `todo`."""
    try:
        yield
    except (cli.Failure, OSError, ModuleNotFoundError):
        raise
    except Exception as e:  # the engines' exceptions have no common class
        if isinstance(e, MemoryError) or "bad_alloc" in str(e) or "allocate memory" in str(e):
            what, todo = f"{what}: memory is too small", LESS
        raise cli.Failure(f"{what}: {cli.short(str(e))}", todo) from e


# ---- models ----

@dataclasses.dataclass(frozen=True)
class Tensor:
    """An input or output of an offline model; `dtype` is a numpy.dtype."""

    name: str
    shape: tuple
    dtype: object

    def described(self):
        """As a record has it."""
        return {"name": self.name, "shape": list(self.shape), "dtype": self.dtype.name}


@dataclasses.dataclass(frozen=True)
class Model:
    """A loaded offline model.

    `run` takes one array for each input (that shape and dtype, C order) and returns the outputs.
    `title` names the engine and its release, `precision` what it computes in; `meta` is the record.
    """

    inputs: list
    outputs: list
    run: Callable
    title: str
    precision: str
    meta: dict = dataclasses.field(default_factory=dict)


def load(path, threads=None, batch=None):
    """Return the Model in `path`; it computes in `threads` threads (None: in all cores). `batch`
    chooses one of the batches of a file that holds several.

    Failure when it or its record is absent, when it is not what the record says or was made from
    other files than those at hand, and when it was compiled by another release of the engine or
    for another kind of CPU.
    """
    path = Path(path)
    if not path.exists():
        raise cli.Failure(f"{path} does not exist", "run `make om` (or atc)")
    meta = chosen_gear(path, sound_record(path), batch)
    backend = backend_of(meta["engine"])
    here = what_runs(backend)
    made = [str(meta.get(key)) for key in here]
    # The engines take a blob with flipped weights, or with other weights, without a word.
    wrong = provenance.misfit(path)
    if made != list(here.values()):
        wrong = (f"was compiled by {backend.TITLE} {' for '.join(made)}; here it is "
                 f"{' for '.join(here.values())}")
    if wrong:
        raise cli.Failure(f"{path} {wrong}", AGAIN)
    with explained(f"{backend.TITLE} rejects {path}", AGAIN):
        data, part = content(path, meta)
        parts = meta["batch"] // part
        model = wrap(backend, data, path, meta["precision"], parts, threads)
    if model.inputs[0].shape[:1] != (meta["batch"],):
        raise cli.Failure(f"{provenance.record_path(path)} says batch {meta['batch']}, and {path} "
                          f"takes {model.inputs[0].shape}", AGAIN)
    return dataclasses.replace(model, meta=meta)


def several(path, meta):
    """Functions as Model.run that compute at the same time, each for one caller, as many as the
    engine advises; `path` is a model that load() took, `meta` its record."""
    backend = backend_of(meta["engine"])
    data, part = content(Path(path), meta)
    parts = meta["batch"] // part
    with explained(f"{backend.TITLE} cannot compute several batches of {path} at once", LESS):
        runs = backend.several(data, meta["precision"])
    return [in_parts(run, parts, 1) for run in runs] if parts > 1 else runs


def chosen_gear(path, meta, batch):
    """The record of an offline model with `batch` as its "batch"; Failure when that is none of
    those it is for."""
    gears = meta.get("gears")
    if gears and batch in gears:
        return {**meta, "batch": batch}
    if gears:
        said = "none is chosen" if batch is None else f"not for {batch}"
        raise cli.Failure(f"{path} is for the batches {', '.join(map(str, gears))}, {said}",
                          "give one of them: BS= (ais_bench: --dymBatch)")
    if batch not in (None, meta["batch"]):
        raise cli.Failure(f"{path} is for batch {meta['batch']} alone, not for {batch}",
                          f"BS={meta['batch']} (ais_bench: omit --dymBatch)")
    return meta


def content(path, meta):
    """(the engine's file in `path`, how many images it computes at a time), for meta["batch"]."""
    if not meta.get("gears"):
        return path.read_bytes(), meta["part"]
    piece = meta["pieces"][str(meta["batch"])]
    with open(path, "rb") as file:
        file.seek(piece["start"])
        return file.read(piece["bytes"]), piece["part"]


def sound_record(path):
    """The record of an offline model; Failure when it is absent, damaged or says too little."""
    record = provenance.record_path(path)
    meta = cli.read_json(record, AGAIN)
    kinds = KINDS if meta.get("gears") is None else KINDS_OF_SEVERAL
    wrong = [key for key, kind in kinds.items() if not isinstance(meta.get(key), kind)]
    if not wrong and (meta["engine"] not in host.ENDINGS
                      or kinds is KINDS and not 0 < meta["part"] <= meta["batch"]):
        wrong = ["engine, batch or part"]
    if wrong:
        raise cli.Failure(f"{record} has no sound {', '.join(wrong)}", AGAIN)
    return meta


def wrap(backend, data, name, precision, parts=1, threads=None):
    """Load an engine's file as a Model whose batch is `parts` times the file's; errors say `name`.

    With several parts the file computes one of them, and each thread whole ones; see PART of the
    engine for what that gains.
    """
    cores = threads or cli.cores()
    workers = min(parts, cores)
    each = cores // workers if parts > 1 else threads  # threads of a worker; None: all cores
    inputs, outputs, compute = backend.load(data, precision, each)
    if parts > 1:
        compute = in_parts(compute, parts, workers)
    title = f"{backend.TITLE} {backend.VERSION}"
    what, todo = f"{title} cannot compute {name}", host.remedy(backend.NAME, precision)

    def run(arrays):
        with explained(what, todo):
            return compute(arrays)

    return Model(of_batch(inputs, parts), of_batch(outputs, parts), run, title, precision)


def of_batch(tensors, parts):
    """[Tensor] of a batch of `parts`, for the (name, shape, dtype) of one part."""
    found = []
    for name, shape, dtype in tensors:
        whole = (shape[0] * parts, *shape[1:]) if shape else shape
        found.append(Tensor(name, whole, dtype))
    return found


def in_parts(compute, parts, workers):
    """A function as `compute` for a batch of so many `parts`, computed by `workers` threads."""
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np

    pool = ThreadPoolExecutor(workers)

    def compute_batch(arrays):
        done = pool.map(compute, zip(*(np.split(a, parts) for a in arrays)))
        # A result without a batch becomes one of another batch, which verify.py names.
        return [np.concatenate([*map(np.atleast_1d, output)]) for output in zip(*done)]

    return compute_batch
