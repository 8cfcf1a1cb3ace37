"""PRECISION=fp16: an estimate of an NPU's float16, and make half, which names the layers."""
import json
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import tiny
from graphs import images, make_onnx, save_graph
from onnx import helper

from common import cli
from common.cpu import compiler, engine, half
from common.data.manifest import Manifest, Row
from tools.inspect import half as make_half
from tools.inspect import half_layers as layers


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def rounded(array):
    return array.astype(np.float16).astype(np.float32)


def compiled(path="net.onnx", batch=4, name="onnxruntime", output="net.ort", **more):
    return compiler.compile_onnx(path, batch, name, output, precision="fp16", **more)


def test_it_rounds_as_numpy_does():
    """Input, weights and the result; also when the file is loaded, and with float16 outputs."""
    weight, bias = make_onnx("net.onnx")
    x = images(4)
    want = rounded(rounded(x).reshape(4, -1) @ rounded(weight) + rounded(bias))
    exact = x.reshape(4, -1) @ weight + bias
    model = compiled()
    assert model.meta["note"] == half.ESTIMATE and model.precision == "fp16"
    for got in (model.run([x])[0], engine.load("net.ort").run([x])[0],
                compiled(output="h.ort", output_type="FP16").run([x])[0].astype(np.float32)):
        np.testing.assert_allclose(got, want, rtol=2**-10)  # sums in another order: one step
        assert (rounded(got) == got).all() and (got != exact).any()


def test_only_the_cpus_onnx_runtime_rounds(monkeypatch):
    make_onnx("net.onnx")
    with pytest.raises(cli.Failure, match="fp16 is estimated with ONNX Runtime — use ENGINE=onnx"):
        compiled(name="openvino", output="net.blob")
    monkeypatch.setattr("common.cpu.onnxruntime_engine.provider", lambda: "cuda")
    with pytest.raises(cli.Failure, match="fp16 is estimated on a CPU — omit PROVIDER="):
        compiled()
    assert not list(Path().glob("net.ort*"))


def network(large=1.0, **about):
    """Conv → Conv → pool → Gemm with the names that torch's export gives; the first convolution's
    result is `large` times as large, the second's weights as much smaller."""
    rng = np.random.default_rng(0)
    weights = {
        "w": large * rng.normal(size=(8, 3, 3, 3)), "v": rng.normal(size=(8, 8, 3, 3)) / large,
        "g": rng.normal(size=(8, 5))}
    nodes = [helper.make_node("Conv", ["x", "w"], ["/stem/conv/Conv_output_0"]),
             helper.make_node("Relu", ["/stem/conv/Conv_output_0"], ["/stem/act/Relu_output_0"]),
             helper.make_node("Conv", ["/stem/act/Relu_output_0", "v"], ["/mix/Conv_output_0"]),
             helper.make_node("GlobalAveragePool", ["/mix/Conv_output_0"], ["/pool_output_0"]),
             helper.make_node("Flatten", ["/pool_output_0"], ["/flat_output_0"]),
             helper.make_node("Gemm", ["/flat_output_0", "g"], ["y"], name="/head/Gemm")]
    save_graph("net.onnx", nodes, {"x": ["n", 3, 8, 8]}, {"y": ["n", 5]},
               {name: w.astype(np.float32) for name, w in weights.items()}, **about)
    return onnx.load("net.onnx")


SMALL = images(3, shape=(3, 8, 8))


def test_a_layer_that_overflows_is_named():
    fine = layers.measure(network(), SMALL)
    assert [row["module"] for row in fine] == ["stem.conv", "mix", "", "head"]
    modules = layers.by_module(fine)
    assert all(0 < m["error"] < 3e-3 and not (m["jump"] or m["over"]) for m in modules)
    assert layers.advice(fine, modules) == []
    rows = layers.measure(network(large=2e4), SMALL)
    modules = layers.by_module(rows)
    over = [m["module"] for m in modules if m["over"]]
    assert over == ["stem.conv"] and rows[-1]["error"] == np.inf
    said = " ".join(layers.advice(rows, modules))
    assert "keep /stem/conv/Conv_output_0 in float32" in said and "--keep_dtype=" in said
    assert "310P has no float32 convolution" in said
    with pytest.raises(cli.Failure, match="`make half` names the layers that do not fit"):
        compiled()


