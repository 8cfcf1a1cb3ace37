"""Throughput from .bin: which bins are taken, what the clock counts, what is refused."""
import json
import os
import sys
from pathlib import Path

import pytest

from common import cli, provenance
from common.data.manifest import Manifest, Row
from common.speed import measure
from tools.inspect import bench_bins

# Prints what ais_bench prints, and writes a result for each bin but the first `drop`.
TOOL = """
import pathlib, sys
args = dict(zip(sys.argv[2::2], sys.argv[3::2]))
print("[INFO] load model m.om success")
print("[INFO] warm up 1 done", flush=True)
out = pathlib.Path(args["--output"]) / "2026_11_20-10_00_00"
out.mkdir()
for path in sorted(pathlib.Path(args["--input"]).glob("*.bin"))[int(sys.argv[1]):]:
    assert not path.is_symlink() and not path.stat().st_mode & 0o022
    (out / (path.stem + "_0.bin")).write_bytes(b"1234")
print("[INFO] -----------------Performance Summary------------------", flush=True)
print("[INFO] unload model success")
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """20 bins that others may write, an offline model, and its timing: 2 images/s at batch 4."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(measure.tempfile, "tempdir", str(tmp_path))
    stems = [f"img_{i}" for i in range(20)]
    Path("prep").mkdir()
    for stem in stems:
        Path(f"prep/{stem}.bin").write_bytes(b"1234")
        os.chmod(f"prep/{stem}.bin", 0o666)
    rows = [Row(f"{stem}.png", stem, 0, 0) for stem in stems]
    Manifest(rows, dict.fromkeys(stems, 1), {}).save("prep")
    Path("m.blob").write_text("m")
    provenance.record("m.blob", ["prep/manifest.json"])
    cli.write_json("perf.json", {"batch": 4, "fps": 2.0, "device": "CPU", "engine": "openvino",
                                 "precision": "f32",
                                 "made": provenance.made("perf.json", ["m.blob"], [])})
    Path("tool.py").write_text(TOOL)
    return tmp_path


def run(monkeypatch, *command):
    words = ["--json", "out/from.json", "--bins", "prep", "--perf", "perf.json", "--model",
             "m.blob", "--", sys.executable, *command, "--model", "m.om"]
    monkeypatch.setattr(sys, "argv", ["bench_bins", *words])
    bench_bins.main()


def test_from_bin(folder, monkeypatch):
    """Whole batches for five seconds; the median of three; the bins stay as they are."""
    taken = iter([4.0, 2.0, 3.0])
    counted = bench_bins.seconds
    monkeypatch.setattr(bench_bins, "seconds", lambda lines: counted(lines) and next(taken))
    run(monkeypatch, "tool.py", "0")
    result = json.loads(Path("out/from.json").read_text())
    assert (result["images"], result["fps"], result["seconds"]) == (12, 4.0, [2.0, 3.0, 4.0])
    assert set(result["made"]["from"]) == {"m.blob", "prep/manifest.json"}
    assert os.listdir("out") == ["from.json"] and len(list(Path("prep").glob("*.bin"))) == 20


def test_a_timing_of_another_model_is_refused(folder, monkeypatch):
    Path("m.blob").write_text("another")
    provenance.record("m.blob", [])
    with pytest.raises(cli.Failure, match="perf.json is the timing of another model than m.blob"):
        run(monkeypatch, "tool.py", "0")


def test_the_clock_runs_from_the_end_of_warming_up_to_the_summary():
    """Neither the start of the process nor its end counts: the clock is read twice."""
    lines = ["[INFO] load model x.om success\n", "[INFO] warm up 1 done\n",
             "Inference array Processing:  50%\n", "[INFO] ----Performance Summary----\n",
             "[INFO] throughput 1: 2\n", "[INFO] ----Performance Summary----\n"]
    assert bench_bins.seconds(lines, iter([10.0, 12.5]).__next__) == 2.5
    assert bench_bins.seconds(lines[:3], iter([10.0]).__next__) is None


def test_the_command_of_another_model_is_refused(capsys):
    words = ["--json", "j", "--bins", "prep", "--perf", "p", "--model", "m.om", "--", "ais_bench"]
    with pytest.raises(SystemExit):
        bench_bins.get_args([*words, "--model=n.om"])
    assert "the command is to run --model" in capsys.readouterr().err


@pytest.mark.parametrize("command, said", [
    (("tool.py", "1"), "wrote 11 results for 12 bins"),
    (("-c", "print('done')"), "printed no `warm up"),
    (("-c", "raise SystemExit(3)"), "ended with status 3")])
def test_what_cannot_be_trusted_is_refused(folder, monkeypatch, command, said):
    with pytest.raises(cli.Failure, match=said):
        run(monkeypatch, *command)
    assert not list(Path("out").iterdir())


def test_no_figure_of_another_model(folder, monkeypatch):
    Path("m.blob").write_text("another")
    with pytest.raises(cli.Failure, match="m.blob is not the one"):
        run(monkeypatch, "tool.py", "0")


@pytest.mark.parametrize("files, rows, batch, images, wanted", [
    (240, 1, 8, 100, 96), (240, 1, 8, 5, 24), (240, 1, 64, 1000, 192), (40, 1, 64, 9, 40),
    (5, 1, 4, 99, 4), (30, 8, 8, 100, 12), (2, 64, 64, 10, 2)])
def test_whole_batches_are_taken_where_there_are_enough(files, rows, batch, images, wanted):
    stems = {f"f{i}": rows for i in range(files)}
    assert bench_bins.choose(stems, batch, images) == list(stems)[:wanted]
