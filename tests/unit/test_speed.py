"""Timings: what a log says, how far a figure can be relied on, and what it was taken of."""
import json
import os
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, load

from common import cli, provenance
from common.data.manifest import Manifest, Row
from common.speed import bench, measure, online, table

TOOLS = load(ROOT / "spnasnet/benchmark.py", "benchmark_of_spnasnet")
LOG = """[INFO] warm up 1 done
[INFO] NPU_compute_time (ms): min = 1.0, max = 4.0, mean = 2.5, median = 2.0, percentile(99%) = 3.9
[INFO] also (ms): percentile(90%) = 3.2, percentile(95%) = 3.6
[INFO] throughput 1000*batchsize.mean(8)/NPU_compute_time.mean(2.5): 3200.0
"""
TRTEXEC = """&&&& RUNNING TensorRT.trtexec [TensorRT v8601] # trtexec --onnx=x.onnx
[I] Throughput: 333.879 qps
[I] GPU Compute Time: min = 2.9 ms, max = 3.4 ms, mean = 3.0 ms, median = 2.95 ms, \
percentile(90%) = 3.1 ms, percentile(99%) = 3.3 ms
"""


# ---- what the logs say ----

@pytest.mark.parametrize("log, fps, device, median", [
    (LOG, 3200, "NPU", 2.0),
    (LOG.replace(".mean(8)", "(8)").replace("\n", "\r\n"), 3200, "NPU", 2.0),  # older releases
    (LOG.replace("NPU", "CPU"), 3200, "CPU", 2.0),
    (2 * LOG + "[INFO] summary throughput: 6400.5\n", 6400.5, "NPU", None),
    (LOG.replace("3200.0", "3.2e+03"), 3200, "NPU", 2.0)])
def test_ais_bench(log, fps, device, median):
    found = bench.parse(log)
    assert (found["fps"], found["batch"], found["device"]) == (fps, 8, device)
    assert found.get("ms", {}).get("median") == median
    assert found.get("devices") == (2 if "summary" in log else None)


@pytest.mark.parametrize("log", ["", "[ERROR] no device\n", LOG.replace("3200.0", "-")])
def test_a_log_without_a_figure_is_refused(log):
    with pytest.raises(cli.Failure, match="no throughput line"):
        bench.parse(log)


def test_the_other_tools():
    """Figures of spnasnet's page; queries are batches, and the older tool times one chip of
    four."""
    found = TOOLS.parse_trtexec(TRTEXEC, 8)
    assert found["fps"] == pytest.approx(2671.032) and found["ms"]["p99"] == 3.3
    assert found["engine_version"] == "8601"
    old = TOOLS.parse_trtexec("[I] throughput: 35.9231 qps\n", 64)  # TensorRT 7
    assert old["fps"] == pytest.approx(2299.0784) and "ms" not in old
    text = "[infer] throughputRate: 338.4, Interface throughputRate: 678.142, moduleLatency: 2"
    assert TOOLS.parse_benchmark(text, 1, 4)["fps"] == pytest.approx(2712.568)
    for parse, said in ((lambda: TOOLS.parse_trtexec("FAILED", 1), "trtexec's log"),
                        (lambda: TOOLS.parse_benchmark("[e2e] throughputRate: 1", 1, 4), "file")):
        with pytest.raises(cli.Failure, match=said):
            parse()


@pytest.mark.parametrize("soc, given, fps", [
    ("Ascend310", (), 400), ("Ascend310P3", (), 100), ("Ascend310P3", ("--chips", "4"), 400)])
def test_chips_of_the_card(tmp_path, monkeypatch, soc, given, fps):
    """What the offline model was made for says how many there are."""
    monkeypatch.chdir(tmp_path)
    Path("m.om").write_text("om")
    provenance.record("m.om", [], soc=soc)
    Path("perf.txt").write_text("[infer] Interface throughputRate: 100.0, moduleLatency: 2\n")
    run(monkeypatch, TOOLS, "--json", "r.json", "--model", "m.om", "--batch", 4, "--log",
        "perf.txt", *given)
    assert json.loads(Path("r.json").read_text())["fps"] == fps


# ---- a timing ----

def run(monkeypatch, module, *words):
    monkeypatch.setattr(sys, "argv", ["x", *map(str, words)])
    module.main()


