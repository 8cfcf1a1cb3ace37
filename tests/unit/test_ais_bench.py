"""The stand-in for ais_bench: the files, names and lines of Ascend's."""
import json
import os
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from graphs import images, logits, make_onnx, save_graph
from onnx import helper

from common import cli
from common.cpu import compiler, engine, host, several
from common.cpu.ais_bench import __main__ as ais_bench
from common.cpu.ais_bench import inputs, outputs, timing
from common.speed import bench

TO_X = ("--input", "prep", "--output", "r", "--output_dirname", "x")


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HOST_ENGINE", raising=False)


@pytest.fixture
def call(monkeypatch, capfd):
    """call(*words) runs ais_bench and returns what it printed to stdout, as lines."""
    def run(*words):
        monkeypatch.setattr(sys, "argv", ["ais_bench", *map(str, words)])
        capfd.readouterr()
        ais_bench.main()
        return capfd.readouterr().out.splitlines()
    return run


@pytest.fixture
def tiny():
    """A model for batch 4: (path, weights)."""
    weights = make_onnx("tiny.onnx")
    compiler.compile_onnx("tiny.onnx", 4, "openvino", "tiny.blob")
    return Path("tiny.blob"), weights


def make_bins(names, rows=1):
    """Write prep/<name> for each name; return all rows in the order of `names`."""
    Path("prep").mkdir()
    made = images(len(names) * rows)
    for i, name in enumerate(names):
        made[i * rows:(i + 1) * rows].tofile(f"prep/{name}")
    return made


def test_a_short_batch_is_padded_and_each_image_has_its_file(call, tiny):
    path, weights = tiny
    names = [f"IMG_{i}.bin" for i in (1, 10, 100, 2, 20, 3)]
    made = make_bins(names)
    Path("prep/readme.txt").write_text("not an input")
    Path("prep/sub").mkdir()
    out = call("--model", path, "--input", "prep", "--output", "result", "--output_dirname", "r")
    assert ("[INFO] get filesperbatch files0 size:192 tensor0size:768 filesperbatch:4 runcount:2"
            in out)
    assert sorted(p.name for p in Path("result").iterdir()) == ["r", "r_summary.json"]
    assert len(list(Path("result/r").iterdir())) == 6
    for name, want in zip(names, logits(made, weights), strict=True):
        got = np.fromfile(f"result/r/{name[:-4]}_0.bin", np.float32)
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)
    content = json.loads(Path("result/r_summary.json").read_text())
    assert content["filesinfo"]["3"] == {"infiles": ["prep/IMG_2.bin"],
                                         "outfiles": ["result/r/IMG_2_0.bin"]}
    times = content["cpu_compute_time_list"]
    assert len(content["filesinfo"]) == 6 and len(times) == 2
    assert content["throughput"] == pytest.approx(1000 * 4 / np.mean(times))
    assert content["args"][1:3] == ["--model", str(path)] and content["pid"] == os.getpid()
    assert content["precision"] == "f32" and content["demo"] is False
    assert not [key for key in content if "NPU" in key]


def test_padding_is_the_first_file_of_the_batch():
    for i in (1, 2):
        np.full(2, i, np.float32).tofile(f"{i}.bin")
    buffer = np.full((5, 2), 9, np.float32)
    inputs.read(["1.bin", "2.bin"], buffer)
    assert buffer[:, 0].tolist() == [1, 2, 1, 1, 1]
    os.truncate("2.bin", 1)
    with pytest.raises(cli.Failure, match="2.bin became shorter"):
        inputs.read(["1.bin", "2.bin"], buffer)


def test_lines(call, tiny):
    path, _ = tiny
    make_bins(["a.bin"])
    out = call("--model", "tiny.om", "--input", "prep", "--warmup_count", 2, "--loop", 3)
    assert out[0].startswith("[INFO] this is the CPU stand-in for ais_bench, no NPU is used: O")
    assert f"[INFO] tiny.om does not exist, {path} is used in its place" in out
    assert "[INFO] warm up 2 done" in out
    number, text = r"[0-9.]+", "\n".join(out)
    keys = ("min", "max", "mean", "median", r"percentile\(99%\)")
    shown = ", ".join(f"{key} = {number}" for key in keys)
    assert re.search(rf"^\[INFO\] CPU_compute_time \(ms\): {shown}$", text, re.M)
    rate = re.search(rf"^\[INFO\] throughput 1000\*batchsize\.mean\(4\)/CPU_compute_time\.mean"
                     rf"\(({number})\): ({number})$", text, re.M)
    assert float(rate[2]) == pytest.approx(4000 / float(rate[1]), rel=1e-2)
    assert out[-1] == "nothing was saved (no --output)" and not Path("result").exists()


