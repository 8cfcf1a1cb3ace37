"""The stand-ins for atc and ais_bench: same flags, files and messages as Ascend's, and honest about what they are."""
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import ROOT
from onnx import TensorProto, helper, numpy_helper

from common import cli
from common.cpu import atc, engine, graph, openvino_engine, which
from common.cpu.ais_bench import __main__ as ais_bench
from common.cpu.ais_bench import inputs, outputs, summary
from common.cpu.ais_bench.args import get_args
from common.data.rows import natural

HOST = Path(atc.__file__).parent
ENGINES = list(which.ENDINGS.items())
SHAPE = (3, 4, 4)


def save_graph(path, nodes, inputs, outputs, weights=(), **metadata):
    """Write an ONNX of float32 `inputs` and `outputs`, {name: shape}, and `weights`, {name: array}."""
    g = helper.make_graph(nodes, Path(path).stem, *(
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in side.items()]
        for side in (inputs, outputs)), [numpy_helper.from_array(w, name) for name, w in dict(weights).items()])
    model = helper.make_model(g, opset_imports=[helper.make_opsetid("", 12)], ir_version=8)
    helper.set_model_props(model, metadata)
    onnx.save(model, path)


def make_onnx(path, classes=5, batch="n", shape=SHAPE, seed=0, output_batch="n", scale=1.0, **metadata):
    """Write Flatten → Gemm; return (weight, bias), so that numpy can compute what it should give."""
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((int(np.prod(shape)), classes), dtype=np.float32) * np.float32(scale)
    bias = rng.standard_normal(classes, dtype=np.float32)
    nodes = [helper.make_node("Flatten", ["input"], ["flat"]), helper.make_node("Gemm", ["flat", "w", "b"], ["output"])]
    save_graph(path, nodes, {"input": [batch, *shape]}, {"output": [output_batch, classes]}, {"w": weight, "b": bias},
               **metadata)
    return weight, bias


def logits(images, weights):
    return images.reshape(len(images), -1).astype(np.float64) @ weights[0] + weights[1]


