"""Operators of an .om by the vendor's msprof:

    msprof --output=DIR python3 -m ais_bench --model x.om --loop 20

which writes DIR/PROF_…/mindstudio_profiler_output/op_summary_*.csv, a call of an operator a row,
and op_statistic_*.csv, a type a row; releases before 8.0 write them under …/summary/.
"""
import csv
import shutil
import tempfile
from pathlib import Path

from common import cli, provenance
from common.speed import bench

FOLDERS = "mindstudio_profiler_output", "summary"


def timed(path, batch, command):
    """(record of the .om, [(name, type, ms of a run)], ms of a run that is not profiled).
    `command` is ais_bench's. Failure without msprof, its tables, or a figure in the log, and when
    the .om is of another batch."""
    program = shutil.which("msprof")
    if not program:
        raise cli.Failure("msprof is not there", "load CANN: source its set_env.sh")
    plain = bench.parse(bench.run(command, "ais_bench", on_npu=True))
    bench.check_batch(path, plain["batch"], batch)
    if "ms" not in plain:
        raise cli.Failure("ais_bench gave no time of a run", "profile one device: DEVICE=0")
    with tempfile.TemporaryDirectory() as folder:
        bench.run([program, f"--output={folder}", *command], "msprof", on_npu=True)
        times = read(folder)
    return provenance.read(path) or {"engine": "ascend"}, times, plain["ms"]["mean"]


def read(folder):
    """[(name, type, ms)] of msprof's tables below `folder`, in the order of computation; ms is the
    mean of an operator's calls. Failure when tables are missing or do not agree."""
    summary, statistic = (rows_of(folder, name) for name in ("op_summary", "op_statistic"))
    calls, total = {}, 0.0
    try:
        for row in sorted(summary, key=begin):
            took = float(row["Task Duration(us)"])
            calls.setdefault((row["Op Name"], row["OP Type"]), []).append(took)
            total += took
        wanted = sum(float(row["Total Time(us)"]) for row in statistic)
    except (KeyError, TypeError, ValueError) as e:
        raise cli.Failure(f"msprof's tables below {folder} cannot be read: {cli.short(str(e))}",
                          "its columns are those of another release") from e
    if not total or abs(total - wanted) > 0.01 * total:
        raise cli.Failure(f"op_summary has {total:.0f} us and op_statistic {wanted:.0f}",
                          "profile again: a table is not whole")
    return [(*key, sum(took) / len(took) / 1e3) for key, took in calls.items()]


def begin(row):
    """When a call began; older releases name the column without its unit."""
    return float(row.get("Task Start Time(us)") or row["Task Start Time"])


def rows_of(folder, name):
    """The rows of all tables of that name, as dicts."""
    files = [file for file in sorted(Path(folder).rglob(f"{name}*.csv"))
             if file.parent.name in FOLDERS]
    if not files:
        raise cli.Failure(f"msprof wrote no {name}_*.csv", "see its messages above")
    rows = []
    for file in files:
        with open(file, newline="", encoding="utf-8-sig") as f:
            rows += csv.DictReader(f)
    return rows
