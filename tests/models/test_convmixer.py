"""ConvMixer's scripts: bins against torchvision, flags, faults."""
import math
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT, make, odd_images
from torchvision import transforms as tv
from torchvision.datasets.folder import default_loader

from common.data import dataset

FOLDER = "Convmixer"
DOCUMENTED = tv.Compose([tv.Resize(math.floor(224 / 0.96), tv.InterpolationMode.BICUBIC), tv.CenterCrop(224), tv.ToTensor(),
                         tv.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))])


@pytest.fixture
def prepared(tmp_path, script):
    """prepared(batch) preprocesses the odd images: (dataset folder, {stem: class index}, the bins' Manifest)."""
    _, labels = odd_images(tmp_path)

    def run(batch, *words, flag="--batch-size"):
        script(FOLDER, "convmixer_preprocess.py")("--image-path", f"{tmp_path}/images/", "--prep-image", tmp_path / "prep",
                                                  flag, batch, *words)
        return tmp_path, labels, dataset.Manifest.load(tmp_path / "prep")
    return run


@pytest.mark.parametrize("flag, batch", [("--batch-size", 1), ("--batch_size", 8)])
def test_bins_are_the_documented_recipe(prepared, flag, batch):
    folder, labels, manifest = prepared(batch, flag=flag)
    assert len(manifest.rows) == 21 and manifest.info["recipe"]["resize"] == 233
    whole = [f"input_{i:05d}" for i in range(3)]
    assert sorted(p.stem for p in (folder / "prep").glob("*.bin")) == (sorted(labels) if batch == 1 else whole)
    for row in manifest.rows:
        bins = np.fromfile(folder / "prep" / f"{row.file}.bin", np.float32).reshape(batch, 3, 224, 224)
        image = default_loader(str(folder / "images" / row.image))
        np.testing.assert_array_equal(bins[row.row], DOCUMENTED(image).numpy())
        assert row.label == labels[row.image.removesuffix(".JPEG")]
    if batch > 1:  # the tail: 21 images in three files of eight rows
        assert not bins[5:].any() and bins[4].any() and {r.row for r in manifest.rows if r.file == whole[2]} == set(range(5))


def test_flags_of_the_page(prepared, script):
    folder, _, _ = prepared(1)
    script(FOLDER, "convmixer_preprocess.py")("--datasets_path", folder, "--prep-image", folder / "prep2", "--limit", 2)
    assert len(list((folder / "prep2").glob("*.bin"))) == 2


def test_export_flags(script, monkeypatch):
    run, got = script(FOLDER, "convmixer_pth2onnx.py"), []
    monkeypatch.setattr("common.model.export.run", lambda *a: got.append(a[1:]))
    run()
    for device in ("gpu", "npu"):
        run("--source", "a", "--target", "b", "--source-train-device", device, "--opset-version", 12, "--net", "upstream")
    assert got == [("convmixer_1536_20_ks9_p7.pth.tar", "convmixer_1536_20.onnx", None, "bundled"),
                   *[("a", "b", 12, "upstream")] * 2]
    with pytest.raises(SystemExit):
        run("--source-train-device", "tpu")


def test_make_calls_what_the_page_calls():
    said = " ".join(make(ROOT / FOLDER, "-n", "eval", "source", "BS=4", "PYTHON=/x", "WEIGHTS=a.pth", "DATA=/d",
                         "BINS=batch").replace("\\\n", " ").split())
    for words in ("--image-path '/d' --prep-image build/prep_bs4 --batch-size 4", "--output=build/convmixer_1536_20_4",
                  "--source 'a.pth' --target build/convmixer_1536_20.onnx", '--input_shape="image:4,3,224,224"',
                  '--op_select_implmode=high_performance --optypelist_for_implmode="Gelu"', "--annotation-file-path '/d'",
                  "--batch-size 4", "--patch convmixer_patch.patch && cp convmixer/convmixer.py convmixer_net.py"):
        assert words in said, words


@pytest.mark.parametrize("name", ["convmixer_preprocess.py", "convmixer_pth2onnx.py", "convmixer_eval_acc.py"])
def test_help_teaches(name):
    done = subprocess.run([sys.executable, name, "--help"], cwd=ROOT / FOLDER, capture_output=True, text=True)
    assert done.returncode == 0 and f"python3 {name}" in done.stdout