@pytest.fixture
def call(monkeypatch, capfd, tmp_path):
    """call(module, *words) runs its main() in tmp_path and returns what it printed to stdout."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HOST_ENGINE", raising=False)

    def run(module, *words):
        monkeypatch.setattr(sys, "argv", ["tool", *map(str, words)])
        capfd.readouterr()
        module.main()
        return capfd.readouterr().out
    return run


@pytest.fixture(params=ENGINES, ids=[e for e, _ in ENGINES])
def tiny(request, call, monkeypatch, tmp_path):
    """A model for batch 4, compiled with each engine: (path, weights)."""
    weights = make_onnx(tmp_path / "tiny.onnx")
    engine.compile_onnx(tmp_path / "tiny.onnx", 4, request.param[0], tmp_path / f"tiny{request.param[1]}")
    return tmp_path / f"tiny{request.param[1]}", weights


def make_bins(folder, names, seed=1, rows=1, write=lambda a, p: a.tofile(p)):
    """Write one .bin a name; return all rows in the order of `names`."""
    folder.mkdir(exist_ok=True)
    images = np.random.default_rng(seed).standard_normal((len(names) * rows, *SHAPE), dtype=np.float32)
    for i, name in enumerate(names):
        write(images[i * rows:(i + 1) * rows], folder / name)
    return images


# ---- atc ----

@pytest.mark.parametrize("name, ending", ENGINES)
def test_atc_writes_model_and_sidecar(call, monkeypatch, tmp_path, name, ending):
    weights = make_onnx("tiny.onnx", model="Tiny", demo="true")
    monkeypatch.setenv("HOST_ENGINE", name)
    out = call(atc, "--framework", "5", "--model=tiny.onnx", "--output", "build/v1.2-bs8", "--input_format=NCHW",
               "--input_shape=input:8,3,4,4", "--log=error", "--soc_version=Ascend310P3",
               "--op_select_implmode=high_performance").splitlines()
    path = Path(f"build/v1.2-bs8{ending}")
    assert out[0] == "ATC start working now, please wait for a moment."
    assert "CPU stand-in" in out[1] and ", f32," in out[1]
    assert "--soc_version, --log, --op_select_implmode" in out[2]
    assert out[3] == "ATC run success, welcome to the next use."
    assert out[4].startswith(f"wrote {path} (") and ", CPU, f32, batch 8, " in out[4]
    meta = json.loads(Path(f"{path}.json").read_text())
    assert meta["engine"] == name and meta["batch"] == 8 and meta["precision"] == "f32" and meta["demo"] is True
    assert meta["inputs"] == [{"name": "input", "shape": [8, 3, 4, 4], "dtype": "float32"}]
    assert meta["outputs"] == [{"name": "output", "shape": [8, 5], "dtype": "float32"}]
    assert meta["onnx"] == {"file": "tiny.onnx", "sha256": cli.sha256("tiny.onnx"),
                            "metadata": {"model": "Tiny", "demo": "true"}}
    assert meta["command"][:3] == ["atc", "--framework", "5"]
    assert sorted(p.name for p in Path("build").iterdir()) == [path.name, f"{path.name}.json"]  # no .om, no leftovers
    images = np.random.default_rng(2).standard_normal((8, *SHAPE), dtype=np.float32)
    np.testing.assert_allclose(engine.load(path).run([images])[0], logits(images, weights), rtol=0, atol=1e-5)


GOOD = {"framework": "5", "model": "tiny.onnx", "output": "x", "input_shape": "input:2,3,4,4"}


@pytest.mark.parametrize("change, status, text", [
    ({"input_shape": "actual_input_1:2,3,4,4"}, 1, r"E10016.*input:n,3,4,4"),
    ({"input_shape": "input:2,3,4"}, 1, "E10049"),
    ({"input_shape": "input:2,3,5,4"}, 1, "does not fit"),
    ({"input_shape": "input:-1,3,4,4"}, 2, "E10011"),
    ({"input_shape": "input:1~8,3,4,4"}, 2, "E10011"),
    ({"input_shape": "input:0,3,4,4"}, 2, "E10011"),
    ({"input_shape": "input:,3,4,4"}, 2, "E10002"),
    ({"input_shape": "2,3,4,4"}, 2, "E10002"),
    ({"input_shape": None}, 2, "give --input_shape"),
    ({"framework": "3"}, 2, "framework=3"),
    ({"input_format": "NHWC"}, 2, "input_format=NHWC"),
    ({"output_type": "INT8"}, 2, "FP32 or FP16"),
    ({"soc_version": ""}, 2, "E10054"),
    ({"insert_op_conf": "aipp.cfg"}, 1, "aipp.cfg does not exist"),
    ({"dynamic_batch_size": "1,4"}, 2, "one offline model a batch size"),
    ({"output": "x.om"}, 2, "ending"),
    ({"model": "absent.onnx"}, 1, r"absent\.onnx does not exist"),
    ({"model": "noise.onnx"}, 1, r"noise\.onnx is not an ONNX"),
])
def test_atc_refuses(call, change, status, text):
    make_onnx("tiny.onnx")
    Path("noise.onnx").write_bytes(b"\x00\xff<html>" * 9)
    words = [f"--{k}={v}" for k, v in {**GOOD, **change}.items() if v is not None]
    with pytest.raises(cli.Failure, match=text) as e:
        call(atc, *words)
    assert e.value.status == status
    assert not list(Path().glob("x*"))


def test_atc_input_names_with_colons_and_fixed_batch(call):
    assert atc.parse_shapes("input:0:2,3;b: 4, 5 ;") == {"input:0": [2, 3], "b": [4, 5]}
    make_onnx("fixed.onnx", batch=2, output_batch=2)
    assert atc.find_batch(None, graph.inputs(graph.read("fixed.onnx")), "fixed.onnx") == 2
    with pytest.raises(cli.Failure, match="does not fit"):
        atc.find_batch("input:4,3,4,4", graph.inputs(graph.read("fixed.onnx")), "fixed.onnx")
    with pytest.raises(cli.Failure, match="no common batch"):
        atc.find_batch(None, {"a": [2, 3], "b": [4, 3]}, "two.onnx")


def test_atc_unknown_engine(call, monkeypatch):
    make_onnx("tiny.onnx")
    monkeypatch.setenv("HOST_ENGINE", "tensorrt")
    with pytest.raises(cli.Usage, match="openvino, onnxruntime"):
        call(atc, *(f"--{k}={v}" for k, v in GOOD.items()))


def test_atc_command_line_exit_codes(tmp_path):
    make_onnx(tmp_path / "tiny.onnx")

    def run(**flags):
        words = [f"--{k}={v}" for k, v in {**GOOD, **flags}.items()]
        return subprocess.run([HOST / "bin/atc", *words], cwd=tmp_path, capture_output=True, text=True,
                              env={**os.environ, "PYTHON": sys.executable})
    assert run().returncode == 0
    unknown = run(soc="Ascend310P3")  # a prefix of --soc_version is no flag
    assert unknown.returncode == 2 and "--soc=Ascend310P3" in unknown.stderr
    wrong = run(input_shape="image:2,3,4,4")
    assert wrong.returncode == 1 and "E10016" in wrong.stderr and "Traceback" not in wrong.stderr
    assert "ATC run failed" in wrong.stdout and "success" not in wrong.stdout


@pytest.mark.parametrize("name, ending", ENGINES)
def test_fp16_outputs(call, monkeypatch, name, ending):
    weights = make_onnx("tiny.onnx")
    monkeypatch.setenv("HOST_ENGINE", name)
    out = call(atc, *(f"--{k}={v}" for k, v in {**GOOD, "output_type": "FP16"}.items()))
    assert "f32, FP16 outputs, batch 2" in out
    model = engine.load(f"x{ending}")
    assert [(t.name, t.dtype) for t in model.outputs] == [("output", np.float16)]
    images = np.random.default_rng(2).standard_normal((2, *SHAPE), dtype=np.float32)
    got, = model.run([images])
    assert got.dtype == np.float16
    np.testing.assert_allclose(got, logits(images, weights), rtol=2 ** -10, atol=1e-3)


@pytest.mark.parametrize("name, ending", ENGINES)
def test_float32_is_really_float32(call, name, ending):
    """A CPU with bfloat16 would be off by 1e-2 here, and the engine's default is to use it."""
    weights = make_onnx("wide.onnx", classes=256, shape=(3, 32, 32), scale=1 / 55)
    engine.compile_onnx("wide.onnx", 8, name, f"wide{ending}")
    images = np.random.default_rng(3).standard_normal((8, 3, 32, 32), dtype=np.float32)
    got, = engine.load(f"wide{ending}").run([images])  # loaded: the blob alone does not pin the precision
    np.testing.assert_allclose(got, logits(images, weights), rtol=0, atol=2e-5)