@pytest.fixture
def tool(tmp_path, monkeypatch):
    """The command line of bench in a folder with a model, its weights, and a tool that prints what
    ais_bench prints, with times from a file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(measure.tempfile, "tempdir", None)
    Path("w.pth").write_text("weights")
    Path("m.blob").write_text("model")
    provenance.record("m.blob", ["w.pth"], batch=8, engine="openvino", precision="f32")
    Path("times").write_text("2 4 2.5")
    Path("tool.py").write_text(
        "import pathlib\n"
        "first, *rest = pathlib.Path('times').read_text().split()\n"
        "pathlib.Path('times').write_text(' '.join(rest))\n"
        f"print({LOG!r}.replace('(2.5): 3200.0', f'({{first}}): {{8000 / float(first)}}'))\n")
    return ["--json", "perf.json", "--model", "m.blob", "--repeats", 3, "--", sys.executable,
            "tool.py", "--model=m.om"]


def test_the_median_of_the_repeats_counts(tool, monkeypatch, capfd):
    run(monkeypatch, bench, *tool)
    perf = json.loads(Path("perf.json").read_text())
    assert perf["fps"] == 3200 and perf["repeats"] == [2000, 3200, 4000]
    assert perf["spread"] == 2000 / 3200 and perf["precision"] == "f32"
    assert perf["host"]["cores"] >= 1 and perf["host"]["cpu"] and perf["date"].startswith("20")
    assert set(perf["chain"]) == {"w.pth"} and set(perf["made"]["from"]) == {"m.blob"}
    said = capfd.readouterr().out.strip().splitlines()
    assert said[-1].startswith("3200.0 fps at batch 8 (openvino, f32, NPU, compute only")
    assert said[-1].endswith("noisy: the repeats differ by 62%; measure again on an idle host")
    assert perf["noise"] == "the repeats differ by 62%"
    table.throughput(["perf.json"])
    *_, row, note = capfd.readouterr().out.splitlines()
    assert row.split() == ["8", "2.00", "3.20", "3.60", "3.90", "3200.0", "noisy", "-"]
    assert note.startswith("note: batch 8: the repeats differ by 62%")


def test_a_figure_of_several_devices_says_so(tool, monkeypatch, capfd):
    Path("tool.py").write_text(f"print({2 * LOG + 'summary throughput: 6400'!r})\n")
    run(monkeypatch, bench, *tool)
    table.throughput(["perf.json"])
    said = capfd.readouterr().out
    assert "fps at batch 8 (openvino, f32, 2 × NPU, compute only" in said
    assert "openvino , f32, 2 × NPU, compute only" in said


def test_a_second_round_joins_the_first_where_that_is_of_the_same(tool, monkeypatch):
    run(monkeypatch, bench, *tool)
    Path("times").write_text("4 4 4")
    run(monkeypatch, bench, "--again", *tool)
    perf = json.loads(Path("perf.json").read_text())
    assert perf["repeats"] == [2000, 2000, 2000, 2000, 3200, 4000] and perf["fps"] == 2000
    assert perf["spread"] == 1 and perf["made"]["arguments"] == list(map(str, tool))
    Path("m.blob").write_text("another")
    provenance.record("m.blob", ["w.pth"], batch=8, engine="openvino", precision="f32")
    Path("times").write_text("4 4 4")
    run(monkeypatch, bench, "--again", *tool)
    assert json.loads(Path("perf.json").read_text())["repeats"] == [2000] * 3


@pytest.mark.parametrize("change, said", [
    (lambda: Path("w.pth").write_text("others"), "m.blob was made from another w.pth"),
    (lambda: Path("m.blob").write_text("another"), "m.blob is not the one that m.blob.json"),
    (lambda: provenance.record("m.blob", [], batch=4), "m.blob is for batch 8, not for 4 — BS=8")])
def test_no_figure_of_another_model(tool, monkeypatch, change, said):
    change()
    with pytest.raises(cli.Failure, match=said):
        run(monkeypatch, bench, *tool)
    assert not Path("perf.json").exists()


def test_a_model_without_a_record_is_timed_as_what_it_is(tool, monkeypatch, capsys):
    """--batchsize is what ais_bench would scale the figure by."""
    Path("m.blob.json").unlink()
    with pytest.raises(cli.Failure, match="m.blob is for batch 8, not for 4 — BS=8"):
        run(monkeypatch, bench, "--batch", 4, *tool)
    for words, said in (([*tool, "--batchsize=4"], "leave out --batchsize"),
                        (tool[:-1], "the command is to run --model")):
        with pytest.raises(SystemExit):
            run(monkeypatch, bench, *words)
        assert said in capsys.readouterr().err
    assert not Path("perf.json").exists()


def test_a_figure_that_became_stale_is_not_shown(tool, monkeypatch, capfd):
    run(monkeypatch, bench, *tool)
    Path("w.pth").write_text("others")
    with pytest.raises(cli.Failure, match="made from another w.pth — make bench"):
        table.throughput(["perf.json"])
    Path("m.blob.json").unlink()
    Path("times").write_text("1 1 1")
    run(monkeypatch, bench, *tool)
    assert "note: m.blob has no record" in capfd.readouterr().out


@pytest.mark.parametrize("result, words", [
    ({"spread": 0.03, "others": 0.05}, ""), ({"spread": None, "others": None}, ""),
    ({"spread": 0.44, "others": 0.3},
     "the repeats differ by 44% and other programs took 30% of the CPUs")])
def test_noise(result, words):
    assert bench.noise(result) == words


def test_other_programs_are_seen(monkeypatch):
    monkeypatch.setattr(measure.Others, "by_others", iter([95.0, 101.0]).__next__)
    monkeypatch.setattr(measure.time, "perf_counter", iter([0.0, 10.0]).__next__)
    monkeypatch.setattr(measure.os, "cpu_count", lambda: 2)
    assert measure.Others().share() == pytest.approx(6 / 10 / 2)


# ---- how long, and which batch ----

@pytest.mark.parametrize("log, loops", [(LOG, "2000"), (2 * LOG + "summary throughput: 6400\n",
                                                        "2000")])
def test_seconds_become_loops_on_an_npu(monkeypatch, log, loops):
    """LOG's 8 images take 2.5 ms on each device; its short first run is not the figure."""
    called = []
    monkeypatch.setattr(bench, "run", lambda command, *_: called.append(command) or log)
    assert bench.for_seconds(["ais_bench"], 5, True) == ["ais_bench", "--loop", loops]
    assert called == [["ais_bench", "--loop", bench.FIRST]]
    assert bench.for_seconds(["ais_bench"], 5, False) == ["ais_bench", "--seconds", "5"]


