"""Timing: repeats and their spread, the clock from .bin to result files, the records of settings, and a short real sweep."""
import csv
import json
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT, copy_of, make

from common import cli
from common.data import dataset
from common.speed import bench
from tools.inspect import bench_bins
from tools.report import record

PERF = {"engine": "openvino", "engine_version": "2026.4.1", "device": "CPU", "cpu": "Some CPU", "precision": "f32", "batch": 8,
        "demo": True, "onnx": {"sha256": "ab" * 32, "metadata": {
            "weights": "w.pth", "weights_sha256": "cd" * 32, "demo": "true", "torch": "2.15.0", "onnx": "1.23.2"}},
        "fps": 31.5, "repeats": [31, 31.5, 32], "spread": 1 / 31.5, "others": 0.01, "runner": "ais_bench", "command": ["x"],
        "ms": {"min": 250, "max": 270, "mean": 255, "median": 254, "p99": 269},
        "host": {"cpu": "Some CPU", "cores": 2, "system": "Linux x86_64", "python": "3.11.7"},
        "date": "2026-11-20T10:00:00+00:00"}
FROM_BIN = {"fps": 29.5, "repeats": [29, 29.5, 30], "spread": 1 / 29.5, "others": 0.02, "images": 160,
            "seconds": [5.3, 5.4, 5.5]}


def words(tmp_path, *more):
    return record.get_args(["--model", "ShiftViT-T/light", "--results", str(tmp_path / "results"), *more])


def run(monkeypatch, module, *argv):
    monkeypatch.setattr(sys, "argv", ["x", *map(str, argv)])
    module.main()


# A tool that prints what ais_bench prints, its figures from a file of times, and slow at both ends.
TOOL = """
import sys, time, pathlib
args = dict(zip(sys.argv[1::2], sys.argv[2::2]))
state = pathlib.Path("times")
times = state.read_text().split()
state.write_text(" ".join(times[1:]))
time.sleep(0.6)
print("[INFO] get filesperbatch files0 size:4 tensor0size:4 filesperbatch:1 runcount:1")
print("[INFO] warm up 1 done", flush=True)
if "--input" in args:
    time.sleep(float(times[0]))
    out = pathlib.Path(args["--output"]) / "2026_11_20-10_00_00"
    out.mkdir()
    for path in sorted(pathlib.Path(args["--input"]).glob("*.bin"))[int(args.get("--drop", 0)):]:
        (out / (path.stem + "_0.bin")).write_bytes(b"1234")
print("[INFO] -----------------Performance Summary------------------", flush=True)
print(f"[INFO] NPU_compute_time (ms): min = 1.0, max = 4.0, mean = {times[0]}, median = 2.0, percentile(99%) = 3.9")
print(f"[INFO] throughput 1000*batchsize.mean(8)/NPU_compute_time.mean({times[0]}): {8000 / float(times[0])}")
time.sleep(0.6)
"""