def test_wrong_computation_gets_no_file(call, monkeypatch):
    make_onnx("tiny.onnx")
    real = openvino_engine.load

    def off(*args):
        *tensors, run = real(*args)
        last_row = np.array([[0], [0], [0], [0.1]], np.float32)
        return *tensors, lambda arrays: [y + last_row for y in run(arrays)]
    monkeypatch.setattr(openvino_engine, "load", off)
    with pytest.raises(cli.Failure, match=r"error of \d\.\de-0\d of its scale \(1e-03"):
        engine.compile_onnx("tiny.onnx", 4, "openvino", "x.blob")
    assert sorted(p.name for p in Path().iterdir()) == ["tiny.onnx"]


@pytest.mark.parametrize("name, ending", ENGINES)
def test_baked_batch_is_named(call, name, ending):
    """A Reshape to a fixed batch, as a traced model may carry, cannot be compiled for another one."""
    save_graph("baked.onnx", [helper.make_node("Reshape", ["input", "to"], ["output"])], {"input": ["n", 3]}, {"output": None},
               {"to": np.array([1, -1])})
    with pytest.raises(cli.Failure, match="baked into the graph"):
        engine.compile_onnx("baked.onnx", 4, name, f"x{ending}")
    assert not list(Path().glob("x*"))


def test_open_inner_dimension(call):
    make_onnx("tiny.onnx")
    model = onnx.load("tiny.onnx")
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "h"
    onnx.save(model, "tiny.onnx")
    with pytest.raises(cli.Failure, match="only its first dimension"):
        engine.compile_onnx("tiny.onnx", 4, "openvino", "x.blob")


def test_batch_in_parts(call, monkeypatch):
    """ONNX Runtime's batch 8 on two cores is four parts of two: the same rows in the same order, whatever computes them."""
    weights = make_onnx("tiny.onnx")
    make_onnx("fixed.onnx", batch=8, output_batch=8)
    monkeypatch.setattr(cli, "cores", lambda: 2)
    images = np.random.default_rng(2).standard_normal((12, *SHAPE), dtype=np.float32)
    for file, name, batch, part in (("tiny", "onnxruntime", 8, 2), ("tiny", "onnxruntime", 12, 2),
                                    ("tiny", "onnxruntime", 4, 4), ("tiny", "onnxruntime", 9, 9),
                                    ("tiny", "openvino", 8, 8), ("fixed", "onnxruntime", 8, 8)):
        made = engine.compile_onnx(f"{file}.onnx", batch, name, "x")
        assert json.loads(Path("x.json").read_text())["part"] == made.meta["part"] == part
        for model in (made, engine.load("x"), engine.load("x", threads=1), engine.load("x", threads=3)):
            assert (model.inputs[0].shape, model.outputs[0].shape) == ((batch, *SHAPE), (batch, 5))
            got, = model.run([images[:batch]])
            np.testing.assert_allclose(got, logits(images[:batch], weights), rtol=0, atol=1e-5)
    monkeypatch.setattr(cli, "cores", lambda: 3)
    assert engine.compile_onnx("tiny.onnx", 8, "onnxruntime", "x").meta["part"] == 8  # six parts at least are wanted
    meta = json.loads(Path("x.json").read_text())
    for part in (0, -2, 3, 16, "2", None):
        cli.write_json("x.json", {**meta, "part": part})
        with pytest.raises(cli.Failure, match="no sound (batch and )?part.*make om"):
            engine.load("x")
    cli.write_json("x.json", {**meta, "part": 2})  # a file for 8 would then be one for 32
    with pytest.raises(cli.Failure, match="says batch 8"):
        engine.load("x")


