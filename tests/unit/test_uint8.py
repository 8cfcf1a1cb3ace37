"""INPUT=uint8: bins of bytes, normalisation in the model; the same answers, and no float file ever taken for bytes."""
import json
import os

import numpy as np
import pytest
import torch
from conftest import ROOT, counts, last_line, make
from PIL import Image
from test_ascend_chain import IMAGES, RIGHT, Host, flags

from common import cli
from common.ascend import aipp
from common.data import transforms

RECIPE = transforms.Recipe()


@pytest.fixture
def host(tmp_path, fake_ascend):
    return Host("ShiftViT", tmp_path, fake_ascend)


def test_configuration_holds_the_transforms_constants(tmp_path):
    (tmp_path / "aipp.cfg").write_text(aipp.text(RECIPE))
    conf = aipp.read(tmp_path / "aipp.cfg")
    assert conf["size"] == (224, 224)
    np.testing.assert_allclose(conf["min"], [123.675, 116.28, 103.53])
    np.testing.assert_allclose(conf["reciprocal"], [0.0171247538, 0.0175070028, 0.0174291939], rtol=1e-7)
    pixels = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3), dtype=np.uint8)
    np.testing.assert_allclose(aipp.normalise(pixels, conf)[0], transforms.normalize(pixels[0]), atol=1e-6)


@pytest.mark.parametrize("change", [("crop: false", "crop: true"), ("csc_switch: false", "csc_switch: true"),
                                    ("RGB888_U8", "YUV420SP_U8"), ("    min_chn_1: 116.280000\n", ""),
                                    ("aipp_op {\n", "aipp_op {\n    padding: true\n")])
def test_what_the_stand_in_does_not_compute_is_refused(tmp_path, change):
    text = aipp.text(RECIPE)
    assert change[0] in text
    (tmp_path / "aipp.cfg").write_text(text.replace(*change))
    with pytest.raises(cli.Failure, match="asks for more than the CPU stand-in computes"):
        aipp.read(tmp_path / "aipp.cfg")


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_same_answers_on_this_cpu(host, engine):
    for bs in (1, 4):
        words = (f"ENGINE={engine}", f"BS={bs}", "AS_BUILT=1", *host.words)
        make(host.folder, "prep", "INPUT=uint8", *host.words)
        said = make(host.folder, "eval", "INPUT=uint8", *words)
        assert counts(last_line(said)) == counts(last_line(make(host.folder, "eval", *words))) == (RIGHT, IMAGES)
    sizes = {(host.folder / f"build/{d}/img_3.bin").stat().st_size for d in ("prep", "prep_uint8")}
    assert sizes == {224 * 224 * 3, 4 * 224 * 224 * 3}
    suffix = {"openvino": "blob", "onnxruntime": "ort"}[engine]
    meta = json.loads((host.folder / f"build/demo/shiftvit2-bs4_uint8.{suffix}.json").read_text())
    assert meta["inputs"] == [{"name": "input", "shape": [4, 224, 224, 3], "dtype": "uint8"}]
    assert meta["outputs"][0]["dtype"] == "float32" and meta["error_to_onnx"] < 1e-5


def test_same_answers_on_an_npu(host):
    make(host.folder, "prep", "INPUT=uint8", *host.words)
    assert counts(last_line(host.make("eval", "INPUT=uint8", "BS=4"))) == (RIGHT, IMAGES)
    given = flags(host.ascend.calls("atc")[-1]["argv"])
    assert given["--insert_op_conf"].endswith("aipp.cfg") and given["--enable_small_channel"] == "1"
    assert given["--input_shape"] == "input:4,3,224,224"
    assert (host.folder / "build/demo/aipp.cfg").read_text() == aipp.text(transforms.published(ROOT / "ShiftViT"))


@pytest.mark.parametrize("where", ["cpu", "npu"])
def test_a_float_file_is_never_taken_for_bytes(host, where):
    """At batch 4 a float image has exactly the size of four uint8 ones, so only the types tell."""
    make(host.folder, "prep", "INPUT=uint8", *host.words)
    run = (lambda *w, **k: make(host.folder, *w, *host.words, "AS_BUILT=1", **k)) if where == "cpu" else host.make
    run("om", "INPUT=uint8", "BS=4")
    run("om", "BS=4")
    for bins, om in (("prep", "_uint8"), ("prep_uint8", "")):
        os.rename(host.folder / "build/prep", host.folder / "build/kept")
        os.rename(host.folder / "build/prep_uint8", host.folder / "build/other")
        other = {"prep": "kept", "prep_uint8": "other"}[bins]
        os.rename(host.folder / f"build/{other}", host.folder / f"build/prep{om}")
        said = run("infer", f"INPUT={'uint8' if om else 'float32'}", "BS=4", status=2)
        assert "the bins hold" in said and "use the same INPUT=" in said
        os.rename(host.folder / f"build/prep{om}", host.folder / f"build/{other}")
        os.rename(host.folder / "build/kept", host.folder / "build/prep")
        os.rename(host.folder / "build/other", host.folder / "build/prep_uint8")
    if where == "cpu":
        (host.folder / "build/prep_uint8/manifest.json").rename(host.folder / "manifest.json")
        (host.folder / "build/prep_uint8/manifest.json").write_text("{}")
        (host.folder / "build/prep_uint8/manifest.json").unlink()
        env = {"PYTHONPATH": "common/cpu"}
        import subprocess

        done = subprocess.run([".venv/bin/python", "-m", "ais_bench", "--model", "build/demo/shiftvit2-bs4_uint8.om",
                               "--input", "build/prep_uint8"], cwd=host.folder, env={**os.environ, **env},
                              capture_output=True, text=True)
        assert done.returncode == 1 and "has no manifest.json" in done.stderr


def test_torch_sees_the_same_images(tmp_path, monkeypatch):
    from common.data import dataset
    from common.speed import online

    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (300, 260, 3), dtype=np.uint8))
    for dtype, content in (("float32", RECIPE(image)), ("uint8", RECIPE.pixels(image))):
        folder = tmp_path / dtype
        folder.mkdir()
        content.tofile(folder / "a.bin")
        dataset.Manifest([dataset.Row("a.JPEG", "a", 0, 1)], {"a": 1}, {
            "dtype": dtype, "shape": list(content.shape), "recipe": RECIPE.as_dict()}).save(folder)
    (_, floats), = online.batches(dataset.Manifest.load(tmp_path / "float32"), tmp_path / "float32")
    (_, bytes_), = online.batches(dataset.Manifest.load(tmp_path / "uint8"), tmp_path / "uint8")
    torch.testing.assert_close(torch.from_numpy(floats), torch.from_numpy(bytes_), atol=0, rtol=0)
