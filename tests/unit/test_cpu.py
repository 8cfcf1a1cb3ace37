"""The stand-in for atc: flags and messages as Ascend's, and files that are what they say."""
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import ROOT
from graphs import SHAPE, images, logits, make_onnx, save_graph
from onnx import helper

from common import cli, provenance, toolchain
from common.cpu import atc, compiler, engine, graph, host, openvino_engine
from common.model import facts

CPU = Path(atc.__file__).parent
GOOD = {"framework": "5", "model": "tiny.onnx", "output": "x", "input_shape": "input:2,3,4,4"}


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ("HOST_ENGINE", "HOST_PRECISION", "HOST_CALIB", "HOST_PROVIDER"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def call(monkeypatch, capfd):
    """call(**flags) runs atc and returns what it printed to stdout, as lines."""
    def run(**flags):
        words = [f"--{name}={value}" for name, value in flags.items() if value is not None]
        monkeypatch.setattr(sys, "argv", ["atc", *words])
        capfd.readouterr()
        atc.main()
        return capfd.readouterr().out.splitlines()
    return run


@pytest.fixture(params=host.ENDINGS)
def each(request, monkeypatch):
    """The name of an engine, which HOST_ENGINE says too, and the ending of its files."""
    monkeypatch.setenv("HOST_ENGINE", request.param)
    return request.param, host.ENDINGS[request.param]


@pytest.fixture
def tiny(each):
    """The path of a model for batch 4, compiled with each engine."""
    make_onnx("tiny.onnx")
    compiler.compile_onnx("tiny.onnx", 4, each[0], f"tiny{each[1]}")
    return Path(f"tiny{each[1]}")


def test_atc_writes_a_model_and_its_record(call, each):
    (name, ending), recipe = each, {"resize": 4, "crop": 4}
    weights = make_onnx("tiny.onnx", model="Tiny", demo=True, preprocessing=recipe)
    flags = {"framework": "5", "model": "tiny.onnx", "output": "build/v1.2-bs8",
             "input_format": "NCHW", "input_shape": "input:8,3,4,4", "log": "error",
             "soc_version": "Ascend310P3", "op_select_implmode": "high_performance"}
    out = call(**flags)
    path = Path(f"build/v1.2-bs8{ending}")
    assert out[0] == "ATC start working now, please wait for a moment."
    assert "CPU stand-in" in out[1] and ", f32," in out[1]
    assert "--soc_version, --log, --op_select_implmode" in out[2]
    assert out[3] == "ATC run success, welcome to the next use."
    assert out[4].startswith(f"wrote {path} (") and ", CPU, f32, batch 8, " in out[4]
    meta = provenance.read(path)
    known = [meta[key] for key in ("engine", "batch", "precision", "demo")]
    assert known == [name, 8, "f32", True]
    assert meta["inputs"] == [{"name": "input", "shape": [8, 3, 4, 4], "dtype": "float32"}]
    assert meta["outputs"] == [{"name": "output", "shape": [8, 5], "dtype": "float32"}]
    assert meta["onnx"] == {"file": "tiny.onnx", "sha256": cli.sha256("tiny.onnx"),
                            "model": "Tiny", "demo": True, "preprocessing": recipe}
    assert meta["made"]["arguments"] == [f"--{k}={v}" for k, v in flags.items()]
    names = sorted(p.name for p in Path("build").iterdir())
    assert names == [path.name, f"{path.name}.json"]  # no .om, no leftovers
    got, = engine.load(path).run([images(8)])
    np.testing.assert_allclose(got, logits(images(8), weights), rtol=0, atol=1e-5)


@pytest.mark.parametrize("change, status, text", [
    ({"input_shape": "actual_input_1:2,3,4,4"}, 1, r"E10016.*input:n,3,4,4"),
    ({"input_shape": "input:2,3,4"}, 1, "E10049"),
    ({"input_shape": "input:2,3,5,4"}, 1, "does not fit.*E10049"),
    ({"input_shape": "input:1~8,3,4,4"}, 2, "E10011"),
    ({"input_shape": "input:0,3,4,4"}, 2, "E10011"), ({"input_shape": "2,3,4,4"}, 2, "E10002"),
    ({"input_shape": None}, 2, "give --input_shape"), ({"soc_version": ""}, 2, "E10054"),
    ({"insert_op_conf": "aipp.cfg"}, 1, "aipp.cfg does not exist"),
    ({"output": "x.om"}, 2, "ending"),
    ({"model": "absent.onnx"}, 1, r"absent\.onnx does not exist"),
    ({"model": "noise.onnx"}, 1, r"noise\.onnx is not an ONNX"),
    ({"model": "empty.onnx"}, 1, r"empty\.onnx is not an ONNX model.*run make onnx again")])
def test_atc_refuses(call, change, status, text):
    make_onnx("tiny.onnx")
    Path("noise.onnx").write_bytes(b"\x00\xff<html>" * 9)
    Path("empty.onnx").touch()
    with pytest.raises(cli.Failure, match=text) as e:
        call(**{**GOOD, **change})
    assert e.value.status == status
    assert not list(Path().glob("x*"))


@pytest.mark.parametrize("words", ["framework=3", "input_format=NHWC", "output_type=INT8",
                                   "dynamic_dims=1,4", "soc=Ascend310P3"])
def test_flags_that_are_not_here(capsys, words):
    """--soc is a prefix of --soc_version, which is no flag either."""
    with pytest.raises(SystemExit) as e:
        atc.get_args([*(f"--{k}={v}" for k, v in GOOD.items()), f"--{words}"])
    assert e.value.code == 2 and words.split("=")[0] in capsys.readouterr().err


def test_names_with_colons_and_a_fixed_batch():
    assert toolchain.parse_shapes("input:0:2,3;b: 4, 5 ;") == {"input:0": [2, 3], "b": [4, 5]}
    assert toolchain.parse_shapes("a:-1,3;b:1~8,3") == {"a": [None, 3], "b": [None, 3]}
    assert atc.find_batch(None, "input:0", [2, 3], "fixed.onnx") == 2
    assert atc.find_batch("input:0:4,3", "input:0", [None, 3], "open.onnx") == 4
    with pytest.raises(cli.Failure, match="does not fit"):
        atc.find_batch("input:4,3,4,4", "input", [2, 3, 4, 4], "fixed.onnx")


def test_two_inputs_are_refused():
    """Of several inputs no file could say which it is for."""
    node = helper.make_node("Sub", ["a", "b"], ["c"])
    save_graph("two.onnx", [node], {"a": ["n", 2], "b": ["n", 2]}, {"c": ["n", 2]})
    with pytest.raises(cli.Failure, match=r"two.onnx has 2 inputs \(a, b\)"):
        compiler.compile_onnx("two.onnx", 2, "openvino", "x.blob")


@pytest.mark.parametrize("name", ["HOST_ENGINE", "HOST_PRECISION", "HOST_PROVIDER"])
def test_a_choice_that_is_none(call, monkeypatch, name):
    make_onnx("tiny.onnx")
    monkeypatch.setenv("HOST_ENGINE", "onnxruntime")
    monkeypatch.setenv(name, "tpu")
    with pytest.raises(cli.Usage, match=f"{name}=tpu is no choice.*use one of: "):
        call(**GOOD)


# ---- what an engine's end looks like ----

@pytest.mark.parametrize("number, precision, said", [
    ("SIGSEGV", "f32", "try ENGINE=onnxruntime "), ("SIGABRT", "int8", "try PRECISION=f32 "),
    ("SIGSEGV", "int8", "try PRECISION=f32 "), ("SIGKILL", "f32", "take a smaller batch ")])
def test_a_crash_of_an_engine_is_one_line(number, precision, said):
    code = ("import os, signal, sys; from common import cli; from common.cpu import atc, compiler\n"
            f"compiler.compile_onnx = lambda *_: os.kill(os.getpid(), signal.{number})\n"
            "cli.run(atc.apart)")
    make_onnx("tiny.onnx")
    words = [f"--{k}={v}" for k, v in GOOD.items()]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT), "HOST_PRECISION": precision})
    assert done.returncode == 1 and done.stdout.endswith("ATC run failed.\n")
    assert done.stderr.startswith(f"error: openvino was ended by {number} while it compiled or "
                                  f"checked tiny.onnx in {precision} — {said}")
    assert done.stderr.count("\n") == 1
    again = precision == "int8"  # SmoothQuant off made XCiT crash, with either signal
    assert ("now with SmoothQuant" in done.stdout) == again