@pytest.mark.parametrize("several, note", [("several at once: {\"fps\": 9.5}", ""), ("", "note:")])
def test_several_at_once_is_a_figure_or_a_note(monkeypatch, capsys, several, note):
    monkeypatch.setattr(cli, "tee", lambda *_: (0, f"x\n{several}\n"))
    found = bench.at_once("m.blob", 8, 5)
    assert (found or {}).get("fps") == (9.5 if several else None)
    assert capsys.readouterr().out.startswith(note)
    assert bool(re.search(bench.FOR_PEOPLE, several)) == (not several)  # it is not for people


def test_noise_of_either_figure_is_said():
    perf = {"fps": 9, "spread": 0.01, "several": {"fps": 12, "spread": 0.2}}
    assert bench.reasons(perf) == "several at once: the repeats differ by 20%"
    assert [table.marked(p) for p in (perf, perf["several"], None)] == ["9.0", "12.0 noisy", "-"]


@pytest.mark.parametrize("repeats, best", [
    ([(100, 101, 102), (103, 104, 105), (104, 106, 107)], 2),  # 2 reaches 104, 1 does not
    ([(100, 101, 102), (200, 300, 400), (103, 104, 105)], 3),  # 2 is noisy
    ([(100,), (101,), (101,)], 2), ([(1, 2, 3), (2, 3, 4)], None)])
