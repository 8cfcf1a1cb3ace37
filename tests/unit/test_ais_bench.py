"""The stand-in for ais_bench: the files, names and lines of Ascend's."""
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from graphs import SHAPE, images, logits, make_onnx, save_graph
from onnx import helper

from common import cli
from common.cpu import compiler, engine
from common.cpu.ais_bench import __main__ as ais_bench
from common.cpu.ais_bench import inputs, outputs

CPU = Path(ais_bench.__file__).parents[1]
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


def make_bins(names, rows=1, write=lambda array, path: array.tofile(path)):
    """Write prep/<name> for each name; return all rows in the order of `names`."""
    Path("prep").mkdir()
    made = images(len(names) * rows)
    for i, name in enumerate(names):
        write(made[i * rows:(i + 1) * rows], Path("prep", name))
    return made


def test_a_short_batch_is_padded_and_each_image_has_its_file(call, tiny):
    path, weights = tiny
    names = [f"IMG_{i}.bin" for i in (1, 2, 3, 10, 20, 100)]  # plain sort: 1, 10, 100, 2, …
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
    assert content["filesinfo"]["3"] == {"infiles": ["prep/IMG_10.bin"],
                                         "outfiles": ["result/r/IMG_10_0.bin"]}
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


def test_lines(call, tiny):
    path, _ = tiny
    make_bins(["a.bin"])
    out = call("--model", "tiny.om", "--input", "prep", "--warmup_count", 2, "--loop", 3,
               "--display_all_summary", 1)
    assert out[0].startswith("[INFO] this is the CPU stand-in for ais_bench, no NPU is used: O")
    assert f"[INFO] tiny.om does not exist, {path} is used in its place" in out
    assert "[INFO] try get model batchsize:4" in out and "[INFO] warm up 2 done" in out
    number, text = r"[0-9.]+", "\n".join(out)
    keys = ("min", "max", "mean", "median", r"percentile\(99%\)")
    shown = ", ".join(f"{key} = {number}" for key in keys)
    for name in ("CPU_compute_time", "file_read_time"):
        assert re.search(rf"^\[INFO\] {name} \(ms\): {shown}$", text, re.M)
    rate = re.search(rf"^\[INFO\] throughput 1000\*batchsize\.mean\(4\)/CPU_compute_time\.mean"
                     rf"\(({number})\): ({number})$", text, re.M)
    assert float(rate[2]) == pytest.approx(4000 / float(rate[1]), rel=1e-2)
    assert out[-1] == "nothing was saved (no --output)" and not Path("result").exists()


def test_loop_counts_each_run(call, tiny):
    make_bins([f"{i}.bin" for i in range(5)])
    call("-m", tiny[0], "-i", "prep", "-o", "r", "--output_dirname", "x", "-l", 3,
         "--batchsize", 16)
    content = json.loads(Path("r/x_summary.json").read_text())
    assert content["CPU_compute_time"]["count"] == 6 and content["file_read_time"]["count"] == 2
    times = content["cpu_compute_time_list"]
    assert content["throughput"] == pytest.approx(16000 / np.mean(times))
    assert len(list(Path("r/x").iterdir())) == 5


def test_whole_batches_in_a_file(call, tiny):
    path, weights = tiny
    made = make_bins(["batch-0.bin", "batch-1.bin"], rows=4)
    call("--model", path, *TO_X, "--outfmt", "NPY")
    got = np.concatenate([np.load(f"r/x/batch-{i}_0.npy") for i in range(2)])
    np.testing.assert_allclose(got, logits(made, weights), rtol=0, atol=1e-5)


def test_files_with_commas_two_rows_in_each_and_npy(call, tiny):
    path, weights = tiny

    def fortran(array, file):
        with open(file, "wb") as f:
            np.save(f, np.asfortranarray(array))
    made = make_bins(["a.npy", "b.npy", "c.NPY"], rows=2, write=fortran)
    call("--model", path, "--input", "prep/a.npy,prep//b.npy,prep/c.NPY/", *TO_X[2:])
    got = np.concatenate([np.fromfile(f"r/x/{n}_0.bin", np.float32).reshape(2, 5) for n in "abc"])
    np.testing.assert_allclose(got, logits(made, weights), rtol=0, atol=1e-5)


