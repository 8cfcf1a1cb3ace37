"""Faults in the labels, on the real commands of all five models: what is refused before the first
image is decoded. What a label file may hold otherwise is in unit/test_labels.py."""
import pytest
import tiny
from conftest import ROOT
from PIL import Image

SCRIPTS = {
    "Convmixer": ("convmixer_preprocess.py", "--image-path", "{}", "--prep-image", "{}/bins"),
    "SPACH": ("SPACH_preprocess.py", "--src-path", "{}", "--save-path", "{}/bins"),
    "ShiftViT": ("shiftvit_preprocess.py", "--data-root", "{}", "--save-dir", "{}/bins",
                 "--gt-path", "{}/gt.npy"),
    "Twins-SVT-L": ("Twins_preprocess.py", "--root_path", "{}", "--bin_path", "{}/bins"),
    "spnasnet": ("preprocess_spnasnet_100_pytorch.py", "{}", "{}/bins"),
}


@pytest.mark.parametrize("model", [
    pytest.param(model, marks=pytest.mark.fault(f"labels that count from 1: {model}",
                                                "exit 1 before a bin")) for model in SCRIPTS])
def test_refused_by_every_model(tmp_path, seen, model):
    (tmp_path / "val").mkdir()
    for name in ("img_1.JPEG", "img_2.JPEG"):
        Image.new("RGB", (40, 50)).save(tmp_path / "val" / name)
    tiny.write_labels(tmp_path, ["img_1.JPEG 65", "img_2.JPEG 1000"])
    done = tiny.run(ROOT / model, *(word.format(tmp_path) for word in SCRIPTS[model]))
    seen(done)
    tiny.failed(done, "count from 1 — subtract 1")
    assert not (tmp_path / "bins").exists() and not (tmp_path / "gt.npy").exists()