def test_int8_that_crashes_is_made_with_smooth_quant():
    code = ("import os, signal, sys; from common import cli; from common.cpu import atc, host\n"
            "def main():\n    if not host.smooth_quant(): os.kill(os.getpid(), signal.SIGSEGV)\n"
            "    print('made')\natc.main = main\ncli.run(atc.apart)")
    words = [f"--{k}={v}" for k, v in GOOD.items()]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT), "HOST_PRECISION": "int8"})
    assert done.returncode == 0 and done.stdout.endswith("now with SmoothQuant, NNCF's default\n"
                                                         "made\n"), done.stdout + done.stderr


@pytest.mark.parametrize("error, said", [
    (RuntimeError("primitive"), "cannot compute tiny.onnx for batch 2: primitive — try ENGINE=onn"),
    (RuntimeError("std::bad_alloc"), "memory is too small.*smaller batch"),
    (MemoryError(), "memory is too small.*smaller batch")])
@pytest.mark.parametrize("when", ["compile_model", "run"])
def test_an_error_of_an_engine_is_one_line(call, monkeypatch, error, said, when):
    def failing(*args):
        raise error
    real = openvino_engine.load
    if when == "run":
        monkeypatch.setattr(openvino_engine, "load", lambda *args: (*real(*args)[:2], failing))
    else:
        monkeypatch.setattr(openvino_engine, "compile_model", failing)
        said = said.replace("compute", "compile")
    make_onnx("tiny.onnx")
    with pytest.raises(cli.Failure, match=said) as e:
        call(**GOOD)
    assert "OpenVINO" in str(e.value) and "delete" not in str(e.value)
    assert not list(Path().glob("*x*blob*"))