def test_baked_batch_is_named_in_parts(call, monkeypatch):
    """A mean over the batch gives no result an image, and one over each part alone would be another number."""
    monkeypatch.setattr(cli, "cores", lambda: 1)
    for keep in (0, 1):
        save_graph("mixed.onnx", [helper.make_node("ReduceMean", ["input"], ["output"], axes=[0, 1], keepdims=keep)],
                   {"input": ["n", 3]}, {"output": None})
        with pytest.raises(cli.Failure, match="baked into the graph"):
            engine.compile_onnx("mixed.onnx", 8, "onnxruntime", "x")
    assert not list(Path().glob("x*"))


# ---- loading ----

def test_damaged_and_foreign_files(tiny, monkeypatch):
    path, _ = tiny
    good, meta = path.read_bytes(), json.loads(Path(f"{path}.json").read_text())
    assert engine.load(path).meta == meta

    path.write_bytes(good[:-100])
    with pytest.raises(cli.Failure, match="damaged.*make om"):
        engine.load(path)
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 1  # same size; the engines would not notice a weight
    path.write_bytes(flipped)
    with pytest.raises(cli.Failure, match="damaged.*make om"):
        engine.load(path)

    path.write_bytes(good)
    for key, value in {"engine_version": "2001.1.0", "cpu_kind": "x86_64 mmx"}.items():
        cli.write_json(f"{path}.json", {**meta, key: value})
        with pytest.raises(cli.Failure, match=f"{value}.*make om"):
            engine.load(path)

    noise = b"RR_" + bytes(400)
    path.write_bytes(noise)
    cli.write_json(f"{path}.json", {**meta, "size": len(noise), "sha256": cli.sha256(path)})
    with pytest.raises(cli.Failure, match="rejects .*make om"):
        engine.load(path)

    Path(f"{path}.json").unlink()
    with pytest.raises(cli.Failure, match=r"json does not exist.*make om"):
        engine.load(path)
    path.unlink()
    with pytest.raises(cli.Failure, match="make om"):
        engine.load(path)


def test_killed_between_sidecar_and_model(tiny, monkeypatch, tmp_path):
    """New sidecar, old model of the same size: they are not taken for a pair."""
    path, _ = tiny
    old = path.read_bytes()
    make_onnx(tmp_path / "tiny.onnx", seed=9)
    engine.compile_onnx(tmp_path / "tiny.onnx", 4, json.loads(Path(f"{path}.json").read_text())["engine"], path)
    path.write_bytes(old)
    with pytest.raises(cli.Failure, match="is not the file"):
        engine.load(path)


def test_om_names_what_stands_in(call, monkeypatch):
    with pytest.raises(cli.Failure, match="none of"):
        which.find("x.om")
    Path("x.ort").touch()
    assert which.find("x.om") == Path("x.ort")
    monkeypatch.setenv("HOST_ENGINE", "openvino")
    with pytest.raises(cli.Failure, match="HOST_ENGINE=openvino"):
        which.find("x.om")
    Path("x.blob").touch()
    assert which.find("x.om") == Path("x.blob")
    monkeypatch.delenv("HOST_ENGINE")
    with pytest.raises(cli.Failure, match=r"x\.blob and x\.ort"):
        which.find("x.om")
    Path("x.om").touch()
    with pytest.raises(cli.Failure, match="Ascend host"):
        which.find("x.om")
    with pytest.raises(cli.Usage):
        which.find("x.onnx")


# ---- ais_bench ----