def test_the_best_batch_is_the_smallest_that_cannot_be_told_from_the_best(repeats, best):
    perfs = [{"batch": batch, "fps": r[len(r) // 2], "repeats": r,
              "spread": (r[-1] - r[0]) / r[len(r) // 2]} for batch, r in enumerate(repeats, 1)]
    assert table.best_of(perfs) == best


# ---- timings wait for each other ----

def test_two_timings_exclude_each_other(tool):
    """A second process waits until the first has done; so with two of make -j2 as well. Nothing
    is left, or written, where others may write."""
    before = set(Path().iterdir())
    code = ("import sys, time; sys.path.insert(0, sys.argv[1])\n"
            "from common.speed import measure\n"
            "with measure.alone():\n"
            "    print('begin', flush=True); time.sleep(0.3); print('end', flush=True)\n")
    from subprocess import PIPE, Popen
    read, write = os.pipe()
    both = [Popen([sys.executable, "-c", code, str(ROOT)], stdout=write, stderr=PIPE)
            for _ in range(2)]
    os.close(write)
    with open(read) as said:
        assert said.read().split() == ["begin", "end"] * 2
    waited = [process.communicate()[1] for process in both]
    assert b"".join(waited).count(b"waiting for another timing") <= 1
    assert set(Path().iterdir()) == before


# ---- torch's side ----

class Slow(torch.nn.Module):
    """Takes 0.25 s per image on a clock of its own; the logits tell images by their mean."""

    def __init__(self, clock):
        super().__init__()
        self.clock = clock

    def forward(self, x):
        self.clock.now += 0.25 * len(x)
        logits = torch.zeros(len(x), 10)
        logits[torch.arange(len(x)), x.mean((1, 2, 3)).round().long()] = 1
        return logits


def write_bins(folder, count=20):
    """Bins of constant images, image i of value i % 10; whole batches of 4, padding at the end."""
    folder.mkdir()
    rows, files = [], {}
    for start in range(0, count, 3):
        stem, images = f"batch{start:02d}", np.zeros((4, 3, 2, 2), np.float32)
        for row, i in enumerate(range(start, min(start + 3, count))):
            images[row] = i % 10
            rows.append(Row(f"img_{i}.png", stem, row, i % 10))
        images.tofile(folder / f"{stem}.bin")
        files[stem] = 4
    return Manifest(rows, files, {"shape": [3, 2, 2], "dtype": "float32", "bad": {},
                                  "recipe": {"resize": 2, "crop": 2}})


def test_torchs_answers_and_speed(tmp_path, monkeypatch):
    """Each image by its own row, padding left out, also where a batch ends within a bin;
    seconds per image of a clock that says so."""
    manifest = write_bins(tmp_path / "bins")
    clock = types.SimpleNamespace(now=0.0)
    fake = types.SimpleNamespace(perf_counter=lambda: clock.now)
    monkeypatch.setattr(online, "time", fake)
    logits, seconds = online.answers(Slow(clock), manifest, tmp_path / "bins")
    assert logits.argmax(1).tolist() == [row.label for row in manifest.rows]
    assert seconds == pytest.approx([0.25] * 3)


# ---- Demo's table ----

def write_demo(folder, answers, wrong=()):
    """What make demo leaves: torch's and the offline model's answers for images, of which those
    numbered `wrong` got another one from the offline model. Both count the same."""
    (folder / "build").mkdir(parents=True)
    (folder / "published.json").write_text(json.dumps({
        "model": "Net", "classes": 10, "chip": "310P", "fps": {"8": 700}, "top1": 74.2}))
    theirs = [f"img_{i}.png,{answer + (i in wrong)}\n" for i, answer in enumerate(answers)]
    csv = folder / "build/answers.csv"
    csv.write_text("image,class1\n" + "".join(reversed(theirs)))  # joined by name
    score = {"good": 5, "total": len(answers), "top1": 50.0, "top5": 60.0, "line": "top1=50.00%"}
    made = {"arguments": [], "from": {}}
    for name, content in {
            "online": {**score, "answers": {f"img_{i}.png": a for i, a in enumerate(answers)},
                       "produced_by": {"fps": 12.5, "others": 0.4}},
            "eval_bs8_openvino": {**score, "answers_csv": {"file": csv.name,
                                                           "sha256": cli.sha256(csv)}},
            "perf_bs8_openvino": {"fps": 31.5, "spread": 0.3, "others": 0.01, "batch": 8,
                                  "engine": "openvino", "precision": "bf16"}}.items():
        cli.write_json(folder / f"build/{name}.json", {**content, "made": made})


def test_demo_compares_answers_and_shows_noise(tmp_path, monkeypatch, capsys):
    write_demo(tmp_path / "Net", [3] * 200, wrong=[7])
    monkeypatch.chdir(tmp_path)
    run(monkeypatch, table, "--demo", "build", "--of", "Net", "bs8_openvino")
    said = capsys.readouterr().out
    row = next(line for line in said.splitlines() if line.startswith("Net "))
    assert row.split() == ["Net", "200", "50.00%", "50.00%", "60.00%", "199/200", "12.5", "noisy",
                           "31.5", "noisy", "74.2%", "700", "(310P)"]
    assert "seeded weights, openvino on this CPU, bf16, batch 8." in said
    assert "note: Net, fps torch: other programs took 40%" in said
    assert "note: Net, fps offline: the repeats differ by 30%" in said
    Path("Net/build/answers.csv").write_text("image,class1\n")
    with pytest.raises(cli.Failure, match="answers.csv is not what the scoring wrote"):
        run(monkeypatch, table, "--demo", "build", "--of", "Net", "bs8_openvino")


def test_demo_fails_where_the_answers_differ_though_the_counts_are_the_same(
        tmp_path, monkeypatch, capsys):
    write_demo(tmp_path / "Net", [3, 4] * 100, wrong=[7, 8, 9])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(cli.Failure, match="answer otherwise for Net"):
        run(monkeypatch, table, "--demo", "build", "--of", "Net", "bs8_openvino")
    assert "197/200" in capsys.readouterr().out