def test_loop_counts_each_run(call, tiny):
    make_bins([f"{i}.bin" for i in range(5)])
    call("-m", tiny[0], "-i", "prep", "-o", "r", "--output_dirname", "x", "-l", 3,
         "--batchsize", 16)
    content = json.loads(Path("r/x_summary.json").read_text())
    assert content["CPU_compute_time"]["count"] == 6
    times = content["cpu_compute_time_list"]
    assert content["throughput"] == pytest.approx(16000 / np.mean(times))
    assert len(list(Path("r/x").iterdir())) == 5


@pytest.mark.parametrize("rows", [2, 4])
def test_several_rows_in_a_file(call, tiny, rows):
    path, weights = tiny
    made = make_bins(["a.bin", "b.bin", "c.bin"], rows)
    call("--model", path, *TO_X, "--outfmt", "NPY")
    got = np.concatenate([np.load(f"r/x/{name}_0.npy") for name in "abc"])
    np.testing.assert_allclose(got, logits(made, weights), rtol=0, atol=1e-5)


def test_pure_inference(call, tiny):
    path, weights = tiny
    call("--model", path, *TO_X[2:], "--loop", 7, "--outfmt", "NPY")
    got = np.load("r/x/pure_infer_data_0.npy")
    np.testing.assert_allclose(got, np.tile(weights[1], (4, 1)), atol=1e-6)  # zeros in, bias out
    content = json.loads(Path("r/x_summary.json").read_text())
    assert content["CPU_compute_time"]["count"] == 7
    call("--model", path, "--output", "t")
    stamp, = (p for p in Path("t").iterdir() if p.is_dir())
    assert Path(f"t/{stamp.name}_summary.json").exists()


def test_txt_bytes():
    values = np.array([[1, -2.5, 1e-7], [np.nan, np.inf, -123456.789]], np.float32)
    outputs.write("a.txt", values, "TXT")
    assert Path("a.txt").read_bytes() == (b"1.000000 -2.500000 0.000000 \n"
                                          b"nan inf -123456.789062 \n")


def test_sizes_that_do_not_match(call, tiny):
    make_bins(["a.bin", "b.bin"])
    Path("prep/b.bin").write_bytes(bytes(100))
    with pytest.raises(cli.Failure, match=r"b\.bin has 100 bytes.*a\.bin has 192"):
        call("--model", tiny[0], *TO_X)
    for size in (0, 100, 768 * 2):
        Path("prep/a.bin").write_bytes(bytes(size))
        text = rf"\[ERROR\] arg0 tensorsize: 768 filesize: {size} not match.*a\.bin"
        with pytest.raises(cli.Failure, match=text) as e:
            call("--model", tiny[0], *TO_X)
        assert e.value.status == 1
    assert not Path("r").exists()


def test_inputs_that_are_not_there(call, tiny):
    Path("empty").mkdir()
    for given, said in (("empty", "has no .bin files"), ("absent", "absent is no folder")):
        with pytest.raises(cli.Failure, match=said):
            call("--model", tiny[0], "--input", given)


def test_two_outputs(call):
    """They are numbered."""
    nodes = [helper.make_node(kind, ["a"], [kind]) for kind in ("Abs", "Neg")]
    save_graph("one.onnx", nodes, {"a": ["n", 48]}, dict.fromkeys(("Abs", "Neg"), ["n", 48]))
    compiler.compile_onnx("one.onnx", 2, "openvino", "one.blob")
    made = make_bins(["x.bin", "y.bin", "z.bin"]).reshape(3, 48)
    call("--model", "one.om", *TO_X)
    for k, want in enumerate((np.abs(made), -made)):
        got = np.stack([np.fromfile(f"r/x/{name}_{k}.bin", np.float32) for name in "xyz"])
        np.testing.assert_array_equal(got, want)


def test_names_that_collide(call, tiny):
    make_bins(["a.b.bin", "a.c.bin", ".7.a.bin"])
    with pytest.raises(cli.Failure, match=r"prep/a\.b\.bin and prep/a\.c\.bin would have one name"):
        call("--model", tiny[0], *TO_X)
    Path("prep/a.c.bin").unlink()
    call("--model", tiny[0], *TO_X)
    assert [p.name for p in Path("r/x").iterdir()] == ["a_0.bin"]  # up to the first dot


def test_results_of_another_run_stay(call, tiny):
    make_bins(["a.bin"])
    Path("r/x").mkdir(parents=True)
    call("--model", tiny[0], *TO_X)  # an empty folder is fine
    before = Path("r/x_summary.json").read_bytes()
    with pytest.raises(cli.Failure, match=r"r/x is not empty.*--output_dirname"):
        call("--model", tiny[0], *TO_X)
    assert Path("r/x_summary.json").read_bytes() == before