def test_fp16_results(call):
    weights = make_onnx("tiny.onnx")
    compiler.compile_onnx("tiny.onnx", 4, "openvino", "x.blob", "FP16")
    made = make_bins(["a.bin"])
    call("--model", "x.om", *TO_X)
    got = np.fromfile("r/x/a_0.bin", np.float16)
    np.testing.assert_allclose(got, logits(made, weights)[0], atol=2e-2)


def test_pure_inference(call, tiny):
    path, weights = tiny
    call("--model", path, *TO_X[2:], "--loop", 7, "--outfmt", "NPY")
    got = np.load("r/x/pure_infer_data_0.npy")
    np.testing.assert_allclose(got, np.tile(weights[1], (4, 1)), atol=1e-6)  # zeros in, bias out
    content = json.loads(Path("r/x_summary.json").read_text())
    assert content["CPU_compute_time"]["count"] == 7 and "file_read_time" not in content
    out = call("--model", path, "--pure_data", "random", "--output", "t")
    stamp, = (p for p in Path("t").iterdir() if p.is_dir())
    assert f"[INFO] output path:t/{stamp.name}" in out
    assert Path(f"t/{stamp.name}_summary.json").exists()
    got = np.fromfile(stamp / "pure_infer_data_0.bin", np.float32)
    assert np.isfinite(got).all() and not np.array_equal(got[:5], got[5:10])


def test_txt_bytes():
    values = np.array([[1, -2.5, 1e-7], [np.nan, np.inf, -123456.789]], np.float32)
    outputs.write("a.txt", values, "TXT")
    assert Path("a.txt").read_bytes() == (b"1.000000 -2.500000 0.000000 \n"
                                          b"nan inf -123456.789062 \n")
    outputs.write("b.txt", np.array([[[1, 2]], [[3, 4]]]), "TXT")
    assert Path("b.txt").read_bytes() == b"1 2 \n3 4 \n"


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
    np.save("a.npy", np.zeros((1, *SHAPE)))
    Path("b.npy").write_bytes(b"\x93NUMPY\x01\x00noise")
    for given, text in (("empty", "too few"), ("absent", "absent does not exist"),
                        ("empty,empty", "does not fit"), ("a.npy", "float64"),
                        ("b.npy", "b.npy is not an array")):
        with pytest.raises(cli.Failure, match=text):
            call("--model", tiny[0], "--input", given)


def test_two_inputs(call):
    """A folder for each input; both are cut, padded and fed together."""
    nodes = [helper.make_node("Sub", ["a", "b"], ["c"]), helper.make_node("Neg", ["b"], ["d"])]
    save_graph("two.onnx", nodes, dict.fromkeys("ab", ["n", 2]), dict.fromkeys("cd", ["n", 2]))
    compiler.compile_onnx("two.onnx", 2, "onnxruntime", "two.ort")
    for folder, base in (("a", 10), ("b", 1)):
        Path(folder).mkdir()
        for i in range(3):
            np.full(2, base * i, np.float32).tofile(f"{folder}/x{i}.bin")
    call("--model", "two.om", "--input", "a,b", *TO_X[2:])
    assert [np.fromfile(f"r/x/x{i}_0.bin", np.float32)[0] for i in range(3)] == [0, 9, 18]
    assert [np.fromfile(f"r/x/x{i}_1.bin", np.float32)[1] for i in range(3)] == [0, -1, -2]


def test_names_that_collide(call, tiny):
    make_bins(["a.b.bin", "a.c.bin"])
    with pytest.raises(cli.Failure, match=r"prep/a\.b\.bin and prep/a\.c\.bin would both be a_0"):
        call("--model", tiny[0], *TO_X)
    Path("prep/a.c.bin").unlink()
    call("--model", tiny[0], *TO_X)
    assert [p.name for p in Path("r/x").iterdir()] == ["a_0.bin"]  # up to the first dot
    Path("prep/a.b.bin").rename("prep/.7.a.bin")
    with pytest.raises(cli.Failure, match="left over"):
        call("--model", tiny[0], *TO_X[:-1], "y")