# ---- what is computed ----

def test_float32_is_really_float32(each):
    """A CPU with bfloat16 would be off by 1e-2 here, and OpenVINO's default is to use it."""
    (name, ending), shape = each, (3, 32, 32)
    weights = make_onnx("wide.onnx", classes=256, shape=shape, scale=1 / 55)
    compiler.compile_onnx("wide.onnx", 8, name, f"wide{ending}")
    # Loaded: the blob alone does not pin the precision.
    got, = engine.load(f"wide{ending}").run([images(8, shape=shape)])
    want = logits(images(8, shape=shape), weights)
    np.testing.assert_allclose(got, want, rtol=0, atol=2e-5)


def test_a_batch_in_parts(monkeypatch):
    """ONNX Runtime computes parts of a large batch on each core; no image changes its place."""
    monkeypatch.setattr(cli, "cores", lambda: 2)
    weights = make_onnx("tiny.onnx")
    model = compiler.compile_onnx("tiny.onnx", 16, "onnxruntime", "x.ort")
    assert (model.meta["part"], model.meta["batch"]) == (2, 16)
    assert model.inputs[0].shape == (16, *SHAPE)
    got, = engine.load("x.ort").run([images(16)])
    np.testing.assert_allclose(got, logits(images(16), weights), rtol=0, atol=1e-5)


def test_wrong_computation_gets_no_file(monkeypatch):
    make_onnx("tiny.onnx")
    real = openvino_engine.load

    def off(*args):
        *tensors, run = real(*args)
        last_row = np.array([[0], [0], [0], [0.1]], np.float32)
        return *tensors, lambda arrays: [y + last_row for y in run(arrays)]
    monkeypatch.setattr(openvino_engine, "load", off)
    with pytest.raises(cli.Failure, match=r"error of \d\.\de-0\d of its scale \(1e-03"):
        compiler.compile_onnx("tiny.onnx", 4, "openvino", "x.blob")
    assert sorted(p.name for p in Path().iterdir()) == ["tiny.onnx"]


def test_a_baked_batch_is_named(each):
    """A Reshape to a fixed batch, as a traced model may carry, is refused for another one."""
    node = helper.make_node("Reshape", ["input", "to"], ["output"])
    save_graph("baked.onnx", [node], {"input": ["n", 3]}, {"output": None},
               {"to": np.array([1, -1])})
    with pytest.raises(cli.Failure, match="baked into the graph"):
        compiler.compile_onnx("baked.onnx", 4, each[0], f"x{each[1]}")
    assert not list(Path().glob("x*"))


def test_an_open_inner_dimension_is_refused():
    make_onnx("tiny.onnx")
    model = onnx.load("tiny.onnx")
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "h"
    with pytest.raises(cli.Failure, match="first dimension must be open or 4, the others fixed"):
        graph.fix_batch(model, 4, "x.onnx")


