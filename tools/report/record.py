"""Keep what a timing gave, with everything that produced it: results/<host>.json and .csv, one record a setting.

    python3 -m tools.report.record --model ShiftViT-T/light --results results build/perf_bs8.json build/frombin_bs8.json
    python3 -m tools.report.record --model ShiftViT-T/light --results results --show

A setting is a model at one batch size, with one engine, precision, runner, input and kind of weights (official or demo). A new
figure takes the place of the old one of its setting; all others stay.
"""
import argparse
import csv
import platform
import re
from pathlib import Path

from common import cli
from common.speed import bench, table

SETTING = ("model", "batch", "engine", "precision", "device", "runner", "input", "bins", "demo")
COLUMNS = {  # of the .csv: name → path in the record
    **{k: (k,) for k in SETTING}, "engine_version": ("engine_version",),
    "fps_compute_only": ("compute_only", "fps"), "spread_compute_only": ("compute_only", "spread"),
    **{f"ms_{k}": ("compute_only", "ms", k) for k in ("min", "median", "p99", "max")},
    "fps_from_bin": ("from_bin", "fps"), "spread_from_bin": ("from_bin", "spread"),
    "others_compute_only": ("compute_only", "others"), "others_from_bin": ("from_bin", "others"),
    "images_from_bin": ("from_bin", "images"),
    "hardware": ("hardware", "name"), "cores": ("hardware", "cores"), "threads": ("threads",),
    "weights": ("weights", "file"), "weights_sha256": ("weights", "sha256"), "onnx_sha256": ("onnx_sha256",), "date": ("date",)}


def get_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="the model's name in records and tables")
    parser.add_argument("--results", required=True, type=Path, metavar="DIR", help="folder of the records")
    parser.add_argument("--input", choices=("float32", "uint8"), default="float32", help="type of the bins (default: float32)")
    parser.add_argument("--bins", choices=("image", "batch"), default="image", help="what a bin holds (default: image)")
    parser.add_argument("--show", action="store_true", help="print the model's records")
    parser.add_argument("perf", nargs="?", help="JSON of common.speed.bench")
    parser.add_argument("from_bin", nargs="?", help="JSON of tools.inspect.bench_bins")
    return parser.parse_args(argv)


def path_in(folder):
    """The file of this host's records in `folder`."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", platform.node().split(".")[0]) or "host"
    return Path(folder) / f"{name}.json"


def read(path):
    """The records in a file, [] when there is none; Failure when it is damaged or holds something else."""
    if not Path(path).exists():
        return []
    content = cli.read_json(path, "delete or mend it", list)
    needed = {*SETTING, "compute_only", "from_bin", "hardware", "threads", "weights", "versions", "date"}
    if not all(isinstance(r, dict) and needed <= set(r) for r in content):
        raise cli.Failure(f"{path} holds no records of timings", "delete it and run make sweep")
    return content


def setting(record):
    """What a record is about; two records of one setting never stand in one file."""
    return tuple(record[k] for k in SETTING)


def make(args, perf, from_bin):
    """The record of two results, of which the second may be None."""
    metadata = (perf.get("onnx") or {}).get("metadata") or {}
    host = perf["host"]
    cpu = perf["device"] == "CPU"
    hardware = host["cpu"] if cpu else perf.get("gpu") or perf.get("soc") or perf["device"]
    engine = " ".join(filter(None, (perf.get("engine", "ascend"), perf.get("provider"))))
    demo = perf["demo"] if "demo" in perf else metadata.get("demo") == "true" if metadata else None
    return {
        "model": args.model, "batch": perf["batch"], "engine": engine,
        "precision": perf.get("precision"), "device": perf["device"], "runner": perf["runner"], "input": args.input,
        "bins": args.bins, "demo": demo,
        "engine_version": perf.get("engine_version"),
        # Measured, in images a second: the engine's run alone, and reading, running and writing together.
        "compute_only": {k: perf.get(k) for k in ("fps", "repeats", "spread", "others", "ms", "command")},
        "from_bin": from_bin and {k: from_bin[k] for k in ("fps", "repeats", "spread", "others", "images", "seconds")},
        "hardware": {"name": hardware, "soc": perf.get("soc"), **host},
        # The engines take one thread a core of the process unless they say otherwise.
        "threads": perf.get("threads", host["cores"]) if cpu else None,
        "weights": {"file": metadata.get("weights"), "sha256": metadata.get("weights_sha256")},
        "onnx_sha256": (perf.get("onnx") or {}).get("sha256"), "opset": metadata.get("opset"),
        "versions": {k: v for k, v in {"python": host["python"], "torch": metadata.get("torch"),
                                       "onnx": metadata.get("onnx")}.items() if v},
        "date": perf["date"]}


def reliability(record):
    """(largest spread of its figures as text, whether they mean little)."""
    parts = [part for part in (record["compute_only"], record["from_bin"]) if part]
    spreads = [p["spread"] for p in parts if p["spread"] is not None]
    noisy = any((p.get(k) or 0) > bench.NOISY for p in parts for k in ("spread", "others"))
    return f"{max(spreads):.0%}" if spreads else "-", noisy


def write(path, records):
    """Write the records as JSON and, beside it, as CSV."""
    cli.write_json(path, records)
    with cli.whole_file(path.with_suffix(".csv")) as part, open(part, "w", newline="", encoding="utf-8") as f:
        writer = csv.writer(f)
        writer.writerow(COLUMNS)
        for record in records:
            row = []
            for keys in COLUMNS.values():
                value = record
                for key in keys:
                    value = (value or {}).get(key)
                row.append(value)
            writer.writerow(row)


def show(records):
    """A table of one model's records; what was run with what stands above each group."""
    groups = {}
    for r in records:
        groups.setdefault((r["engine"], r["engine_version"], r["precision"], r["hardware"]["name"], r["threads"], r["demo"]),
                          []).append(r)
    for (engine, version, precision, hardware, threads, demo), group in groups.items():
        best = max(r["compute_only"]["fps"] for r in group)
        print(f"\n{group[0]['model']}: {engine} {version or ''}, {precision}, {hardware}"
              f"{f', {threads} threads' if threads else ''}{', demo weights' if demo else ''}")
        rows = []
        for r in sorted(group, key=lambda r: r["batch"]):
            ms, whole = r["compute_only"]["ms"] or {}, r["from_bin"] or {}
            spread, noisy = reliability(r)
            rows.append([str(r["batch"]), f"{r['compute_only']['fps']:.1f}", f"{whole['fps']:.1f}" if whole else "-",
                         *(f"{ms[k]:.2f}" if ms else "-" for k in ("min", "median", "p99")),
                         spread, "noisy" if noisy else "best" if r["compute_only"]["fps"] == best else ""])
        table.table(["batch", "fps compute only", "fps from .bin", "min ms", "median ms", "p99 ms", "spread", ""], rows)


def main():
    args = get_args()
    path = path_in(args.results)
    if args.show:
        return show([r for r in read(path) if r["model"] == args.model])
    perf = cli.read_json(args.perf, "make bench")
    new = make(args, perf, cli.read_json(args.from_bin, "make bench-bins") if args.from_bin else None)
    args.results.mkdir(parents=True, exist_ok=True)
    with cli.lock(args.results / f".{path.stem}.lock"):
        records = {setting(r): r for r in read(path)}
        records[setting(new)] = new
        write(path, sorted(records.values(), key=lambda r: [str(r[k]).rjust(4) for k in SETTING]))
    print(f"kept in {path}")


if __name__ == "__main__":
    cli.run(main)