def test_bench_pads_the_last_batch_and_writes_one_file_an_image(call, tiny):
    path, weights = tiny
    names = [f"IMG_{i}.bin" for i in (1, 2, 3, 10, 20, 100)]  # natural order; plain sort would be 1, 10, 100, 2, …
    images = make_bins(Path("prep"), names)
    (Path("prep") / "readme.txt").write_text("not an input")
    (Path("prep") / "sub").mkdir()
    out = call(ais_bench, "--model", path, "--input", "prep", "--output", "result", "--output_dirname", "r")
    assert "files0 size:192 tensor0size:768 filesperbatch:4 runcount:2" in out
    assert sorted(p.name for p in Path("result").iterdir()) == ["r", "r_summary.json"]
    assert len(list(Path("result/r").iterdir())) == 6
    for name, want in zip(names, logits(images, weights), strict=True):
        got = np.fromfile(f"result/r/{name[:-4]}_0.bin", np.float32)
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)
    content = json.loads(Path("result/r_summary.json").read_text())
    assert content["filesinfo"]["3"] == {"infiles": ["prep/IMG_10.bin"], "outfiles": ["result/r/IMG_10_0.bin"]}
    assert len(content["filesinfo"]) == 6 and len(content["cpu_compute_time_list"]) == 2
    assert set(content["CPU_compute_time"]) == {"min", "max", "mean", "median", "percentile(99%)", "count"}
    assert content["throughput"] == pytest.approx(1000 * 4 / np.mean(content["cpu_compute_time_list"]))
    assert content["args"][1:3] == ["--model", str(path)] and content["pid"] == os.getpid()
    assert content["precision"] == "f32" and content["demo"] is False and not [k for k in content if "NPU" in k]


def test_padding_is_the_first_file_of_the_batch(tmp_path):
    for i in (1, 2):
        np.full(2, i, np.float32).tofile(tmp_path / f"{i}.bin")
    buffer = np.full((5, 2), 9, np.float32)
    inputs.read([tmp_path / "1.bin", tmp_path / "2.bin"], buffer)
    assert buffer[:, 0].tolist() == [1, 2, 1, 1, 1]


def test_bench_lines(call, tiny, monkeypatch):
    path, _ = tiny
    make_bins(Path("prep"), ["a.bin"])
    out = call(ais_bench, "--model", path.with_suffix(".om"), "--input", "prep", "--warmup_count", 2, "--loop", 3,
               "--display_all_summary", 1).splitlines()
    assert out[0].startswith("[INFO] this is the CPU stand-in for ais_bench, no NPU is used: O")
    assert f"[INFO] {path.with_suffix('.om')} does not exist, {path} is used in its place" in out
    assert "[INFO] try get model batchsize:4" in out and "[INFO] warm up 2 done" in out
    number = r"[0-9.]+"
    text = "\n".join(out)
    for name in ("CPU_compute_time", "file_read_time"):
        assert re.search(rf"^\[INFO\] {name} \(ms\): min = {number}, max = {number}, mean = {number}, "
                         rf"median = {number}, percentile\(99%\) = {number}$", text, re.M)
    rate = re.search(rf"^\[INFO\] throughput 1000\*batchsize\.mean\(4\)/CPU_compute_time\.mean\(({number})\): "
                     rf"({number})$", text, re.M)
    assert float(rate[2]) == pytest.approx(4000 / float(rate[1]), rel=1e-2)
    assert out[-1] == "nothing was saved (no --output)" and not Path("result").exists()


def test_bench_loop_counts_each_run(call, tiny):
    make_bins(Path("prep"), [f"{i}.bin" for i in range(5)])
    call(ais_bench, "-m", tiny[0], "-i", "prep", "-o", "r", "--output_dirname", "x", "-l", 3, "--batchsize", 16)
    content = json.loads(Path("r/x_summary.json").read_text())
    assert content["CPU_compute_time"]["count"] == 6 and content["file_read_time"]["count"] == 2
    assert content["throughput"] == pytest.approx(16000 / np.mean(content["cpu_compute_time_list"]))
    assert len(list(Path("r/x").iterdir())) == 5


def test_bench_whole_batches_in_a_file(call, tiny):
    path, weights = tiny
    images = make_bins(Path("prep"), ["batch-0.bin", "batch-1.bin"], rows=4)
    call(ais_bench, "--model", path, "--input", "prep", "--output", ".", "--output_dirname", "r", "--outfmt", "NPY")
    got = np.concatenate([np.load(f"r/batch-{i}_0.npy") for i in range(2)])
    assert got.shape == (8, 5)
    np.testing.assert_allclose(got, logits(images, weights), rtol=0, atol=1e-5)


def test_bench_two_rows_a_file_and_npy_input(call, tiny):
    path, weights = tiny
    images = make_bins(Path("prep"), ["a.npy", "b.npy", "c.NPY"], rows=2,
                       write=lambda a, p: np.save(open(p, "wb"), np.asfortranarray(a)))
    call(ais_bench, "--model", path, "--input", "prep/a.npy,prep//b.npy,prep/c.NPY/", "--output", "r",
         "--output_dirname", "x")
    got = np.concatenate([np.fromfile(f"r/x/{n}_0.bin", np.float32).reshape(2, 5) for n in "abc"])
    np.testing.assert_allclose(got, logits(images, weights), rtol=0, atol=1e-5)