# ---- AIPP ----

def aipp(crop=4):
    from common.data import transforms

    recipe = transforms.Recipe(resize=crop, crop=crop)
    Path("aipp.cfg").write_text(toolchain.aipp_text(recipe))
    return recipe


def test_bytes_are_normalised_inside_and_results_rounded(call, each):
    recipe, weights = aipp(), make_onnx("tiny.onnx")
    said = call(**GOOD, insert_op_conf="aipp.cfg", output_type="FP16")[-1]
    assert "f32, FP16 outputs, uint8 input, batch 2" in said
    model = engine.load(f"x{each[1]}")
    assert (model.inputs[0].shape, model.inputs[0].dtype) == ((2, 4, 4, 3), np.uint8)
    assert [(t.name, t.dtype) for t in model.outputs] == [("output", np.float16)]
    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), np.uint8)
    wanted = ((pixels / 255 - recipe.mean) / recipe.std).transpose(0, 3, 1, 2)
    got, = model.run([pixels])
    assert got.dtype == np.float16
    np.testing.assert_allclose(got, logits(wanted, weights), rtol=2 ** -10, atol=1e-3)
    assert "aipp.cfg" in model.meta["made"]["from"]


def test_what_float16_costs_aipp():
    """As toolchain.py states it, over all bytes: rounded parameters, and rounded steps."""
    recipe = aipp()
    conf = toolchain.read_aipp("aipp.cfg")
    pixels = np.arange(256)[:, None] * np.ones(3)
    wanted = (pixels / 255 - recipe.mean) / recipe.std
    low, scale = np.float16(conf["min"]), np.float16(conf["reciprocal"])
    rounded = (pixels - low.astype(float)) * scale.astype(float)
    stepwise = (pixels.astype(np.float16) - low) * scale
    assert np.abs(rounded - wanted).max() == pytest.approx(1.1e-3, abs=5e-5)
    assert np.abs(stepwise - wanted).max() == pytest.approx(2.8e-3, abs=5e-5)


@pytest.mark.parametrize("old, new", [
    ("crop: false", "crop: true"), ("RGB888_U8", "YUV420SP_U8"), ("min_chn_1", "mean_chn_1"),
    ("aipp_op {", "aipp_op {\n related_input_rank: 0"), ("123.675000", "1.2.3"),
    ("var_reci_chn_2", "var_reci_chn_1"), ("src_image_size_w: 4", "")])
def test_a_configuration_that_is_not_computed_here(old, new):
    aipp()
    path = Path("aipp.cfg")
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(cli.Failure, match="aipp.cfg.*common.toolchain --out"):
        toolchain.read_aipp("aipp.cfg")


def test_a_configuration_of_another_size(call):
    aipp(crop=8)
    make_onnx("tiny.onnx")
    with pytest.raises(cli.Failure, match=r"takes \[None, 3, 4, 4\]"):
        call(**GOOD, insert_op_conf="aipp.cfg")


# ---- loading ----

def refused(path, text):
    with pytest.raises(cli.Failure, match=f"{text}.*delete it and run `make om`"):
        engine.load(path)


def test_what_is_not_as_recorded_is_refused(tiny):
    path, record = tiny, provenance.record_path(tiny)
    good, meta = path.read_bytes(), provenance.read(path)
    path.write_bytes(good[:-100])
    refused(path, "is not the one that")
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 1  # same size; the engines would not notice a weight
    path.write_bytes(flipped)
    refused(path, "is not the one that")
    path.write_bytes(good)
    for key, value in {"engine_version": "2001.1.0", "device": "GPU",
                       "cpu_kind": "x86_64 mmx"}.items():
        cli.write_json(record, {**meta, key: value})
        refused(path, f"was compiled by .*{value}.*here it is")
    for change in ({"batch": 2}, {"batch": "4"}, {"engine": "tpu"}, {"part": 0}, {"made": {}}):
        cli.write_json(record, {**meta, **change})
        refused(path, str(record))
    for text in ("{", "[]", "{}"):
        record.write_text(text)
        refused(path, str(record))
    record.unlink()
    refused(path, "json does not exist")


def test_noise_is_rejected_by_the_engine(tiny):
    meta = provenance.read(tiny)
    tiny.write_bytes(b"RR_" + bytes(400))
    cli.write_json(f"{tiny}.json", {**meta, "made": provenance.made(tiny, [], [])})
    refused(tiny, "rejects")