def test_an_error_that_jumps_is_named():
    """100 is added and taken away again: what float16 had of the numbers is gone."""
    nodes = [helper.make_node("Add", ["x", "c"], ["/a/Add_output_0"]),
             helper.make_node("Sub", ["/a/Add_output_0", "c"], ["/b/Sub_output_0"]),
             helper.make_node("Relu", ["/b/Sub_output_0"], ["y"], name="/c/Relu")]
    save_graph("net.onnx", nodes, {"x": ["n", 9]}, {"y": ["n", 9]}, {"c": np.float32([100])})
    rows = layers.measure(onnx.load("net.onnx"), images(2, shape=(9,)))
    modules = layers.by_module(rows)
    assert [(m["module"], m["jump"]) for m in modules] == [("a", False), ("b", True)]
    said = layers.advice(rows, modules)
    assert "--op_precision_mode=" in said[0] and "fusion_switch" in said[1]


def test_a_group_norm_loses_in_one_float16_sum_only():
    """8 x 96 x 96 squares of about 1 add up to more than 65504."""
    shape = ["n", 8, 96, 96]
    nodes = [helper.make_node("Reshape", ["x", "flat"], ["r"]),
             helper.make_node("InstanceNormalization", ["r", "one", "zero"], ["i"]),
             helper.make_node("Reshape", ["i", "back"], ["n_"]),
             helper.make_node("GlobalMaxPool", ["n_"], ["p"]),
             helper.make_node("Flatten", ["p"], ["y"])]
    save_graph("net.onnx", nodes, {"x": shape}, {"y": ["n", 8]},
               {"flat": np.int64([0, 1, -1]), "back": np.int64([0, *shape[1:]]),
                "one": np.ones(1, np.float32), "zero": np.zeros(1, np.float32)})
    model, x = onnx.load("net.onnx"), images(2, shape=shape[1:])
    forms = layers.norm_forms(model, x, layers.logits(model, x))
    assert forms["apart"]["error"] < 2e-3 and forms["squares"]["error"] < 2e-3
    assert forms["total"]["error"] > 0.9
    assert layers.norm_forms(network(), SMALL, np.zeros((3, 5))) == {}


@pytest.mark.parametrize("demo, words", [(True, " with demo weights"), (False, "")])
def test_make_half_says_demo_weights(monkeypatch, capsys, demo, words):
    network(demo=demo)
    Path("prep").mkdir()
    SMALL[0].tofile("prep/a.bin")
    info = {"shape": [3, 8, 8], "dtype": "float32", "bad": {}, "recipe": {"resize": 8, "crop": 8}}
    Manifest([Row("a.png", "a", 0, 0)], {"a": 1}, info).save("prep")
    monkeypatch.setattr(sys, "argv", ["half", "--onnx", "net.onnx", "--bins", "prep",
                                      "--json", "half.json"])
    make_half.main()
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first == f"{half.ESTIMATE}; net.onnx{words} on 1 images"
    assert last.startswith(f"an estimate{words}: float16 changes ")
    assert json.loads(Path("half.json").read_text())["demo"] == demo


@pytest.mark.slow
@pytest.mark.parametrize("more", [[], ["INPUT=uint8"]])
def test_make_half(tmp_path, more):
    top = tiny.repository(tmp_path / "a checkout", "Net")
    done = tiny.make(top / "Net", "half", *more, f"PYTHON={sys.executable}")
    found = json.loads((top / "Net/build/half.json").read_text())
    assert found["over"] == [] and "4" in [m["module"] for m in found["modules"]]
    assert tiny.last_line(done).startswith("an estimate: float16 changes ")
    assert f"{half.ESTIMATE}; build/spnasnet_100.onnx on 4 images" in done.stdout
