"""PRECISION=bf16 and int8 on a CPU: what they compute, where they are refused, and what the comparison with f32 says."""
import itertools
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import ROOT, make
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from common import cli
from common.cpu import engine, onnxruntime_engine, openvino_engine
from common.data import dataset, transforms
from common.score import agree
from tools.inspect import fastest

SIDE = 32


@pytest.fixture
def network(tmp_path, monkeypatch):
    """A small convolutional network as ONNX with an open batch, and a folder of images to calibrate with."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    weights = {"w": rng.normal(size=(16, 3, 3, 3)), "v": rng.normal(size=(16, 16, 3, 3)) / 6, "g": rng.normal(size=(10, 16))}
    nodes = [helper.make_node("Conv", ["x", "w"], ["a"], pads=[1] * 4), helper.make_node("Relu", ["a"], ["b"]),
             helper.make_node("Conv", ["b", "v"], ["c"], pads=[1] * 4), helper.make_node("Relu", ["c"], ["d"]),
             helper.make_node("GlobalAveragePool", ["d"], ["e"]), helper.make_node("Flatten", ["e"], ["f"]),
             helper.make_node("Gemm", ["f", "g"], ["y"], transB=1)]
    model = helper.make_model(helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 10])],
        [numpy_helper.from_array(v.astype(np.float32), k) for k, v in weights.items()]),
        opset_imports=[helper.make_opsetid("", 11)], ir_version=8)
    recipe = transforms.Recipe(resize=SIDE, crop=SIDE)
    helper.set_model_props(model, {"preprocessing": json.dumps(recipe.as_dict())})
    onnx.save(model, "net.onnx")
    for i in range(12):
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)).save(tmp_path / f"images/{i}.JPEG")
    return recipe


def compiled(precision, batch=4, **more):
    return engine.compile_onnx("net.onnx", batch, "openvino", f"net_{precision}_{batch}.blob", precision=precision, **more)


def inputs(recipe, batch=4):
    found = dataset.find("images")
    return np.stack([recipe(transforms.load(i.path)) for i in found.images[:batch]])


def test_int8(network):
    """int8 is calibrated with the images that are named, is close to f32, and does not depend on the batch."""
    x = inputs(network)
    f32, = compiled("f32").run([x])
    model = compiled("int8", calib="images")
    low, = model.run([x])
    assert model.precision == "int8"
    assert model.meta["calibration"] == {"folder": "images", "images": 12, "of": 12, "demo": False}
    assert 1e-5 < np.abs(low - f32).max() / np.abs(f32).max() < 0.1
    single = compiled("int8", batch=1, calib="images")
    np.testing.assert_allclose(np.concatenate([single.run([i[None]])[0] for i in x]), low, rtol=0, atol=1e-4)
    again, = engine.load("net_int8_4.blob").run([x])
    np.testing.assert_array_equal(again, low)
    assert engine.load("net_int8_4.blob").precision == "int8"


@pytest.mark.parametrize("calib, match", [(None, "needs images to calibrate with"), ("nowhere", "nowhere does not exist")])
def test_int8_needs_images(network, calib, match):
    with pytest.raises(cli.Failure, match=match):
        compiled("int8", calib=calib)


def has_bf16():
    import openvino
    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@pytest.mark.skipif(not has_bf16(), reason="this CPU has no bfloat16")
def test_bf16(network):
    """bf16 is computed, at load too, only where it is asked for."""
    x = inputs(network)
    f32, = compiled("f32").run([x])
    model = compiled("bf16")
    low, = model.run([x])
    assert model.precision == model.meta["precision"] == "bf16"
    assert 1e-5 < np.abs(low - f32).max() / np.abs(f32).max() < 0.05
    np.testing.assert_array_equal(engine.load("net_bf16_4.blob").run([x])[0], low)
    np.testing.assert_array_equal(engine.load("net_f32_4.blob").run([x])[0], f32)


def test_bf16_is_refused_without_the_hardware(network, monkeypatch):
    class Core:
        def get_property(self, device, name):
            return ["FP32", "INT8"]
    monkeypatch.setattr(openvino_engine.openvino, "Core", Core)
    with pytest.raises(cli.Failure, match="this CPU has no bfloat16.*use PRECISION=f32"):
        compiled("bf16")
    assert not [p for p in Path().iterdir() if "bf16" in p.name]


def test_onnxruntime_has_f32_only(network):
    with pytest.raises(cli.Failure, match="PRECISION=int8: ONNX Runtime computes in f32 here — use ENGINE=openvino"):
        engine.compile_onnx("net.onnx", 1, "onnxruntime", "net.ort", precision="int8", calib="images")


def test_gpu_is_refused_where_there_is_none(network, monkeypatch):
    monkeypatch.setenv("HOST_PROVIDER", "cuda")
    monkeypatch.setattr(onnxruntime_engine.onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(cli.Failure, match="no CUDAExecutionProvider — on a host with an NVIDIA GPU: pip"):
        engine.compile_onnx("net.onnx", 1, "onnxruntime", "net.ort")
    monkeypatch.setenv("HOST_PROVIDER", "rocm")
    with pytest.raises(cli.Usage, match="cpu, cuda, tensorrt"):
        engine.compile_onnx("net.onnx", 1, "onnxruntime", "net.ort")


def test_gpu_sessions_ask_for_their_provider(network, monkeypatch):
    """A stand-in for a GPU build of ONNX Runtime: it records what a session is asked for and computes on the CPU."""
    real, asked = onnxruntime_engine.onnxruntime.InferenceSession, []

    class Session:
        def __init__(self, source, options, providers):
            self.ready, self.names = real(source, options, providers=["CPUExecutionProvider"]), [name for name, _ in providers]
            asked.append(providers)

        def get_providers(self):
            return self.names

        def __getattr__(self, name):
            return getattr(self.ready, name)
    monkeypatch.setenv("HOST_PROVIDER", "cuda")
    monkeypatch.setattr(onnxruntime_engine.onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(onnxruntime_engine.onnxruntime, "InferenceSession", Session)
    model = engine.compile_onnx("net.onnx", 2, "onnxruntime", "net.ort")
    assert asked[0] == [("CUDAExecutionProvider", {"use_tf32": "0"})] and model.meta["device"] == "GPU"
    assert asked[-1][0][0] == "CPUExecutionProvider"  # what it is held against
    x = inputs(network, 2)
    np.testing.assert_allclose(model.run([x])[0], compiled("f32", 2).run([x])[0], rtol=0, atol=1e-4)
    monkeypatch.setattr(Session, "get_providers", lambda self: ["CPUExecutionProvider"])
    with pytest.raises(cli.Failure, match="fell back to CPUExecutionProvider"):
        engine.load("net.ort")


def scored(folder, name, logits):
    (folder / name).mkdir()
    for i, row in enumerate(logits):
        row.astype(np.float32).tofile(folder / name / f"{i}_0.bin")
    return folder / name


def test_agreement_and_its_verdict(tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    f32 = rng.normal(size=(200, 1000))
    labels = f32.argmax(1)
    labels[:50] = 0  # f32 has 150 right, or a few more
    right = int((f32.argmax(1) == labels).sum())
    bins = tmp_path / "bins"
    bins.mkdir()
    dataset.Manifest([dataset.Row(f"{i}.JPEG", str(i), 0, int(label)) for i, label in enumerate(labels)],
                     {str(i): 1 for i in range(200)}, {"demo": True}).save(bins)
    scored(tmp_path, "f32", f32)

    def verdict(name, wrong):
        lower = f32.copy()
        for i in range(50, 50 + wrong):
            lower[i, labels[i]] = -9
        out = tmp_path / f"{name}.json"
        cli.write_json(out, {"line": "top1"})
        words = ["--f32", tmp_path / "f32", "--lower", scored(tmp_path, name, lower), "--precision", "int8",
                 "--manifest", bins, "--json", out]
        monkeypatch.setattr("sys.argv", ["agree", *map(str, words)])
        agree.main()
        return json.loads(out.read_text())

    good = verdict("two", 2)  # a point exactly: still accepted
    assert good["against_f32"] == {"images": 200, "f32": {"top1": right, "top5": good["against_f32"]["f32"]["top5"]},
                                   "lower": {"top1": right - 2, "top5": good["against_f32"]["lower"]["top5"]},
                                   "same": 198, "lost": 1.0, "verdict": "accepted"}
    assert good["line"] == "top1" and "int8 is accepted: 1.00 points of Top-1 lost, 198 of 200" in capsys.readouterr().out
    with pytest.raises(cli.Failure, match=r"int8 loses 1\.50 points of Top-1 against f32 on 200 images"):
        verdict("three", 3)
    assert json.loads((tmp_path / "three.json").read_text())["against_f32"]["verdict"] == "refused"


def test_make_evaluates_f32_beside_a_lower_precision():
    said = make(ROOT / "ShiftViT", "-n", "-B", "eval", "PRECISION=int8", "OUT=/nowhere/build")
    assert "HOST_PRECISION=int8 HOST_CALIB='/nowhere/build/demo/data/train'" in said and "shiftvit2-bs8_int8" in said
    results = "/nowhere/build/demo/result/bs8_openvino"
    assert f"common.score.agree --f32 {results} --lower {results}_int8 --precision int8" in said
    assert "HOST_PRECISION=f32" in said and "--output=/nowhere/build/demo/shiftvit2-bs8 " in said
    f32 = make(ROOT / "ShiftViT", "-n", "-B", "eval", "OUT=/nowhere/build")
    assert "common.score.agree" not in f32 and "int8" not in f32


@pytest.mark.parametrize("words, match", [
    (["PRECISION=bf16", "ENGINE=onnxruntime"], "PRECISION=bf16 needs ENGINE=openvino"),
    (["PRECISION=int8", "ENGINE=ascend"], "on Ascend say it to atc"),
    (["PROVIDER=cuda"], "PROVIDER=cuda needs ENGINE=onnxruntime"),
    (["PRECISION=int8", "WEIGHTS=/real.pth", "DATA=/real"], "needs training images: CALIB="),
])
def test_make_says_where_a_precision_cannot_be(words, match):
    assert match in make(ROOT / "ShiftViT", "-n", "eval", *words, status=2)


class Timed:
    """An offline model of which each run takes so many seconds by a clock of its own."""

    def __init__(self, name, each, clock):
        self.meta, self.inputs, self.each, self.clock = {"engine": name, "batch": 8, "cpu": "a CPU"}, [], each, clock

    def run(self, inputs):
        self.clock[0] += next(self.each)


def test_fastest_is_what_auto_takes(tmp_path, monkeypatch):
    """By the median of turns: a model is not slower for what the machine did during two of them."""
    clock = [0.]
    monkeypatch.setattr(fastest.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(fastest.time, "sleep", lambda s: None)
    models = {"m.blob": Timed("openvino", itertools.repeat(0.8), clock),
              "m.ort": Timed("onnxruntime", itertools.chain([5.] * 4, itertools.repeat(0.64)), clock)}
    monkeypatch.setattr(engine, "load", models.get)
    monkeypatch.setattr("sys.argv", ["fastest", str(tmp_path / "fastest"), *models, "--rounds", "5"])
    fastest.main()
    assert (tmp_path / "fastest").read_text() == "onnxruntime\nonnxruntime 12.5 fps, openvino 10.0 fps at batch 8, a CPU\n"
    out = f"OUT={tmp_path}"
    assert "HOST_ENGINE=onnxruntime" in make(ROOT / "ShiftViT", "-n", "-B", "om", out)
    assert "HOST_ENGINE=openvino" in make(ROOT / "ShiftViT", "-n", "-B", "om", out, "ENGINE=openvino")
    (tmp_path / "fastest").write_text("$(shell touch ran)\n")
    assert "HOST_ENGINE=openvino" in make(ROOT / "ShiftViT", "-n", "-B", "om", out)
    assert not (ROOT / "ShiftViT/ran").exists()
