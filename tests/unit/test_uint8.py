"""INPUT=uint8: bins of bytes, normalised in the model. No float file is ever taken for bytes: at
batch 4 a float image has the size of four of bytes. The answers: chain/test_pipeline.py."""
from pathlib import Path

import numpy as np
import pytest
import torch
from graphs import make_onnx
from PIL import Image
from torchvision.transforms import functional as tv

from common import cli, toolchain
from common.cpu import compiler
from common.cpu.ais_bench import inputs
from common.data import transforms
from common.data.manifest import Manifest, Row
from common.score.against_onnx import read_bin

RECIPE = transforms.Recipe(resize=4, crop=4)


def write_bins(folder, content):
    """A folder of one bin of an image, with its manifest."""
    folder.mkdir()
    content.tofile(folder / "a.bin")
    about = {"dtype": content.dtype.name, "shape": list(content.shape), "recipe": RECIPE.as_dict()}
    Manifest([Row("a.JPEG", "a", 0, 1)], {"a": 1}, about).save(folder)


@pytest.fixture
def bins(tmp_path, monkeypatch):
    """An image of 4x4 as bins in float32/ and uint8/; its pixels are returned."""
    monkeypatch.chdir(tmp_path)
    noise = np.random.default_rng(0).integers(0, 256, (7, 6, 3), np.uint8)
    picture = Image.fromarray(noise)
    write_bins(tmp_path / "float32", RECIPE(picture))
    write_bins(tmp_path / "uint8", RECIPE.pixels(picture))
    return RECIPE.pixels(picture)


@pytest.mark.parametrize("takes", ["float32", "uint8"])
def test_a_float_file_is_never_taken_for_bytes(bins, takes):
    Path("aipp.cfg").write_text(toolchain.aipp_text(RECIPE))
    make_onnx("tiny.onnx")
    conf = "aipp.cfg" if takes == "uint8" else None
    tensor, = compiler.compile_onnx("tiny.onnx", 4, "openvino", "x.blob", "FP32", conf).inputs
    assert tensor.dtype == takes
    assert inputs.batches(takes, tensor, "x.blob") == ([[f"{takes}/a.bin"]], 4)
    other = {"float32": "uint8", "uint8": "float32"}[takes]
    with pytest.raises(cli.Failure, match=f"the bins hold {other}, x.blob takes {takes} — use the"):
        inputs.batches(other, tensor, "x.blob")
    if takes == "uint8":
        Path("uint8/manifest.json").unlink()
        with pytest.raises(cli.Failure, match="uint8 has no manifest.json.*--input uint8"):
            inputs.batches("uint8", tensor, "x.blob")


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_torch_sees_the_same_images(bins, dtype):
    known = Manifest.load(dtype)
    image = read_bin(dtype, known.rows[0], known.info)
    wanted = tv.normalize(tv.to_tensor(Image.fromarray(bins)), RECIPE.mean, RECIPE.std)
    torch.testing.assert_close(torch.from_numpy(image), wanted, atol=0, rtol=0)
