"""INPUT=uint8: bins of bytes, normalised in the model: the same answers, and no float file is ever
taken for bytes (at batch 4 a float image has the size of four of bytes)."""
import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from torchvision.transforms import functional as tv

from common.data import transforms
from common.data.manifest import Manifest, Row
from common.score.against_onnx import read_bin

RECIPE = transforms.Recipe()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model folder in which both kinds of bins went all the way at batch 4."""
    folder = tiny.make_folder(tmp_path_factory.mktemp("uint8"))
    for kind in ("float32", "uint8"):
        assert tiny.last_line(tiny.make(folder, "eval", f"INPUT={kind}")) == tiny.LINE
    return folder


def test_same_answers_from_a_quarter_of_the_bytes(folder):
    sizes = {kind: (folder / f"build/{kind}" / f"{tiny.NAMES[0][:-5]}.bin").stat().st_size
             for kind in ("prep", "prep_uint8")}
    assert sizes == {"prep": 224 * 224 * 3 * 4, "prep_uint8": 224 * 224 * 3}


@pytest.mark.parametrize("bins, model", [("prep", "_uint8"), ("prep_uint8", "")])
def test_a_float_file_is_never_taken_for_bytes(folder, tmp_path, bins, model):
    copy = tiny.fresh(folder, tmp_path / "spnasnet")
    words = ("--model", f"build/spnasnet_100_bs4{model}.blob", "--input", f"build/{bins}",
             "--output", "out")
    done = tiny.run(copy, "-m", "ais_bench", *words, env={"PYTHONPATH": "common/cpu"})
    tiny.failed(done, "the bins hold", "use the same INPUT= for prep and om")


def test_torch_sees_the_same_images(tmp_path):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 260, 3), np.uint8))
    for dtype, content in (("float32", RECIPE(picture)), ("uint8", RECIPE.pixels(picture))):
        (tmp_path / dtype).mkdir()
        content.tofile(tmp_path / dtype / "a.bin")
        Manifest([Row("a.JPEG", "a", 0, 1)], {"a": 1}, {
            "dtype": dtype, "shape": list(content.shape), "recipe": RECIPE.as_dict()}
        ).save(tmp_path / dtype)
        known = Manifest.load(tmp_path / dtype)
        image = read_bin(tmp_path / dtype, known.rows[0], known.info)
        unit = tv.to_tensor(Image.fromarray(RECIPE.pixels(picture)))
        wanted = tv.normalize(unit, RECIPE.mean, RECIPE.std)
        torch.testing.assert_close(torch.from_numpy(image), wanted, atol=0, rtol=0)
