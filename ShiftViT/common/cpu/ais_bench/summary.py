"""The performance summary: what the console shows and what the JSON beside the results holds."""
import json
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


class Record:
    """The JSON beside the results, written as the run goes on: the names of 50,000 files would be 30 MB of memory.

    file: where to, open for text. note() once an input, then end().
    """

    def __init__(self, file):
        self.file, self.inputs, self.files = file, 0, 0
        file.write('{\n "filesinfo": {')

    def note(self, infiles, outfiles):
        """Write down which files (lists of paths) came of which."""
        entry = json.dumps({"infiles": infiles, "outfiles": outfiles}, ensure_ascii=False)
        self.file.write(f'{"," if self.inputs else ""}\n  "{self.inputs}": {entry}')
        self.inputs, self.files = self.inputs + 1, self.files + len(outfiles)

    def end(self, content):
        """Write the rest, a dict."""
        self.file.write("\n },\n" + json.dumps(content, indent=1, ensure_ascii=False)[2:] + "\n")


def provenance(model, path, batchsize):
    """Return what the JSON says about the run itself; `filesinfo` is added by the caller."""
    kept = ("engine", "engine_version", "device", "cpu", "precision", "batch", "onnx", "demo")
    return {"args": sys.argv, "pid": os.getpid(), "model": str(path), "batchsize": batchsize,
            **{key: model.meta[key] for key in kept}}
