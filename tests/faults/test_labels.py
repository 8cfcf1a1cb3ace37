"""Faults in the labels, on the real commands of all five models: what is refused before the first
image is decoded, and what is derived from them."""
import json

import numpy as np
import pytest
import tiny
from conftest import ROOT
from PIL import Image

from common import cli

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
    "label lines missing": (LINES[:-2], "2 images without a label in .*00000003.JPEG"),
    "label lines of no image": ([*LINES, "../../etc/passwd 5"], "without an image.*passwd"),
    "labels that count from 1": (edited(1, f"{NAMES[1]} 1000"), "count from 1 — subtract 1"),
    "labels of another network": (edited(1, f"{NAMES[1]} 20000"), "class 20000 is not in 0 … 999"),
    "synset and box after the name": (
        [f"{name}\tn01514668\t0\t32\t44\t62" for name in NAMES], "val_label.txt:1: .*two columns"),
    "a third column": ([f"{line} 490" for line in LINES], "val_label.txt:1: .*two columns"),
    "header row": (["filename label", *LINES], "val_label.txt:1: .*header row — delete it"),
    "CSV of synsets": (["ImageId,PredictionString", *(f"{n[:-5]},n01751748" for n in NAMES)],
                       "val_label.txt:1: "),
    "the devkit's bare numbers": (["490", "361", "171", "822"], "val_label.txt:1: .*devkit"),
}


ONE, ALL = "spnasnet", "labels that count from 1"  # all models call one function


@pytest.mark.parametrize("model, name", [
    pytest.param(model, name, marks=pytest.mark.fault(f"{name}: {model}", "exit 1 before a bin"))
    for model in SCRIPTS for name in REFUSED if model == ONE or name == ALL])
def test_refused_by_every_model(data, seen, model, name):
    lines, said = REFUSED[name]
    (data / "val_label.txt").unlink()
    if lines:
        tiny.write_labels(data, lines)
    done = run(model, data)
    seen(done)
    tiny.failed(done, said)
    assert not (data / "bins").exists() and not (data / "gt.npy").exists()


@pytest.mark.fault("more class folders than classes of the network", "exit 1, both numbers")
def test_more_folders_than_classes(data, seen, tmp_path):
    folder = tiny.fresh(ROOT / "spnasnet", tmp_path / "model", "common", "published.json",
                        SCRIPTS["spnasnet"][0])
    about = json.loads((folder / "published.json").read_text())
    (folder / "published.json").write_text(json.dumps({**about, "classes": 3}))
    (data / "val_label.txt").unlink()
    for name in NAMES:
        (data / "val" / f"class {name[20:23]}").mkdir()
        (data / "val" / name).rename(data / "val" / f"class {name[20:23]}" / name)
    done = tiny.run(folder, SCRIPTS["spnasnet"][0], data, data / "bins")
    seen(done)
    tiny.failed(done, "4 class folders .* 3 classes")


@pytest.mark.fault("ShiftViT's labels changed, its ground truth deleted or of an earlier run",
                   "written again before the manifest, whose hash it has")
def test_ground_truth(data, seen):
    def truth():
        seen(tiny.worked(run("ShiftViT", data)).splitlines()[-1])
        table = np.load(data / "gt.npy")
        return {str(row["image"]): int(row["label"]) for row in table.flat}

    assert truth() == dict(zip(NAMES, [65, 970, 0, 809]))
    old = (data / "gt.npy").read_bytes()
    tiny.write_labels(data, edited(2, f"{NAMES[2]} 1"))
    assert truth() == dict(zip(NAMES, [65, 970, 1, 809]))
    (data / "gt.npy").write_bytes(old)  # as after a kill between the two
    assert truth()[NAMES[2]] == 1
    (data / "gt.npy").unlink()
    assert truth()[NAMES[2]] == 1
    info = json.loads((data / "bins/manifest.json").read_text())
    assert info["derived"] == {str(data / "gt.npy"): cli.sha256(data / "gt.npy")}


@pytest.mark.fault("plain words as class folders", "exit 0, a note says that labels are positions")
@pytest.mark.parametrize("model", SCRIPTS)
def test_positions_are_said(data, seen, model):
    (data / "val_label.txt").unlink()
    for name, folder in zip(NAMES, "dcba"):
        (data / "val" / folder).mkdir()
        (data / "val" / name).rename(data / "val" / folder / name)
    for _ in range(2):
        done = run(model, data)
        seen(done)
        assert "note: labels are positions of 4 folders" in tiny.worked(done)
    rows = json.loads((data / "bins/manifest.json").read_text())["images"]
    assert {row[0]: row[3] for row in rows} == {
        f"{folder}/{name}": "abcd".index(folder) for name, folder in zip(NAMES, "dcba")}