def test_too_little_memory_is_no_reason_to_delete(tiny, monkeypatch):
    def failing(*args):
        raise RuntimeError("std::bad_alloc")
    backend = engine.backend_of(provenance.read(tiny)["engine"])
    monkeypatch.setattr(backend, "load", failing)
    with pytest.raises(cli.Failure, match="rejects tiny.*memory is too small.*smaller batch"):
        engine.load(tiny)


def test_what_it_was_made_from(tiny):
    """Its ONNX, what shapes it, and the release of the engine are inputs of an offline model."""
    meta = provenance.read(tiny)
    backend = engine.backend_of(meta["engine"])
    ours = [ROOT / f"common/{name}.py" for name in (
        "cpu/compiler", "cpu/engine", "cpu/rewrites", "cpu/graph", "toolchain")]
    library = facts.code_path(backend.LIBRARY)
    for path in map(str, ["tiny.onnx", *ours, backend.__file__, library]):
        assert meta["made"]["from"][path]["sha256"] == cli.sha256(path)
    make_onnx("tiny.onnx", seed=9)
    refused(tiny, "was made from another tiny.onnx")


def test_an_om_means_what_is_beside_it(monkeypatch):
    with pytest.raises(cli.Failure, match="none of x.om, x.blob, x.ort exists"):
        host.find("x.om")
    Path("x.ort").touch()
    assert host.find("x.om") == Path("x.ort")
    monkeypatch.setenv("HOST_ENGINE", "openvino")
    with pytest.raises(cli.Failure, match="none of x.om, x.blob exists.*HOST_ENGINE"):
        host.find("x.om")
    Path("x.blob").touch()
    assert host.find("x.om") == Path("x.blob")
    monkeypatch.delenv("HOST_ENGINE")
    with pytest.raises(cli.Failure, match=r"any of x\.blob, x\.ort"):
        host.find("x.om")
    Path("x.om").touch()
    with pytest.raises(cli.Failure, match="Ascend host"):
        host.find("x.om")
    with pytest.raises(cli.Usage):
        host.find("x.onnx")


# ---- set_env.sh ----

def test_set_env_in_a_path_with_spaces(tmp_path):
    folder = tmp_path / "my model"
    shutil.copytree(CPU.parent, folder / "common", ignore=shutil.ignore_patterns("__pycache__"))
    venv = folder / ".venv/bin"
    venv.mkdir(parents=True)
    (venv / "python3").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (venv / "python3").chmod(0o755)
    (folder / "Makefile").write_text("TITLE := x\nENGINE_CPU := onnxruntime\n")
    (tmp_path / "work").mkdir()
    make_onnx("work/tiny.onnx")
    script = """
        set -eu
        source "../my model/common/cpu/set_env.sh"; source "$1/common/cpu/set_env.sh"
        echo sourced
        atc --framework=5 --model=tiny.onnx --output=tiny --input_shape="input:2,3,4,4"
        atc --framework=5 --model=tiny.onnx --output=y --input_shape="image:2,3,4,4" || echo $?
        python3 -m ais_bench --model tiny.om --loop 2
        command -v python3
        echo "$PATH" | tr : '\\n' | grep -c 'my model'
        echo "$PYTHONPATH"
    """
    ours = ("PYTHON", "PYTHONPATH", "HOST_ENGINE")
    env = {k: v for k, v in os.environ.items() if k not in ours}
    done = subprocess.run(["bash", "-c", script, "bash", folder], cwd="work", text=True,
                          env={**env, "CDPATH": str(tmp_path)}, capture_output=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:2] == ["sourced", "ATC start working now, please wait for a moment."]
    assert "error: input 'image' of --input_shape is not in tiny.onnx (E10016)" in done.stderr
    assert lines[lines.index("ATC run failed.") + 1] == "1"
    assert "nothing was saved (no --output)" in lines
    assert lines[-3:] == [str(venv / "python3"), "2", str(folder / "common/cpu")]
    assert Path("work/tiny.ort").exists()  # by the engine of the model's Makefile


def test_nothing_is_reported_to_a_server():
    """openvino_telemetry would start a process and send what is used, from the import on."""
    code = ("from common.cpu import openvino_engine as e; import nncf, sys; e.openvino.Core(); "
            "print([m for m in sys.modules if m.startswith('openvino_telemetry') "
            "and sys.modules[m]])")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
