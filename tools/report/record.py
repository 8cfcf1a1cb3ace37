"""Keep what timings gave, with everything that produced them: results/<machine>.json and .csv,
one record per setting, in the form of record.schema.json.

    python3 -m tools.report.record --model ShiftViT-T/light --results results \
        build/perf_bs1_openvino.json build/perf_bs8_openvino.json

A setting is a model at one batch size, with one release of an engine, precision, runner, input,
kind of weights (official or demo), and machine: what computes, CPU, cores, threads and system, not
the host's name, which a container changes. A new figure takes the place of the old one of its
setting, and what fell by more than its noise is named; all others stay. What `make bench-bins`
wrote beside a perf_….json (frombin_….json) belongs to it.
"""
import argparse
import csv
import json
import re
from pathlib import Path

from common import cli
from common.speed import bench, measure
from common.speed.table import best_of, marked, table

SETTING = ("model", "batch", "engine", "precision", "device", "runner", "input", "bins", "demo",
           "engine_version")
REFERENCE = "reference.json"  # in results/: the records that the READMEs show
SCHEMA = json.loads(Path(__file__).with_name("record.schema.json").read_text(encoding="utf-8"))
TYPES = {"array": list, "object": dict, "string": str, "integer": int, "number": (int, float),
         "boolean": bool, "null": type(None)}
PARTS = {"compute_only": "compute only", "several": "several at once", "from_bin": "from .bin"}
COLUMNS = {  # of the .csv: name → path in the record
    **{k: (k,) for k in SETTING},
    "fps_compute_only": ("compute_only", "fps"),
    "spread_compute_only": ("compute_only", "spread"),
    **{f"ms_{k}": ("compute_only", "ms", k) for k in ("min", "median", "p99", "max")},
    "fps_from_bin": ("from_bin", "fps"),
    "spread_from_bin": ("from_bin", "spread"),
    "others_compute_only": ("compute_only", "others"),
    "others_from_bin": ("from_bin", "others"),
    "fps_several": ("several", "fps"),
    "spread_several": ("several", "spread"),
    "images_from_bin": ("from_bin", "images"),
    "hardware": ("hardware", "name"),
    "cpu": ("hardware", "cpu"),
    "cores": ("hardware", "cores"),
    "system": ("hardware", "system"),
    "threads": ("threads",),
    "weights": ("weights", "file"),
    "weights_sha256": ("weights", "sha256"),
    "onnx_sha256": ("onnx_sha256",),
    "date": ("date",)}


def get_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="the model's name in records and tables")
    parser.add_argument("--results", required=True, type=Path, metavar="DIR",
                        help="folder of the records")
    parser.add_argument("--input", choices=("float32", "uint8"), default="float32",
                        help="type of the bins, where the timing does not have its model's "
                             "(default: %(default)s)")
    parser.add_argument("perf", nargs="+", type=Path, help="JSONs of common.speed.bench")
    return parser.parse_args(argv)


def path_in(folder):
    """The file of this machine's records in `folder`, named by its CPU and cores."""
    name = re.sub(r"[^A-Za-z0-9]+", "_", f"{measure.cpu_name()} {cli.cores()} cores")
    return Path(folder) / f"{name.strip('_')}.json"


def misfit(value, schema, where=""):
    """Where `value` is not as `schema` says (a JSON Schema of types, required keys, properties and
    items), as text; None where it is."""
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    fits = any(isinstance(value, TYPES[kind]) for kind in kinds)
    if not fits or (isinstance(value, bool) and "boolean" not in kinds):
        return f"{where or 'it'} is no {' or '.join(kinds)}"
    inside = []
    if isinstance(value, dict):
        lacking = [key for key in schema.get("required", ()) if key not in value]
        if lacking:
            return f"{where} has no {lacking[0]}"
        known = schema.get("properties", {})
        inside = [(value[k], known[k], f"{where}.{k}") for k in known if k in value]
    elif isinstance(value, list) and "items" in schema:
        inside = [(each, schema["items"], f"{where}[{i}]") for i, each in enumerate(value)]
    return next(filter(None, (misfit(*each) for each in inside)), None)


def read(path, model=None, todo="delete it and run make sweep"):
    """The records in a file, of one `model` or all, [] when there is none; Failure with `todo` when
    it holds something else."""
    if not Path(path).exists():
        return []
    content = cli.read_json(path, todo, list)
    wrong = misfit(content, SCHEMA)
    if wrong:
        raise cli.Failure(f"{path} holds no records of timings: {wrong}", todo)
    return [r for r in content if model in (None, r["model"])]


def newest(records):
    """The last of each setting."""
    return list({setting(r): r for r in sorted(records, key=lambda r: r["date"])}.values())


def machine(record):
    """What a figure was taken on, as text: all of it that speed depends on."""
    where, threads = record["hardware"], record["threads"]
    words = [where["name"]] if where["name"] == where["cpu"] else [where["name"], where["cpu"]]
    cores = f"{where['cores']} cores"
    if threads:
        cores = f"{threads} threads" + (f" of {cores}" if threads != where["cores"] else "")
    return ", ".join([*words, cores, where["system"]])


def setting(record):
    """What a record is about; a file has one record of each setting."""
    return (*(record[k] for k in SETTING), machine(record))