def test_bench_fp16_results(call, monkeypatch):
    weights = make_onnx("tiny.onnx")
    engine.compile_onnx("tiny.onnx", 4, "openvino", "x.blob", "FP16")
    images = make_bins(Path("prep"), ["a.bin"])
    call(ais_bench, "--model", "x.om", "--input", "prep", "--output", "r", "--output_dirname", "x")
    assert Path("r/x/a_0.bin").stat().st_size == 5 * 2
    np.testing.assert_allclose(np.fromfile("r/x/a_0.bin", np.float16), logits(images, weights)[0], atol=2e-2)


def test_pure_inference(call, tiny):
    path, weights = tiny
    call(ais_bench, "--model", path, "--output", "r", "--output_dirname", "x", "--loop", 7, "--outfmt", "NPY")
    np.testing.assert_allclose(np.load("r/x/pure_infer_data_0.npy"), np.tile(weights[1], (4, 1)), atol=1e-6)
    content = json.loads(Path("r/x_summary.json").read_text())
    assert content["CPU_compute_time"]["count"] == 7 and "file_read_time" not in content
    out = call(ais_bench, "--model", path, "--pure_data", "random", "--output", "t")
    stamp, = (p for p in Path("t").iterdir() if p.is_dir())
    assert f"output path:t/{stamp.name}" in out and Path(f"t/{stamp.name}_summary.json").exists()
    got = np.fromfile(stamp / "pure_infer_data_0.bin", np.float32)
    assert np.isfinite(got).all() and not np.array_equal(got[:5], got[5:10])


def test_txt_bytes(tmp_path):
    values = np.array([[1, -2.5, 1e-7], [np.nan, np.inf, -123456.789]], np.float32)
    outputs.write(tmp_path / "a.txt", values, "TXT")
    assert (tmp_path / "a.txt").read_bytes() == (b"1.000000 -2.500000 0.000000 \n"
                                                 b"nan inf -123456.789062 \n")
    outputs.write(tmp_path / "b.txt", np.array([[[1, 2]], [[3, 4]]]), "TXT")
    assert (tmp_path / "b.txt").read_bytes() == b"1 2 \n3 4 \n"


def test_sizes_that_do_not_match(call, tiny):
    make_bins(Path("prep"), ["a.bin", "b.bin"])
    words = "--model", tiny[0], "--input", "prep", "--output", "r", "--output_dirname", "x"
    Path("prep/b.bin").write_bytes(bytes(100))
    with pytest.raises(cli.Failure, match=r"b\.bin has 100 bytes.*a\.bin has 192"):
        call(ais_bench, *words)
    for size in (0, 100, 768 * 2):
        Path("prep/a.bin").write_bytes(bytes(size))
        text = rf"\[ERROR\] arg0 tensorsize: 768 filesize: {size} not match.*a\.bin"
        with pytest.raises(cli.Failure, match=text) as e:
            call(ais_bench, *words)
        assert e.value.status == 1
    assert not Path("r").exists()


def test_inputs_that_are_not_there(call, tiny):
    Path("empty").mkdir()
    with pytest.raises(cli.Failure, match="too few"):
        call(ais_bench, "--model", tiny[0], "--input", "empty")
    with pytest.raises(cli.Failure, match="absent does not exist"):
        call(ais_bench, "--model", tiny[0], "--input", "absent")
    with pytest.raises(cli.Failure, match="does not fit"):
        call(ais_bench, "--model", tiny[0], "--input", "empty,empty")
    np.save("a.npy", np.zeros((1, *SHAPE)))
    with pytest.raises(cli.Failure, match="float64"):
        call(ais_bench, "--model", tiny[0], "--input", "a.npy")


def test_two_inputs(call, tmp_path):
    """A folder an input; both are cut, padded and fed together."""
    save_graph("two.onnx", [helper.make_node("Sub", ["a", "b"], ["c"]), helper.make_node("Neg", ["b"], ["d"])],
               dict.fromkeys("ab", ["n", 2]), dict.fromkeys("cd", ["n", 2]))
    engine.compile_onnx("two.onnx", 2, "onnxruntime", "two.ort")
    for folder, base in (("a", 10), ("b", 1)):
        Path(folder).mkdir()
        for i in range(3):
            np.full(2, base * i, np.float32).tofile(f"{folder}/x{i}.bin")
    call(ais_bench, "--model", "two.om", "--input", "a,b", "--output", "r", "--output_dirname", "x")
    assert [np.fromfile(f"r/x/x{i}_0.bin", np.float32)[0] for i in range(3)] == [0, 9, 18]
    assert [np.fromfile(f"r/x/x{i}_1.bin", np.float32)[1] for i in range(3)] == [0, -1, -2]
    assert len(list(Path("r/x").iterdir())) == 6


