"""The performance summary: what the console shows and what the JSON beside the results holds."""
import os
import sys

import numpy as np


def info(text):
    """Print a line as the original's logger does."""
    print(f"[INFO] {text}", flush=True)


def statistics(times):
    """Return min, max, mean, median and 99th percentile of `times` in milliseconds, and their count."""
    values = {"min": np.min(times), "max": np.max(times), "mean": np.mean(times), "median": np.median(times),
              "percentile(99%)": np.percentile(times, 99)}
    return {**{k: round(float(v), 5) for k, v in values.items()}, "count": len(times)}


def report(compute, reading, writing, batchsize, show_all):
    """Print the summary of three lists of milliseconds; return its part of the JSON.

    The names are CPU_compute_time, file_read_time and file_write_time: there are no NPU and no transfers to report
    under the original's names, and who reads NPU_compute_time must not mistake this for it.
    """
    parts = {"CPU_compute_time": compute, "file_read_time": reading, "file_write_time": writing}
    numbers = {name: statistics(times) for name, times in parts.items() if times}
    throughput = 1000 * batchsize / float(np.mean(compute))
    info("-----------------Performance Summary------------------")
    for name, stats in numbers.items():
        if show_all or name == "CPU_compute_time":
            shown = ", ".join(f"{k} = {v}" for k, v in stats.items() if k != "count")
            info(f"{name} (ms): {shown}")
    mean = numbers["CPU_compute_time"]["mean"]
    info(f"throughput 1000*batchsize.mean({batchsize})/CPU_compute_time.mean({mean}): {throughput:.5f}")
    info("------------------------------------------------------")
    return {**numbers, "throughput": throughput, "cpu_compute_time_list": compute}


def provenance(model, path, batchsize):
    """Return what the JSON says about the run itself; `filesinfo` is added by the caller."""
    kept = ("engine", "engine_version", "device", "cpu", "precision", "batch", "onnx", "demo")
    return {"args": sys.argv, "pid": os.getpid(), "model": str(path), "batchsize": batchsize,
            **{key: model.meta[key] for key in kept}}