def make(model, dtype, perf, from_bin):
    """The record of a timing (`perf`) of a `model` whose bins are `dtype` unless the timing says
    otherwise; `from_bin` is the timing from .bin, or None."""
    onnx, host, cpu = perf.get("onnx") or {}, perf["host"], perf["device"] == "CPU"
    versions = {"python": host["python"], "torch": onnx.get("torch"), "onnx": onnx.get("onnx")}
    name = host["cpu"] if cpu else perf.get("gpu") or perf.get("soc") or perf["device"]
    name = f"{name} by {perf['provider']}" if perf.get("provider") else name
    computed = ("fps", "repeats", "spread", "others", "ms")
    from_bins = ("fps", "repeats", "spread", "others", "images", "seconds")
    taken = (perf.get("inputs") or [{}])[0].get("dtype", dtype)
    return {
        "model": model, "batch": perf["batch"], "engine": perf.get("engine", "ascend"),
        "precision": perf.get("precision"), "device": perf["device"],
        "runner": perf["runner"], "input": taken, "bins": "image",
        "demo": perf.get("demo", onnx.get("demo")),
        "engine_version": perf.get("engine_version"),
        # Images per second: the engine's run alone, and reading, running, writing together.
        "compute_only": {k: perf.get(k) for k in computed},
        "several": perf.get("several"),
        "from_bin": from_bin and {k: from_bin[k] for k in from_bins},
        "hardware": {"name": bench.counted(perf, name), "soc": perf.get("soc"), **host},
        # The engines take one thread per core of the process unless they say otherwise.
        "threads": perf.get("threads", host["cores"]) if cpu else None,
        "weights": {"file": onnx.get("weights"), "sha256": onnx.get("weights_sha256")},
        "onnx_sha256": onnx.get("sha256"), "opset": onnx.get("opset"),
        "versions": {k: v for k, v in versions.items() if v},
        "date": perf["date"]}


def of_file(args, path):
    """The record of a perf_….json and of the frombin_….json of the same name beside it."""
    perf = cli.read_json(path, "make bench")
    bench.chain(path, "make bench")
    beside = path.with_name(path.name.replace("perf_", "frombin_", 1))
    from_bin = None
    if beside != path and beside.exists():
        from_bin = cli.read_json(beside, "make bench-bins")
        bench.chain(beside, "make bench-bins")
        if not measure.same_host(perf["host"], from_bin["host"]):
            from_bin = None
    return make(args.model, args.input, perf, from_bin)


def reliability(record):
    """(largest spread of its figures as text, whether they mean little)."""
    parts = [part for part in map(record.get, ("compute_only", "several", "from_bin")) if part]
    spreads = [p["spread"] for p in parts if p["spread"] is not None]
    return f"{max(spreads):.0%}" if spreads else "-", any(map(bench.noise, parts))


def fallen(new, kept):
    """[text] of the figures of records that are below those kept by more than their noise: the
    larger spread of the two, what others may take where there were no repeats."""
    before, found = {setting(r): r for r in kept}, []
    for r in new:
        for part, name in PARTS.items():
            now, was = r.get(part), before.get(setting(r), {}).get(part)
            if not now or not was:
                continue
            spreads = [p["spread"] for p in (now, was)]
            noise = bench.MOST["others"] if None in spreads else max(spreads)
            if now["fps"] < was["fps"] * (1 - noise):
                found.append(f"batch {r['batch']} {name} {was['fps']:.1f} → {now['fps']:.1f} "
                             f"({now['fps'] / was['fps'] - 1:.0%}, noise {noise:.0%})")
    return found


def write(path, records):
    """Write the records as JSON and, beside it, as CSV."""
    def cell(record, keys):
        for key in keys:
            record = (record or {}).get(key)
        return record

    cli.write_json(path, records)
    with cli.whole_file(path.with_suffix(".csv")) as part:
        with open(part, "w", newline="", encoding="utf-8") as f:
            writer = csv.writer(f)
            writer.writerow(COLUMNS)
            writer.writerows([cell(r, keys) for keys in COLUMNS.values()] for r in records)


def show(records):
    """A table of records of one engine, precision, machine and kind of weights."""
    first = records[0]
    words = (f"{first['engine']} {first['engine_version'] or ''}".strip(), first["precision"],
             machine(first), "demo weights" if first["demo"] else "")
    print(f"\n{first['model']}: {', '.join(filter(None, words))}")
    rows, best = [], best_of([{**r["compute_only"], "batch": r["batch"]} for r in records])
    for r in sorted(records, key=lambda r: r["batch"]):
        ms, whole = r["compute_only"]["ms"], r["from_bin"]
        spread, noisy = reliability(r)
        word = "noisy" if noisy else "best" if r["batch"] == best else ""
        rows.append([str(r["batch"]), marked(r["compute_only"]),
                     marked(r.get("several")), marked(whole),
                     *(f"{ms[k]:.2f}" if ms else "-" for k in ("min", "median", "p99")),
                     spread, word])
    table(["batch", "fps compute only", "several at once", "from .bin", "min ms", "median ms",
           "p99 ms", "spread", ""], rows)


def main():
    args = get_args()
    path = path_in(args.results)
    new = [of_file(args, file) for file in args.perf]
    kept = newest([*read(args.results / REFERENCE), *read(path)])
    records = {setting(r): r for r in [*read(path), *new]}
    args.results.mkdir(parents=True, exist_ok=True)
    write(path, sorted(records.values(), key=lambda r: [str(k).rjust(4) for k in setting(r)]))
    show(new)
    known = {setting(r) for r in kept}
    if any(setting(r) in known for r in new):
        fell = fallen(new, kept)
        print(f"beside the figures kept before: {len(fell) or 'none'} fell by more than noise"
              + "".join(f"\n  {text}" for text in fell))
    if not all(r["from_bin"] for r in new):
        print("from .bin: not timed; that needs images (DATA=), ais_bench and one device")
    print(f"kept in {path}")


if __name__ == "__main__":
    cli.run(main)
