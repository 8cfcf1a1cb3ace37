"""spnasnet's scripts: bins against torchvision, the .info file, export, flags, faults."""
import argparse
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest
import torch
from conftest import ROOT, make, odd_images
from PIL import Image
from torchvision import transforms as tv
from torchvision.datasets.folder import default_loader

from common import cli
from common.data import dataset

FOLDER = "spnasnet"
END = [tv.CenterCrop(224), tv.ToTensor(), tv.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
SQUASHED = tv.Compose([tv.Resize((256, 256), tv.InterpolationMode.BILINEAR), *END])
TIMMS = tv.Compose([tv.Resize(256, tv.InterpolationMode.BILINEAR), *END])


@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("words, documented", [((), SQUASHED), (("--keep-aspect",), TIMMS)], ids=["squashed", "aspect"])
def test_bins_are_the_documented_recipe(tmp_path, script, words, documented, batch):
    paths, labels = odd_images(tmp_path)
    said = script(FOLDER, "preprocess_spnasnet_100_pytorch.py")(tmp_path / "images", tmp_path / "prep_bin", *words,
                                                                *(["--batch-size", batch] if batch > 1 else []))
    manifest = dataset.Manifest.load(tmp_path / "prep_bin")
    assert manifest.info["recipe"]["keep_aspect"] is bool(words) and ("squashed to 256×256" in said) is not bool(words)
    for path, row in zip(paths, manifest.rows, strict=True):
        bins = np.fromfile(tmp_path / "prep_bin" / f"{row.file}.bin", np.float32).reshape(batch, 3, 224, 224)
        np.testing.assert_array_equal(bins[row.row], documented(default_loader(str(path))).numpy())
        assert row.image == path.name and row.label == labels[path.stem] and (batch > 1 or row.file == path.stem)


def test_timms_own_evaluation_is_what_timm_has():
    """timm's settings of the network: 224 of 256, bilinear, these means and deviations."""
    import timm

    config = timm.create_model("spnasnet_100").default_cfg
    assert (config["crop_pct"], config["interpolation"]) == (0.875, "bilinear") and 224 / config["crop_pct"] == 256
    assert (tuple(config["mean"]), tuple(config["std"])) == (tuple(END[2].mean), tuple(END[2].std))


def test_info_of_bins(tmp_path, script, monkeypatch):
    (tmp_path / "prep_bin").mkdir()
    for name in ("img_10.bin", "img_9.bin", "img_1.bin", "manifest.json", ".img_3.bin"):
        (tmp_path / "prep_bin" / name).write_bytes(b"0")
    monkeypatch.chdir(tmp_path)
    said = script(FOLDER, "get_info.py")("bin", "./prep_bin", "./x.info", 224, 192)
    assert (tmp_path / "x.info").read_text() == ("0 prep_bin/img_1.bin 224 192\n1 prep_bin/img_9.bin 224 192\n"
                                                 "2 prep_bin/img_10.bin 224 192\n")
    assert said == "wrote ./x.info (3 files)\n"
    script(FOLDER, "get_info.py")("bin", "prep_bin", "x.info", 1, 1, "--seen-from", tmp_path / "a/b")
    assert (tmp_path / "x.info").read_text().startswith("0 ../../prep_bin/img_1.bin 1 1\n1 ")


def test_info_of_images_has_their_sizes(tmp_path, script):
    paths, _ = odd_images(tmp_path)
    for name, kind in (("a.JPG", "JPEG"), ("b.jpeg", "JPEG"), ("c.png", "PNG")):
        Image.new("RGB", (7, 9)).save(tmp_path / "images" / name, kind)
    script(FOLDER, "get_info.py")("jpg", tmp_path / "images", tmp_path / "x.info")
    lines = [line.split(" ") for line in (tmp_path / "x.info").read_text().splitlines()]
    assert [int(line[0]) for line in lines] == list(range(len(paths) + 2))
    for _, path, width, height in lines:
        assert default_loader(path).size == (int(width), int(height))
    assert {line[1] for line in lines} == {str(tmp_path / "images" / n) for n in ("a.JPG", "b.jpeg")} | {*map(str, paths)}


@pytest.mark.parametrize("words, message", [
    (("bin", "gone", "x.info", 224, 224), "folder gone does not exist"),
    (("bin", "empty", "x.info", 224, 224), r"no \.bin files in empty"),
    (("jpg", "bad", "x.info"), r"bad/a\.jpg cannot be read"),
    (("jpg", "empty", "x.info"), r"no \.jpg or \.jpeg files in empty"),
    (("bin", "a b", "x.info", 224, 224), "has a space in it")])
def test_info_faults(tmp_path, script, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    for name in ("empty", "bad", "a b"):
        (tmp_path / name).mkdir()
    (tmp_path / "bad/a.jpg").write_text("<html>")
    (tmp_path / "a b/a.bin").write_text("0")
    with pytest.raises(cli.Failure, match=message):
        script(FOLDER, "get_info.py")(*words)
    assert not (tmp_path / "x.info").exists()


@pytest.mark.parametrize("words", [("bin", ".", "x.info"), ("bin", ".", "x.info", 224), ("bin", ".", "x.info", 0, 224),
                                   ("jpg", ".", "x.info", 224, 224), ("png", ".", "x.info"), ()])
def test_info_called_wrongly(script, words):
    with pytest.raises(SystemExit) as stop:
        script(FOLDER, "get_info.py")(*words)
    assert stop.value.code == 2


def test_export_of_the_official_layout_at_every_batch(script, tmp_path):
    """Weights as a DataParallel training leaves them; distinct images, and in another order."""
    run = script(FOLDER, "pthtar2onnx.py")
    torch.manual_seed(2)
    net = sys.modules["model"].build()
    for m in net.modules():  # as untrained, nothing but noise comes through
        if isinstance(m, torch.nn.BatchNorm2d):
            m.reset_running_stats()
            m.momentum = None
    with torch.no_grad():
        net.train()(torch.randn(4, 3, 224, 224) * torch.linspace(0.1, 2, 4)[:, None, None, None])
        net.eval()
    torch.save({"epoch": 3, "arch": "spnasnet_100", "args": argparse.Namespace(lr=1.6), "best": 74.2,
                "state_dict": {f"module.{k}": v for k, v in net.state_dict().items()}}, tmp_path / "model_best.pth.tar")
    said = run(tmp_path / "model_best.pth.tar", tmp_path / "spnasnet_100.onnx")
    assert "opset 11, actual_input_1 → class, dynamic batch" in said
    session = onnxruntime.InferenceSession(tmp_path / "spnasnet_100.onnx")
    assert [i.shape for i in session.get_inputs()] == [["batch", 3, 224, 224]]
    assert [o.shape for o in session.get_outputs()] == [["batch", 1000]]
    for batch in (1, 3, 8):
        images = torch.randn(batch, 3, 224, 224) + torch.randn(batch, 3, 1, 1)
        with torch.no_grad():
            want = net(images).numpy()
        got = session.run(["class"], {"actual_input_1": images.numpy()})[0]
        np.testing.assert_allclose(got, want, atol=1e-4)
        np.testing.assert_array_equal(got.argmax(1), want.argmax(1))
        assert batch == 1 or np.abs(want[0] - want[1]).max() > 1e-2
        order = np.roll(np.arange(batch), 1)
        np.testing.assert_allclose(session.run(["class"], {"actual_input_1": images.numpy()[order]})[0], got[order], atol=1e-5)


def test_export_flags(script, monkeypatch):
    run, got = script(FOLDER, "pthtar2onnx.py"), []
    monkeypatch.setattr("common.model.export.run", lambda *a: got.append(a))
    run("a.pth.tar", "a.onnx")
    run("a.pth.tar", "a.onnx", "-v", 13)
    assert [g[1:] for g in got] == [("a.pth.tar", "a.onnx", None, "bundled"), ("a.pth.tar", "a.onnx", 13, "bundled")]
    for words in ((), ("a.pth.tar",), ("a", "b", "-v", 9)):
        with pytest.raises(SystemExit):
            run(*words)


def test_another_network_source_is_refused(script, tmp_path):
    torch.save({"state_dict": {"x": torch.zeros(1)}}, tmp_path / "a.pth")
    with pytest.raises(cli.Usage, match="no source besides timm"):
        script(FOLDER, "pthtar2onnx.py")(tmp_path / "a.pth", tmp_path / "a.onnx", "--net", "upstream")
    assert "the network comes with timm" in make(ROOT / FOLDER, "source", f"PYTHON={sys.executable}")


def test_make_calls_what_the_page_calls(tmp_path):
    words = ("-n", "eval", "BS=16", "PYTHON=/x", "WEIGHTS=a.pth.tar", "ENGINE=ascend", "SOC=Ascend310")
    (tmp_path / "val_label.txt").write_text("")
    said = " ".join(make(ROOT / FOLDER, *words, f"DATA={tmp_path}").replace("\\\n", " ").split())
    for part in (f"preprocess_spnasnet_100_pytorch.py '{tmp_path}' build/prep --batch-size 1",
                 "pthtar2onnx.py 'a.pth.tar' build/spnasnet_100.onnx",
                 "atc --framework=5 --model=build/spnasnet_100.onnx --output=build/spnasnet_100_bs16 --input_format=NCHW "
                 '--input_shape="actual_input_1:16,3,224,224" --log=info --soc_version=Ascend310 ',
                 "--model build/spnasnet_100_bs16.om --input build/prep",
                 f"build/result/bs16_ascend '{tmp_path}/val_label.txt' build result_bs16_ascend.json"):
        assert part in said, part
    (tmp_path / "val_label.txt").unlink()
    assert f"build/result/bs16_ascend '{tmp_path}' build" in make(ROOT / FOLDER, *words, f"DATA={tmp_path}")


@pytest.mark.parametrize("name", ["preprocess_spnasnet_100_pytorch.py", "get_info.py", "pthtar2onnx.py",
                                  "vision_metric_ImageNet.py"])
def test_help_teaches(name):
    done = subprocess.run([sys.executable, name, "--help"], cwd=ROOT / FOLDER, capture_output=True, text=True)
    assert done.returncode == 0 and f"python3 {name}" in done.stdout