def test_results_of_another_run_stay(call, tiny):
    make_bins(["a.bin"])
    Path("r/x").mkdir(parents=True)
    call("--model", tiny[0], *TO_X)  # an empty folder is fine
    before = Path("r/x_summary.json").read_bytes()
    with pytest.raises(cli.Failure, match=r"r/x is not empty.*--output_dirname"):
        call("--model", tiny[0], *TO_X)
    assert Path("r/x_summary.json").read_bytes() == before


def test_bytes_need_a_manifest(call):
    """Four images of bytes have the size of a float one, which only a manifest can tell apart."""
    from common import toolchain
    from common.data import transforms

    recipe = transforms.Recipe(resize=4, crop=4)
    Path("aipp.cfg").write_text(toolchain.aipp_text(recipe))
    make_onnx("tiny.onnx")
    compiler.compile_onnx("tiny.onnx", 4, "openvino", "x.blob", insert_op_conf="aipp.cfg")
    make_bins(["a.bin"])
    with pytest.raises(cli.Failure, match="prep has no manifest.json.*--input uint8"):
        call("--model", "x.om", *TO_X)


@pytest.mark.parametrize("module, name, after", [
    (inputs, "read", 2), (outputs, "save", 1), (inputs, "read", 4)])
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


@pytest.mark.parametrize("words, text", [
    (["--dymBatch", "4"], "dymBatch"), (["--dymShape", "input:1,3,4,4"], "dymShape"),
    (["--profiler", "1"], "profiler"), (["--run_mode", "full"], "run_mode"),
    (["--output_batchsize_axis", "1"], "axis"), (["--device", "0,1"], "one device"),
    (["--device", "256"], "one device"), (["--output_dirname", "x"], "--output"),
    (["--output", "r", "--output_dirname", "../x"], "folder in --output"),
    (["--output", "r", "--output_dirname", "/x"], "folder in --output")])
def test_flags_that_are_not_here(words, text):
    with pytest.raises(cli.Usage, match=text):
        ais_bench.get_args(["--model", "x.om", *words])


@pytest.mark.parametrize("words", [
    ["--format", "TXT"], ["--outfmt", "txt"], ["--loop", "0"], ["--debug", "maybe"],
    ["--warmup_count", "-1"], ["--batchsize", "0"], ["--debug"]])
def test_flags_that_are_wrong(words, capsys):
    with pytest.raises(SystemExit) as e:
        ais_bench.get_args(["--model", "x.om", *words])
    assert e.value.code == 2


def test_flags_that_are_taken():
    args = ais_bench.get_args(
        ["-m", "x.om", "--outf", "TXT", "--device", "3", "--dymBatch", "0", "--dump", "0",
         "--debug", "F", "--run_mode", "array", "--auto_set_dymshape_mode", "no"])
    assert args.outfmt == "TXT" and args.debug is False


def test_natural_order():
    names = ["b.bin", "A10.bin", "a9.bin", "a².bin", "1.bin", "10.bin", "2.bin", "a.bin"]
    assert sorted(names, key=inputs.natural) == [
        "1.bin", "2.bin", "10.bin", "a9.bin", "A10.bin", "a.bin", "a².bin", "b.bin"]


def test_statistics():
    assert outputs.statistics([1.0, 2.0, 3.0, 10.0]) == {
        "min": 1, "max": 10, "mean": 4, "median": 2.5, "percentile(99%)": 9.79, "count": 4}


def test_failures_as_a_program():
    def run(*words):
        return subprocess.run([sys.executable, "-m", "ais_bench", *words], capture_output=True,
                              text=True, env={**os.environ, "PYTHONPATH": str(CPU)})
    done = run("--model", "x.om")
    assert done.returncode == 1 and done.stderr.startswith("error: none of x.om")
    assert run("--model", "x.om", "--device", "0,1").returncode == 2
    assert run("--help").stdout.startswith("usage: ais_bench")


def test_a_demo_says_so(call):
    make_onnx("tiny.onnx", demo=True)
    compiler.compile_onnx("tiny.onnx", 4, "openvino", "x.blob")
    assert any("the weights are a demo" in line for line in call("--model", "x.om"))
    assert engine.load("x.blob").meta["demo"] is True
