"""The time of each operator on a CPU: the engine's own clocks, in turn with runs without them."""
import tempfile
import time

from common import cli
from common.cpu import engine, verify

SECONDS, FEWEST = 5, 5  # time of the runs that are not profiled, and how many at least


def openvino_clock(data, meta):
    """(a function of [images], one that gives the times of all its runs)."""
    import openvino

    from common.cpu import openvino_engine

    config = {**openvino_engine.config(meta["precision"]), "PERF_COUNT": True}
    request = openvino.Core().import_model(data, "CPU", config).create_infer_request()

    def times(runs):  # its clock gives the mean of the runs
        return [(node.node_name, node.node_type, node.real_time.total_seconds() * 1e3)
                for node in request.profiling_info
                if node.status == openvino.ProfilingInfo.Status.EXECUTED]

    return request.infer, times


def onnxruntime_clock(data, meta):
    """As openvino_clock(), for a batch that is computed in parts as engine.wrap() does it."""
    from common.cpu import onnxruntime_engine as ort

    parts = meta["batch"] // meta["part"]
    at_once = min(parts, cli.cores())
    folder = tempfile.TemporaryDirectory()
    threads = cli.cores() // at_once if parts > 1 else None
    session = ort.session(data, ort.Level.ORT_DISABLE_ALL, threads=threads,
                          profile=f"{folder.name}/profile")
    name = session.get_inputs()[0].name

    def compute(arrays):
        return session.run(None, {name: arrays[0]})

    def times(runs):
        found = {}
        for node, event in ort.kernels(session):
            key = int(event["args"]["node_index"]), node
            row = found.setdefault(key, [event["args"]["op_name"], 0])
            row[1] += event["dur"] / 1e3 / runs / at_once
        folder.cleanup()
        return [(name, *row) for (_, name), row in found.items()]

    return (engine.in_parts(compute, parts, at_once) if parts > 1 else compute), times


def timed(path, batch):
    """(the record, [(name, type, ms)], ms of a run that is not profiled) of an offline model."""
    model = engine.load(path, batch=batch)
    if model.meta["device"] != "CPU":
        raise cli.Failure(f"{path} is for a GPU", "make profile without PROVIDER=")
    data, part = engine.content(path, model.meta)
    clock = {"openvino": openvino_clock, "onnxruntime": onnxruntime_clock}[model.meta["engine"]]
    profiled, times = clock(data, {**model.meta, "part": part})
    images = verify.random(model.inputs[0])
    plain = []
    model.run([images])  # the first run is slower than all others
    while len(plain) < FEWEST or sum(plain) < SECONDS:
        begin = time.perf_counter()
        model.run([images])
        plain.append(time.perf_counter() - begin)
        profiled([images])
    return {**model.meta, "part": part}, times(len(plain)), 1e3 * sum(plain) / len(plain)
