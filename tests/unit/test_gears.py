"""One offline model for several batches: the stand-ins for atc and ais_bench, at every gear."""
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from graphs import images, logits, make_onnx

from common import cli, provenance, toolchain
from common.cpu import atc, engine, host
from common.cpu.ais_bench import __main__ as ais_bench

GEARS = [1, 4, 16]


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def call(monkeypatch, capfd):
    """call(module, *words) runs a stand-in; what it printed."""
    def run(module, *words):
        monkeypatch.setattr(sys, "argv", [module.__name__, *words])
        capfd.readouterr()
        module.main()
        return capfd.readouterr().out
    return run


def flags(shape="input:-1,3,4,4", gears="1,4,16"):
    return ["--framework=5", "--model=tiny.onnx", "--output=tiny_bsdynamic",
            f"--input_shape={shape}", f"--dynamic_batch_size={gears}"]


@pytest.mark.parametrize("name, precision", [
    ("openvino", "f32"), ("onnxruntime", "f32"), ("onnxruntime", "fp16")])
def test_every_gear_computes_its_batch_and_no_other_is_taken(call, monkeypatch, name, precision):
    monkeypatch.setenv("HOST_ENGINE", name)
    monkeypatch.setenv("HOST_PRECISION", precision)
    weights = make_onnx("tiny.onnx")
    path = Path(f"tiny_bsdynamic{host.ENDINGS[name]}")
    assert f"wrote {path} " in (said := call(atc, *flags())) and "batch 1, 4, 16" in said
    record = provenance.read(path)
    assert (record["batch"], record["gears"]) == (None, GEARS)
    assert record["inputs"][0]["shape"] == [-1, 3, 4, 4] and provenance.misfit(path) is None
    for batch in GEARS:
        x, model = images(batch), engine.load(path, batch=batch)
        assert model.meta["batch"] == batch and model.inputs[0].shape == (batch, 3, 4, 4)
        np.testing.assert_allclose(model.run([x])[0], logits(x, weights),
                                   atol=0.05 if precision == "fp16" else 1e-4)
    for batch, said in ((8, "not for 8"), (None, "none is chosen")):
        with pytest.raises(cli.Failure, match=f"is for the batches 1, 4, 16, {said} — give one"):
            engine.load(path, batch=batch)


def test_ais_bench_takes_the_gear(call):
    weights = make_onnx("tiny.onnx")
    call(atc, *flags())
    Path("bins").mkdir()
    x = images(6)
    for i, image in enumerate(x):
        image.tofile(f"bins/{i}.bin")
    for batch in GEARS:
        call(ais_bench, "--model=tiny_bsdynamic.om", "--input=bins", "--output=out",
             f"--output_dirname=bs{batch}", f"--dymBatch={batch}")
        got = [np.fromfile(f"out/bs{batch}/{i}_0.bin", np.float32) for i in range(6)]
        np.testing.assert_allclose(got, logits(x, weights), atol=1e-4)
        assert json.loads(Path(f"out/bs{batch}_summary.json").read_text())["batch"] == batch
    with pytest.raises(cli.Failure, match="is for the batches 1, 4, 16, not for 5"):
        call(ais_bench, "--model=tiny_bsdynamic.om", "--dymBatch=5")
    call(atc, "--framework=5", "--model=tiny.onnx", "--output=one", "--input_shape=input:4,3,4,4")
    with pytest.raises(cli.Failure, match="is for batch 4 alone, not for 8 — BS=4"):
        call(ais_bench, "--model=one.om", "--dymBatch=8")


@pytest.mark.parametrize("words, said", [
    ({"gears": "1,x"}, "E10001"), ({"shape": "input:4,3,4,4"}, "needs -1 as the batch of 'input'"),
    ({"shape": "input:-1,3,-1,4"}, "is open")])
def test_atc_refuses(call, words, said):
    make_onnx("tiny.onnx")
    with pytest.raises((cli.Usage, cli.Failure), match=said):
        call(atc, *flags(**words))
    assert not list(Path().glob("tiny_*"))


def test_a_damaged_record_is_one_line(call):
    make_onnx("tiny.onnx")
    call(atc, *flags())
    shutil.copy("tiny_bsdynamic.blob.json", "good.json")
    for change in ({"pieces": []}, {"gears": 4}, {"pieces": {}}, {"pieces": {"4": {"part": 0}}}):
        content = {**json.loads(Path("good.json").read_text()), **change}
        Path("tiny_bsdynamic.blob.json").write_text(json.dumps(content))
        with pytest.raises(cli.Failure, match="no sound|rejects"):
            engine.load("tiny_bsdynamic.blob", batch=4)


def test_gears():
    assert toolchain.parse_gears("16,1, 4") == GEARS


@pytest.mark.parametrize("text", ["4", "4,4", "0,4", "1,²2", "1,x", "",
                                  ",".join(map(str, range(1, 102)))])
def test_gears_that_are_none(text):
    with pytest.raises(cli.Usage, match="no list of 2 to 100 batches"):
        toolchain.parse_gears(text)
