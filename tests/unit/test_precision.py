"""PRECISION=bf16 and int8, and PROVIDER=cuda: what they compute, and where they are refused."""
import json
import re
from pathlib import Path

import numpy as np
import pytest
from graphs import save_graph
from onnx import helper
from PIL import Image

from common import cli, provenance
from common.cpu import compiler, engine, onnxruntime_engine, openvino_engine
from common.data import calibration, transforms

SIDE = 32
RECIPE = transforms.Recipe(resize=SIDE, crop=SIDE)


@pytest.fixture(autouse=True)
def network(tmp_path, monkeypatch):
    """net.onnx, a small convolutional network with an open batch, and a folder of images."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    weights = {"w": rng.normal(size=(16, 3, 3, 3)), "v": rng.normal(size=(16, 16, 3, 3)) / 6,
               "g": rng.normal(size=(10, 16))}
    nodes = [helper.make_node("Conv", ["x", "w"], ["a"], pads=[1] * 4),
             helper.make_node("Relu", ["a"], ["b"]),
             helper.make_node("Conv", ["b", "v"], ["c"], pads=[1] * 4),
             helper.make_node("Relu", ["c"], ["d"]),
             helper.make_node("GlobalAveragePool", ["d"], ["e"]),
             helper.make_node("Flatten", ["e"], ["f"]),
             helper.make_node("Gemm", ["f", "g"], ["y"], transB=1)]
    save_graph("net.onnx", nodes, {"x": ["n", 3, SIDE, SIDE]}, {"y": ["n", 10]},
               {k: v.astype(np.float32) for k, v in weights.items()},
               preprocessing=RECIPE.as_dict())
    Path("images").mkdir()
    for i in range(12):
        pixels = rng.integers(0, 256, (40, 50, 3), np.uint8)
        Image.fromarray(pixels).save(f"images/{i:02d}.JPEG")


def compiled(precision, batch=4, **more):
    return compiler.compile_onnx("net.onnx", batch, "openvino", f"net_{precision}_{batch}.blob",
                                 precision=precision, **more)


def inputs(batch=4):
    return np.stack([RECIPE(transforms.load(f"images/{i:02d}.JPEG")) for i in range(batch)])


def relative(low, f32):
    return np.abs(low - f32).max() / np.abs(f32).max()


def test_int8():
    """It is close to f32, and does not depend on the batch."""
    f32, = compiled("f32").run([inputs()])
    model = compiled("int8", calib="images")
    low, = model.run([inputs()])
    assert model.precision == "int8" and 1e-5 < relative(low, f32) < 0.1
    assert model.meta["calibration"] == {
        "folder": "images", "images": 12, "of": 12, "demo": False, "smooth_quant": False,
        "note": "int8 is calibrated with 12 images only; 300 are better"}
    assert (
        provenance.made("x.json", ["images"])["from"].items() <= model.meta["made"]["from"].items())
    single = compiled("int8", batch=1, calib="images")
    each = np.concatenate([single.run([i[None]])[0] for i in inputs()])
    np.testing.assert_allclose(each, low, rtol=0, atol=1e-4)
    loaded = engine.load("net_int8_4.blob")
    assert loaded.precision == "int8"
    np.testing.assert_array_equal(loaded.run([inputs()])[0], low)


def test_calibration_images_that_cannot_be_read():
    Path("images/02.JPEG").write_bytes(b"no image")
    Path("images/05.JPEG").write_bytes(Path("images/05.JPEG").read_bytes()[:300])
    with pytest.raises(cli.Failure, match="2 images cannot be read: .*02.JPEG .*05.JPEG .*take"):
        compiled("int8", calib="images")
    assert not list(Path().glob("*.blob*"))


@pytest.mark.parametrize("calib, match", [
    (None, "needs images to calibrate with"), ("nowhere", "nowhere does not exist"),
    ("empty", "empty"), ("images", "holds 12 images — copy some")])
def test_int8_needs_some_images(monkeypatch, calib, match):
    Path("empty").mkdir()
    monkeypatch.setattr(calibration, "LARGEST", 11)
    with pytest.raises(cli.Failure, match=match):
        compiled("int8", calib=calib)


BF16 = "BF16" in openvino_engine.openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@pytest.mark.skipif(not BF16, reason="this CPU has no bfloat16")
def test_bf16():
    """bf16 is computed, at load too, only where it is asked for."""
    f32, = compiled("f32").run([inputs()])
    model = compiled("bf16")
    low, = model.run([inputs()])
    assert model.precision == model.meta["precision"] == "bf16"
    assert 1e-5 < relative(low, f32) < 0.05
    np.testing.assert_array_equal(engine.load("net_bf16_4.blob").run([inputs()])[0], low)
    np.testing.assert_array_equal(engine.load("net_f32_4.blob").run([inputs()])[0], f32)


def test_bf16_is_refused_without_the_hardware(monkeypatch):
    class Core:
        def get_property(self, device, name):
            return ["FP32", "INT8"]
    monkeypatch.setattr(openvino_engine.openvino, "Core", Core)
    with pytest.raises(cli.Failure, match="this CPU has no bfloat16.*use PRECISION=f32"):
        compiled("bf16")
    assert not [p for p in Path().iterdir() if "bf16" in p.name]


# ---- ONNX Runtime ----

def test_onnxruntime_has_f32_only():
    with pytest.raises(cli.Failure, match="PRECISION=int8: ONNX Runtime computes in f32 here"):
        compiler.compile_onnx("net.onnx", 1, "onnxruntime", "net.ort", precision="int8",
                              calib="images")


def test_a_gpu_is_refused_where_there_is_none(monkeypatch):
    monkeypatch.setenv("HOST_PROVIDER", "cuda")
    monkeypatch.setattr(onnxruntime_engine.onnxruntime, "get_available_providers",
                        lambda: ["CPUExecutionProvider"])
    with pytest.raises(cli.Failure, match="no CUDAExecutionProvider — pip uninstall"):
        compiler.compile_onnx("net.onnx", 1, "onnxruntime", "net.ort")


@pytest.fixture
def device(monkeypatch):
    """A stand-in for a device's ONNX Runtime: it notes what is asked for and computes on the CPU,
    all but the first node of its profile on the device. Returns what is asked, and the class."""
    real, asked = onnxruntime_engine.onnxruntime.InferenceSession, []

    class Session:
        def __init__(self, source, options, providers):
            self.ready = real(source, options, providers=["CPUExecutionProvider"])
            self.names = [name for name, _ in providers]
            asked.append(providers)

        def get_providers(self):
            return self.names

        def end_profiling(self):
            file = Path(self.ready.end_profiling())
            events = json.loads(file.read_text())
            for event in [e for e in events if "provider" in e.get("args", {})][1:]:
                event["args"]["provider"] = self.names[0]
            file.write_text(json.dumps(events))
            return str(file)

        def __getattr__(self, name):
            return getattr(self.ready, name)
    monkeypatch.setattr(onnxruntime_engine.onnxruntime, "get_available_providers",
                        lambda: ["CUDAExecutionProvider", "CANNExecutionProvider",
                                 "TensorrtExecutionProvider"])
    monkeypatch.setattr(onnxruntime_engine.onnxruntime, "InferenceSession", Session)
    return asked, Session


@pytest.mark.parametrize("precision, mode", [("f32", "force_fp32"), ("fp16", "force_fp16")])
def test_an_npu_by_onnx_runtime(monkeypatch, capsys, device, precision, mode):
    """Its precision is asked for, and what it leaves to the CPU is counted and said."""
    monkeypatch.setenv("HOST_PROVIDER", "cann")
    model = compiler.compile_onnx("net.onnx", 2, "onnxruntime", "net.ort", precision=precision)
    assert device[0][0] == [("CANNExecutionProvider", {"precision_mode": mode})]
    said = capsys.readouterr().out
    assert re.search(r"PROVIDER=cann: 1 of [2-9] nodes run on the CPU: 1 \w+", said), said
    assert model.meta["device"] == "NPU" and model.meta["note"] is None  # no estimate
    engine.load("net.ort")
    assert device[0][-1] == device[0][0]


def test_gpu_sessions_ask_for_their_provider(monkeypatch, device):
    asked, Session = device
    monkeypatch.setenv("HOST_PROVIDER", "cuda")
    model = compiler.compile_onnx("net.onnx", 2, "onnxruntime", "net.ort")
    assert asked[0] == [("CUDAExecutionProvider", {"use_tf32": "0"})]
    assert asked[-1][0][0] == "CPUExecutionProvider"  # what it is compared with
    assert model.meta["device"] == "GPU" and model.meta["provider"] == "cuda"
    got, want = (m.run([inputs(2)])[0] for m in (model, compiled("f32", 2)))
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-4)
    monkeypatch.setenv("HOST_PROVIDER", "tensorrt")
    with pytest.raises(cli.Failure, match="compiled by .* for cuda; here it is .* for tensorrt"):
        engine.load("net.ort")
    monkeypatch.setenv("HOST_PROVIDER", "cuda")
    monkeypatch.setattr(Session, "get_providers", lambda self: ["CPUExecutionProvider"])
    with pytest.raises(cli.Failure, match="fell back to CPUExecutionProvider"):
        engine.load("net.ort")