@pytest.fixture
def tool(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("tool.py").write_text(TOOL)
    Path("times").write_text("2 4 2.5")
    return [sys.executable, "tool.py"]


def test_the_median_of_the_repeats_counts(tool, monkeypatch, capfd):
    run(monkeypatch, bench, "--json", "perf.json", "--repeats", 3, "--", *tool)
    perf = json.loads(Path("perf.json").read_text())
    assert perf["fps"] == 3200 and perf["repeats"] == [2000, 3200, 4000] and perf["spread"] == 2000 / 3200
    assert perf["host"]["cores"] >= 1 and perf["host"]["cpu"] and perf["date"].startswith("20")
    said = capfd.readouterr().out
    assert "warning: the repeats differ by 62%" in said and said.strip().splitlines()[-1].startswith("3200.0 fps at batch 8")


def test_quiet_repeats_bring_no_warning(tool, monkeypatch, capfd):
    Path("times").write_text("2 2.02 2.01")
    run(monkeypatch, bench, "--json", "perf.json", "--repeats", 3, "--", *tool)
    assert "warning" not in capfd.readouterr().out


def test_other_programs_are_seen(monkeypatch):
    ticks = iter([(100.0, 5.0), (110.0, 9.0)])
    monkeypatch.setattr(bench, "cpu_seconds", lambda: next(ticks))
    monkeypatch.setattr(bench.time, "perf_counter", iter([0.0, 10.0]).__next__)
    monkeypatch.setattr(bench.os, "cpu_count", lambda: 2)
    assert bench.Others().share() == pytest.approx((10 - 4) / 10 / 2)
    assert record.reliability({"compute_only": {"spread": 0.01, "others": 0.3}, "from_bin": None}) == ("1%", True)
    assert record.reliability({"compute_only": {"spread": 0.01, "others": 0.1}, "from_bin": {"spread": 0.05}}) == ("5%", False)
    assert record.reliability({"compute_only": {"spread": None, "others": None}, "from_bin": None}) == ("-", False)


@pytest.fixture
def bins(tmp_path):
    images = [dataset.Image(Path(f"img_{i}.JPEG"), 0) for i in range(20)]
    (tmp_path / "prep").mkdir()
    for image in images:
        (tmp_path / "prep" / f"{image.stem}.bin").write_bytes(b"1234")
    rows = [dataset.Row(i.path.name, i.stem, 0, i.label) for i in images]
    dataset.Manifest(rows, {row.file: 1 for row in rows}, {}).save(tmp_path / "prep")
    (tmp_path / "perf.json").write_text(json.dumps({**PERF, "batch": 4, "fps": 2.0}))
    return tmp_path / "prep"


def test_the_clock_runs_from_the_end_of_warming_up_to_the_summary(monkeypatch):
    """Neither the start of the process nor its end counts: the clock is read twice."""
    monkeypatch.setattr(bench_bins.time, "perf_counter", iter([10.0, 12.5]).__next__)
    clock = bench_bins.Clock()
    for line in ("[INFO] load model x.om success", "[INFO] warm up 1 done", "Inference array Processing:  50%",
                 "[INFO] -----------------Performance Summary------------------", "[INFO] throughput 1: 2",
                 "[INFO] -----------------Performance Summary------------------", "[INFO] unload model success"):
        clock(line)
    assert clock.seconds == 2.5


def test_from_bin_is_the_time_between_first_read_and_last_write(tool, bins, monkeypatch):
    """Neither the start of the process nor its end counts (0.6 s each here)."""
    whole, call = [], bench.run

    def timed(*words):
        start = time.perf_counter()
        said = call(*words)
        whole.append(time.perf_counter() - start)
        return said
    monkeypatch.setattr(bench, "run", timed)
    Path("times").write_text("0.5 0.3 0.4")
    run(monkeypatch, bench_bins, "--json", "out/from.json", "--bins", bins, "--perf", "perf.json", "--repeats", 3, "--", *tool)
    result = json.loads(Path("out/from.json").read_text())
    assert result["images"] == 12 and result["fps"] == pytest.approx(12 / result["seconds"][1])
    # Sleep is never too short, so these hold on a busy host as well; 0.3 s are for when the last line is seen late.
    assert all(want <= got < all_of_it - 0.9 for got, want, all_of_it in zip(
        result["seconds"], (0.3, 0.4, 0.5), sorted(whole), strict=True))
    assert [p.name for p in Path("out").iterdir()] == ["from.json"] and len(list(bins.glob("*.bin"))) == 20


@pytest.mark.parametrize("harm, message", [(("--drop", "1"), "wrote 11 results for 12 bins"), (None, "printed no `warm up")])
def test_from_bin_refuses_what_it_cannot_trust(tool, bins, monkeypatch, harm, message):
    command = [*tool, *harm] if harm else [sys.executable, "-c", "print('done')"]
    with pytest.raises(cli.Failure, match=message):
        run(monkeypatch, bench_bins, "--json", "from.json", "--bins", bins, "--perf", "perf.json", "--", *command)
    assert not Path("from.json").exists() and not list(Path().glob("frombin_*"))


@pytest.mark.parametrize("files, rows, batch, images, wanted", [
    (240, 1, 8, 100, 96), (240, 1, 8, 5, 24), (240, 1, 64, 100, 192), (240, 1, 64, 1000, 192), (40, 1, 64, 9, 40),
    (5, 1, 4, 99, 4), (30, 8, 8, 100, 12), (4, 64, 64, 10, 3), (2, 64, 64, 10, 2)])
def test_whole_batches_are_taken_where_there_are_enough(files, rows, batch, images, wanted):
    stems = {f"f{i}": rows for i in range(files)}
    assert bench_bins.choose(stems, batch, images) == list(stems)[:wanted]


def test_a_setting_is_replaced_and_others_stay(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(record.platform, "node", lambda: "a host.example")
    Path(tmp_path / "from.json").write_text(json.dumps(FROM_BIN))

    def keep(more=(), **changes):
        (tmp_path / "perf.json").write_text(json.dumps({**PERF, **changes}))
        run(monkeypatch, record, "--model", "M", "--results", tmp_path / "results", *more, tmp_path / "perf.json",
            tmp_path / "from.json")
        return json.loads((tmp_path / "results/a_host.json").read_text())
    assert [r["compute_only"]["fps"] for r in keep()] == [31.5]
    assert len(keep(batch=16)) == 2 and len(keep(precision="int8")) == 3 and len(keep(engine="onnxruntime")) == 4
    assert len(keep(demo=False)) == 5 and len(keep(["--input", "uint8"])) == 6
    again = keep(fps=40.0)
    assert len(again) == 6 and sorted(r["compute_only"]["fps"] for r in again) == [31.5] * 5 + [40.0]
    r = next(r for r in again if r["compute_only"]["fps"] == 40)
    assert r["from_bin"]["fps"] == 29.5 and r["hardware"]["name"] == "Some CPU" and r["threads"] == 2 and r["demo"] is True
    assert r["weights"] == {"file": "w.pth", "sha256": "cd" * 32} and r["onnx_sha256"] == "ab" * 32
    assert r["versions"] == {"python": "3.11.7", "torch": "2.15.0", "onnx": "1.23.2"} and r["date"] == PERF["date"]
    with open(tmp_path / "results/a_host.csv", newline="") as f:
        rows = list(csv.DictReader(f))
    assert len(rows) == 6 and {"29.5"} == {row["fps_from_bin"] for row in rows} and rows[0]["ms_p99"] == "269"
    run(monkeypatch, record, "--model", "M", "--results", tmp_path / "results", "--show")
    said = capsys.readouterr().out
    assert "M: openvino 2026.4.1, int8, Some CPU, 2 threads, demo weights" in said and "fps from .bin" in said


@pytest.mark.parametrize("content", ["{}", "[1]", '[{"model": "x"}]', "[", "null"])
def test_damaged_records_are_refused(tmp_path, content):
    (tmp_path / "r.json").write_text(content)
    with pytest.raises(cli.Failure, match="r.json"):
        record.read(tmp_path / "r.json")


def test_an_npu_made_elsewhere(tmp_path):
    """An .om without its .json, and no figure from .bin: nothing is made up."""
    perf = {k: v for k, v in PERF.items() if k in ("batch", "fps", "repeats", "spread", "runner", "command", "host", "date")}
    r = record.make(words(tmp_path), {**perf, "device": "NPU"}, None)
    assert (r["engine"], r["precision"], r["demo"], r["from_bin"], r["threads"]) == ("ascend", None, None, None, None)
    record.show([r])


def test_a_gpu_is_not_taken_for_the_cpu(tool, tmp_path, monkeypatch):
    Path("tool.py").write_text(TOOL.replace("NPU_compute", "CPU_compute"))
    monkeypatch.setenv("HOST_PROVIDER", "cuda")
    monkeypatch.setattr(bench.doctor, "version_of", lambda *_: "Some GPU")
    Path("sidecar.json").write_text(json.dumps({"engine": "onnxruntime", "precision": "f32", "device": "GPU"}))
    run(monkeypatch, bench, "--json", "perf.json", "--provenance", "sidecar.json", "--", *tool)
    r = record.make(words(tmp_path), json.loads(Path("perf.json").read_text()), None)
    assert (r["engine"], r["device"], r["hardware"]["name"], r["threads"]) == ("onnxruntime cuda", "GPU", "Some GPU", None)


@pytest.mark.parametrize("folder", [".", "ShiftViT"])
@pytest.mark.parametrize("word, message", [
    ("BATCHES=3", "choose from 1 4 8"), ("BATCHES=", "choose from"), ("BATCHES=1 2", "choose from"),
    ("BATCHES=8;ls", "the character"), ("REPEATS=0", "positive whole number"), ("REPEATS=x", "positive whole number")])
def test_bad_lists(folder, word, message):
    said = make(ROOT / folder, "-n", "sweep", word, status=2)
    assert message in said and word in said


def test_real_weights_without_images(tmp_path):
    """Only the computation is timed then, and it says so; an offline model of one batch size cannot be swept."""
    folder = copy_of("ShiftViT", tmp_path)
    (folder / "weights").mkdir()
    (folder / "weights/shiftvit_tiny_light.pth").write_text("x")
    said = make(folder, "-n", "sweep", "BATCHES=1 8")
    assert "from .bin: not timed" in said and said.count("common.speed.bench ") == 2 and "bench_bins" not in said
    said = make(folder, "-n", "sweep", "BATCHES=1 8", "DATA=demo", "WEIGHTS=demo")
    assert "from .bin: not timed" not in said and said.count("tools.inspect.bench_bins ") == 2
    (folder / "x.om").write_text("x")
    assert "is for one batch size" in make(folder, "-n", "sweep", "OM=x.om", status=2)


@pytest.mark.xdist_group("shiftvit")
def test_a_short_sweep(shiftvit):
    """In a folder that stands alone: all are compiled before the first is timed, both figures are kept, others stay."""
    folder, _ = shiftvit
    short = ("LOOP=2", "REPEATS=2", "LIMIT=24")
    said = make(folder, "sweep", "BATCHES=1 4", *short)
    assert said.rindex("common.cpu.atc ") < said.index("common.speed.bench ")
    path, = (folder / "build/results").glob("*.json")
    records = {r["batch"]: r for r in record.read(path)}
    assert set(records) == {1, 4}
    for batch, r in records.items():
        assert r["model"] == "ShiftViT-T/light" and r["engine"] == "openvino" and r["precision"] == "f32" and r["demo"] is True
        assert len(r["compute_only"]["repeats"]) == len(r["from_bin"]["repeats"]) == 2 and r["from_bin"]["images"] % batch == 0
        assert r["compute_only"]["ms"]["min"] <= r["compute_only"]["ms"]["median"] <= r["compute_only"]["ms"]["p99"]
        assert r["hardware"]["name"] and r["threads"] >= 1 and len(r["weights"]["sha256"]) == 64
    make(folder, "sweep", "BATCHES=4", *short)
    again = {r["batch"]: r for r in record.read(path)}
    assert again[1] == records[1] and again[4]["compute_only"]["fps"] != records[4]["compute_only"]["fps"]
