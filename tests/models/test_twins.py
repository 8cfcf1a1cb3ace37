"""Twins' scripts: bins against torchvision, labels from folders, batches, flags, faults."""
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest
import timm
import torch
from conftest import ROOT, make, odd_images
from torchvision import transforms as tv
from torchvision.datasets import ImageFolder

from common.data import dataset

FOLDER = "Twins-SVT-L"
DOCUMENTED = tv.Compose([tv.Resize(256, tv.InterpolationMode.BICUBIC), tv.CenterCrop(224), tv.ToTensor(),
                         tv.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))])
SYNSETS = {"n01440764": 0, "n02099601": 207, "n15075141": 999}


@pytest.fixture
def synset_folders(tmp_path):
    """The odd images, a folder a class: `val` with three synsets."""
    for i, path in enumerate(odd_images(tmp_path)[0]):
        place = tmp_path / "val" / list(SYNSETS)[i % 3]
        place.mkdir(parents=True, exist_ok=True)
        path.rename(place / path.name)
    return tmp_path / "val"


@pytest.mark.parametrize("batch", [1, 8])
def test_bins_are_the_documented_recipe(synset_folders, tmp_path, script, batch):
    script(FOLDER, "Twins_preprocess.py")("--root_path", synset_folders, "--bin_path", f"{tmp_path}/new/bin_path/",
                                          *(["--batch-size", batch] if batch > 1 else []))
    manifest = dataset.Manifest.load(tmp_path / "new/bin_path")
    place = {row.image: row for row in manifest.rows}
    theirs = ImageFolder(str(synset_folders), transform=DOCUMENTED)
    assert len(place) == len(theirs) == 21
    for (path, _), (image, number) in zip(theirs.samples, theirs, strict=True):
        row = place[path.rsplit("/", 1)[1]]
        bins = np.fromfile(tmp_path / "new/bin_path" / f"{row.file}.bin", np.float32).reshape(batch, 3, 224, 224)
        np.testing.assert_array_equal(bins[row.row], image.numpy())
        assert row.label == SYNSETS[theirs.classes[number]]
        assert row.file == (row.image[:-5] if batch == 1 else f"batch-{list(place).index(row.image) // 8:05d}")


# Endings and a dash on which ModelZoo's own script stumbles.
NAMES = [f"ILSVRC2012_val_{i:08d}.JPEG" for i in range(1, 31)] + ["GPEJ.JPEG", "a-b.jpeg", "c-d-e.jpg", "x_0.JPEG", "x.png"]


def test_export_is_right_at_every_batch(script, monkeypatch, tmp_path):
    """The network's own blocks and widths' ratios, fewer of them: a batch frozen into a Reshape would show."""
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, **given: create(
        name, depths=(2, 2, 2, 2), embed_dims=(32, 64, 128, 256), num_heads=(1, 2, 4, 8), **given))
    run = script(FOLDER, "Twins_pth2onnx.py")
    torch.manual_seed(1)
    net = sys.modules["model"].build()
    torch.save(net.state_dict(), tmp_path / "alt_gvt_large.pth")
    said = run("--resume", tmp_path / "alt_gvt_large.pth", "--output", tmp_path / "alt_gvt_large.onnx")
    assert "opset 11, input → output, dynamic batch" in said
    session = onnxruntime.InferenceSession(tmp_path / "alt_gvt_large.onnx")
    for batch in (1, 3, 8):
        images = torch.randn(batch, 3, 224, 224) + torch.randn(batch, 3, 1, 1)
        with torch.no_grad():
            want = net(images).numpy()
        got = session.run(["output"], {"input": images.numpy()})[0]
        np.testing.assert_allclose(got, want, atol=1e-5)
        assert batch == 1 or np.abs(want[0] - want[1]).max() > 1e-3
        order = np.roll(np.arange(batch), 1)
        np.testing.assert_allclose(session.run(["output"], {"input": images.numpy()[order]})[0], got[order], atol=1e-5)


def test_export_flags(script, monkeypatch):
    run, got = script(FOLDER, "Twins_pth2onnx.py"), []
    monkeypatch.setattr("common.model.export.run", lambda *a: got.append(a))
    run("--resume", "a.pth", "--output", "a.onnx")
    run("--resume", "a.pth", "--output", "a.onnx", "--opset-version", 13, "--net", "upstream")
    assert [g[1:] for g in got] == [("a.pth", "a.onnx", None, "bundled"), ("a.pth", "a.onnx", 13, "upstream")]
    with pytest.raises(SystemExit):
        run("--resume", "a.pth")


def test_defaults_are_modelzoos(script):
    args = script(FOLDER, "Twins_preprocess.py").module.get_args([])
    assert (args.root_path, args.bin_path, args.batch_size) == ("data/imagenet/val", "bin_path", 1)


def test_make_calls_what_the_page_calls():
    said = " ".join(make(ROOT / FOLDER, "-n", "eval", "BS=16", "PYTHON=/x", "WEIGHTS=a.pth", "DATA=/d", "LIMIT=5", "BINS=batch",
                         "ENGINE=ascend", "SOC=Ascend310P3").replace("\\\n", " ").split())
    for words in ("--root_path '/d' --bin_path build/prep_bs16 --batch-size 16 --limit 5",
                  "--resume 'a.pth' --output build/alt_gvt_large.onnx",
                  "atc --framework=5 --model=build/alt_gvt_large.onnx --output=build/alt_gvt_large_bs16 --input_format=NCHW "
                  '--input_shape="input:16,3,224,224" --log=error --soc_version=Ascend310P3',
                  "--model build/alt_gvt_large_bs16.om --input build/prep_bs16", "--outfmt TXT --batchsize 16",
                  "Twins_postprocess.py --pred build/result/bs16_ascend_batchfiles --input_path '/d'"):
        assert words in said, words
    assert "--loop 20 " in make(ROOT / FOLDER, "-n", "bench", "PYTHON=/x", "ENGINE=ascend", "SOC=Ascend310P3")


@pytest.mark.parametrize("name", ["Twins_preprocess.py", "Twins_pth2onnx.py", "Twins_postprocess.py"])
def test_help_teaches(name):
    done = subprocess.run([sys.executable, name, "--help"], cwd=ROOT / FOLDER, capture_output=True, text=True)
    assert done.returncode == 0 and f"python3 {name}" in done.stdout