@pytest.mark.parametrize("module, name, after", [
    (inputs, "read", 2), (outputs, "save", 1)])
def test_an_error_on_the_way_ends_the_run(call, tiny, monkeypatch, module, name, after):
    """No summary tells of a run that did not end, and no half file is left."""
    make_bins([f"{i}.bin" for i in range(20)])
    calls, real = [], getattr(module, name)

    def failing(*args):
        calls.append(args)
        if len(calls) > after:
            raise cli.Failure("the disk is gone", "find it")
        return real(*args)
    monkeypatch.setattr(module, name, failing)
    with pytest.raises(cli.Failure, match="the disk is gone — find it"):
        call("--model", tiny[0], *TO_X)
    assert [p.name for p in Path("r").iterdir()] == ["x"] and len(calls) == after + 1
    assert all(p.stat().st_size == 20 for p in Path("r/x").iterdir())


@pytest.mark.parametrize("words", [
    ["--format", "TXT"], ["--outfmt", "txt"], ["--loop", "0"], ["--dymBatch", "0"],
    ["--warmup_count", "-1"], ["--batchsize", "0"], ["--profiler", "1"],
    ["--device", "0,1"]])
def test_flags_that_are_wrong(words, capsys):
    with pytest.raises(SystemExit) as e:
        ais_bench.get_args(["--model", "x.om", *words])
    assert e.value.code == 2
    with pytest.raises(cli.Usage, match="it needs --output"):
        ais_bench.get_args(["--model", "x.om", "--output_dirname", "x"])


def test_by_time(call, tiny, monkeypatch):
    """A clock of the test: warm once five runs agree, then so many seconds."""
    clock = iter(range(10**6))
    fake = types.SimpleNamespace(perf_counter=lambda: next(clock) / 10)
    monkeypatch.setattr(timing, "time", fake)
    took = iter([9, 5, 3, 1, 1, 1, 1, 1.04] + [2] * 1000)
    monkeypatch.setattr(timing, "milliseconds", lambda *_: (next(took), None))
    said = call("--model", tiny[0], "--seconds", 3)
    assert "[INFO] warm up 8 done" in said and next(took) == 2
    assert any("(ms): min = 2.0, max = 2.0" in line for line in said)
    assert timing.agree([9, 1, 1, 1, 1, 1]) and not timing.agree([1, 1, 1, 1])
    assert not timing.agree([1, 1, 1, 1, 1.2]) and list(timing.until(0)) == [0]
    with pytest.raises(cli.Usage, match="--seconds is for pure inference"):
        call("--model", tiny[0], "--seconds", 3, "--input", "prep")


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_several_at_once_compute_what_one_does(tmp_path, monkeypatch, capsys, name):
    """Both engines, the second in two parts a batch; where results are off it is loaded again, and
    refused when they stay so."""
    monkeypatch.chdir(tmp_path)
    make_onnx("tiny.onnx")
    path = f"x{host.ENDINGS[name]}"
    compiler.compile_onnx("tiny.onnx", 4, name, path)
    words = ["several", "--model", path, "--batch", "4", "--seconds", "0.03"]
    monkeypatch.setattr(sys, "argv", words)
    several.main()
    found = bench.SEVERAL.search(capsys.readouterr().out)
    result = json.loads(found[1])
    assert result["fps"] > 0 and result["requests"] >= 1 and len(result["repeats"]) == 3
    real = engine.several
    off = lambda run: lambda arrays: [output + 1 for output in run(arrays)]  # noqa: E731
    wrong = iter([True, True])
    monkeypatch.setattr(engine, "several", lambda *a: [
        off(run) if next(wrong, False) else run for run in real(*a)])
    several.main()
    said = capsys.readouterr().out
    assert "note: several batches at once give other" in said and bench.SEVERAL.search(said)
    monkeypatch.setattr(engine, "several", lambda *a: [off(run) for run in real(*a)])
    with pytest.raises(cli.Failure, match="several batches at once give other results"):
        several.main()


def test_statistics(capsys):
    assert outputs.report([1.0, 2.0, 3.0, 10.0], 8)["CPU_compute_time"] == {
        "min": 1, "max": 10, "mean": 4, "median": 2.5, "percentile(99%)": 9.79,
        "percentile(90%)": 7.9, "percentile(95%)": 8.95, "count": 4}


def test_a_demo_says_so(call):
    make_onnx("tiny.onnx", demo=True)
    compiler.compile_onnx("tiny.onnx", 4, "openvino", "x.blob")
    assert any("the weights are a demo" in line for line in call("--model", "x.om"))