def test_names_that_collide(call, tiny):
    make_bins(Path("prep"), ["a.b.bin", "a.c.bin"])
    words = "--model", tiny[0], "--input", "prep", "--output", "r", "--output_dirname", "x"
    with pytest.raises(cli.Failure, match=r"prep/a\.b\.bin and prep/a\.c\.bin would both be a_0"):
        call(ais_bench, *words)
    Path("prep/a.c.bin").unlink()
    call(ais_bench, *words)
    assert [p.name for p in Path("r/x").iterdir()] == ["a_0.bin"]  # up to the first dot
    Path("prep/a.b.bin").rename("prep/.7.a.bin")
    with pytest.raises(cli.Failure, match="left over"):
        call(ais_bench, "--model", tiny[0], "--input", "prep", "--output", "r", "--output_dirname", "y")


def test_results_of_another_run_stay(call, tiny):
    make_bins(Path("prep"), ["a.bin"])
    words = "--model", tiny[0], "--input", "prep", "--output", "r", "--output_dirname", "x"
    Path("r/x").mkdir(parents=True)
    call(ais_bench, *words)  # an empty folder is fine
    before = Path("r/x_summary.json").read_bytes()
    with pytest.raises(cli.Failure, match=r"r/x is not empty.*--output_dirname"):
        call(ais_bench, *words)
    assert Path("r/x_summary.json").read_bytes() == before


def test_batches_are_not_kept(call, tiny, monkeypatch):
    """Memory stays flat: the results of a batch are written while the next one runs, and before those of that one."""
    make_bins(Path("prep"), [f"{i}.bin" for i in range(12)])
    seen, real = [], outputs.save
    monkeypatch.setattr(outputs, "save", lambda *a: (seen.append(len(list(Path("r/x").iterdir()))), real(*a))[1])
    call(ais_bench, "--model", tiny[0], "--input", "prep", "--output", "r", "--output_dirname", "x")
    assert seen == [0, 4, 8]


def test_results_outlive_the_next_run(tiny):
    """They are written while the engine runs the next batch: it must not put that one's results in the same memory."""
    model = engine.load(tiny[0])
    first, = model.run([np.zeros((4, *SHAPE), np.float32)])
    kept = first.copy()
    second, = model.run([np.ones((4, *SHAPE), np.float32)])
    np.testing.assert_array_equal(first, kept)
    assert not np.shares_memory(first, second)


@pytest.mark.parametrize("module, name, after", [(inputs, "read", 2), (outputs, "save", 1), (inputs, "read", 4)])
def test_errors_of_the_reading_and_writing_threads_end_the_run(call, tiny, monkeypatch, module, name, after):
    """The line of the error is the run's own, no summary tells of a run that did not end, and no half file is left."""
    make_bins(Path("prep"), [f"{i}.bin" for i in range(20)])
    calls, real = [], getattr(module, name)

    def failing(*args):
        calls.append(args)
        if len(calls) > after:
            raise cli.Failure("the disk is gone", "mend it")
        return real(*args)

    monkeypatch.setattr(module, name, failing)
    with pytest.raises(cli.Failure, match="the disk is gone — mend it"):
        call(ais_bench, "--model", tiny[0], "--input", "prep", "--output", "r", "--output_dirname", "x")
    assert [p.name for p in Path("r").iterdir()] == ["x"] and len(calls) <= after + 2
    assert all(p.stat().st_size == 20 for p in Path("r/x").iterdir())


