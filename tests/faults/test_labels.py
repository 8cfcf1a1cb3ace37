"""Faults in the labels, on the real commands of all five models: what is refused before the first
image is decoded. What a label file may hold otherwise is in unit/test_labels.py."""

import numpy as np
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
NAMES = [f"ILSVRC2012_val_{i:08d}.JPEG" for i in range(1, 5)]
LINES = [f"{name} {label}" for name, label in zip(NAMES, [65, 970, 0, 809])]


def run(model, data, *words):
    return tiny.run(ROOT / model, *(word.format(data) for word in SCRIPTS[model]), *words)


@pytest.fixture
def data(tmp_path):
    """Four images in val/ and val_label.txt beside it."""
    (tmp_path / "val").mkdir()
    rng = np.random.default_rng(0)
    for name in NAMES:
        picture = Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8))
        picture.save(tmp_path / "val" / name)
    tiny.write_labels(tmp_path, LINES)
    return tmp_path


def edited(number, line):
    return [*LINES[:number], line, *LINES[number + 1:]]


REFUSED = {
    "no label file": (None, "4 images in .* have no labels — put a val_label.txt beside"),
    "labels that count from 1": (edited(1, f"{NAMES[1]} 1000"), "count from 1 — subtract 1"),
}


@pytest.mark.parametrize("model, name", [
    pytest.param(model, name, marks=pytest.mark.fault(f"{name}: {model}", "exit 1 before a bin"))
    for model in SCRIPTS for name in REFUSED])
def test_refused_by_every_model(data, seen, model, name):
    lines, said = REFUSED[name]
    (data / "val_label.txt").unlink()
    if lines:
        tiny.write_labels(data, lines)
    done = run(model, data)
    seen(done)
    tiny.failed(done, said)
    assert not (data / "bins").exists() and not (data / "gt.npy").exists()