def test_a_file_that_goes_during_the_run_is_one_line(tmp_path, tiny):
    """As a process: status 1, one line, no traceback, though a thread met it."""
    make_bins(tmp_path / "prep", [f"{i}.bin" for i in range(12)])
    code = ("import sys; sys.path.insert(0, sys.argv.pop(1)); from common import cli\n"
            "from common.cpu.ais_bench import __main__ as tool, inputs\n"
            "import os\ncheck = inputs.check\n"
            "inputs.check = lambda lists, tensors: (check(lists, tensors), os.unlink(lists[0][9]))[0]\n"
            "cli.run(tool.main)")
    done = subprocess.run([sys.executable, "-c", code, str(HOST.parents[1]), "--model", str(tiny[0]), "--input", "prep",
                           "--output", "r", "--output_dirname", "x"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: No such file or directory: prep/9.bin")


@pytest.mark.parametrize("words, text", [
    (["--dymBatch", "4"], "dymBatch"), (["--dymShape", "input:1,3,4,4"], "dymShape"), (["--profiler", "1"], "profiler"),
    (["--dump", "true"], "dump"), (["--run_mode", "full"], "run_mode"), (["--output_batchsize_axis", "1"], "axis"),
    (["--device", "0,1"], "one device"), (["--device", "256"], "one device"), (["--output_dirname", "x"], "--output"),
    (["--output", "r", "--output_dirname", "../x"], "folder in --output"),
    (["--output", "r", "--output_dirname", "/x"], "folder in --output"),
])
def test_flags_that_are_not_here(words, text):
    with pytest.raises(cli.Usage, match=text):
        get_args(["--model", "x.om", *words])


@pytest.mark.parametrize("words", [["--format", "TXT"], ["--outfmt", "txt"], ["--loop", "0"], ["--debug", "maybe"],
                                   ["--warmup_count", "-1"], ["--batchsize", "0"], ["--debug"]])
def test_flags_that_are_wrong(words, capsys):
    with pytest.raises(SystemExit) as e:
        get_args(["--model", "x.om", *words])
    assert e.value.code == 2


def test_flags_that_are_taken():
    args = get_args(["-m", "x.om", "--outf", "TXT", "--device", "3", "--dymBatch", "0", "--dump", "0", "--debug", "F",
                     "--run_mode", "array", "--auto_set_dymshape_mode", "no"])
    assert args.outfmt == "TXT" and args.debug is False


def test_natural_order():
    names = ["b.bin", "A10.bin", "a9.bin", "a².bin", "1.bin", "10.bin", "2.bin", "a.bin"]
    got = sorted(names, key=natural)
    assert got == ["1.bin", "2.bin", "10.bin", "a9.bin", "A10.bin", "a.bin", "a².bin", "b.bin"]


def test_statistics():
    stats = summary.statistics([1.0, 2.0, 3.0, 10.0])
    assert stats == {"min": 1, "max": 10, "mean": 4, "median": 2.5, "percentile(99%)": 9.79, "count": 4}


# ---- set_env.sh ----

def test_set_env_in_a_path_with_spaces(tmp_path):
    folder = tmp_path / "my model"
    shutil.copytree(HOST.parent, folder / "common", ignore=shutil.ignore_patterns("__pycache__"))
    venv = folder / ".venv/bin"
    venv.mkdir(parents=True)
    (venv / "python3").write_text(f'#!/bin/sh\nexport VENV_USED=1\nexec {sys.executable} "$@"\n')
    (venv / "python3").chmod(0o755)
    work = tmp_path / "work"
    work.mkdir()
    make_onnx(work / "tiny.onnx")
    script = """
        set -eu
        source "../my model/common/cpu/set_env.sh"; source "$1/common/cpu/set_env.sh"
        echo sourced
        atc --framework=5 --model=tiny.onnx --output=tiny --input_shape="input:2,3,4,4" --soc_version=Ascend310P3
        python3 -m ais_bench --model tiny.om --loop 2
        command -v python3
        echo "$PATH" | tr : '\\n' | grep -c 'my model'
        echo "$PYTHONPATH"
    """
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHON", "PYTHONPATH", "HOST_ENGINE")}
    done = subprocess.run(["bash", "-c", script, "bash", folder], cwd=work, env={**env, "CDPATH": str(tmp_path)},
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "sourced" and lines[1] == "ATC start working now, please wait for a moment."
    assert "nothing was saved (no --output)" in lines
    assert lines[-3:] == [str(venv / "python3"), "2", str(folder / "common/cpu")]


def test_bench_failure_has_no_traceback(tmp_path):
    def run(*words):
        return subprocess.run([sys.executable, "-m", "ais_bench", *words], cwd=tmp_path, capture_output=True, text=True,
                              env={**os.environ, "PYTHONPATH": str(HOST)})
    done = run("--model", "x.om")
    assert done.returncode == 1 and done.stderr.startswith("error: none of x.om") and "Traceback" not in done.stderr
    assert run("--model", "x.om", "--device", "0,1").returncode == 2
    assert run("--help").stdout.startswith("usage: ais_bench")


def test_nothing_is_reported_to_a_server():
    """openvino_telemetry would start a process and send what is used, from the import on."""
    code = ("from common.cpu import openvino_engine as e; import nncf, sys; e.openvino.Core(); "
            "print([m for m in sys.modules if m.startswith('openvino_telemetry') and sys.modules[m]])")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
