"""The five preprocessing scripts: bins equal the documented recipe of torchvision; flags."""
import json

import numpy as np
import pytest
from conftest import ROOT, odd_images
from torchvision import transforms as tv
from torchvision.datasets.folder import default_loader

from common.data import manifest

END = [tv.CenterCrop(224), tv.ToTensor(),
       tv.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]


def recipe(size, kind=tv.InterpolationMode.BICUBIC):
    return tv.Compose([tv.Resize(size, kind), *END])


SCRIPTS = {"ShiftViT": "shiftvit_preprocess.py", "SPACH": "SPACH_preprocess.py",
           "Twins-SVT-L": "Twins_preprocess.py", "Convmixer": "convmixer_preprocess.py",
           "spnasnet": "preprocess_spnasnet_100_pytorch.py"}
# What the page and the script of ModelZoo call source and target, and the documented recipe.
BILINEAR = tv.InterpolationMode.BILINEAR
CASES = {
    "ShiftViT": ("ShiftViT", ("--data-root", "{src}", "--save-dir", "{dst}", "--gt-path", "gt.npy"),
                 recipe(256)),
    "SPACH": ("SPACH", ("--src-path", "{src}", "--save-path", "{dst}"), recipe(256)),
    "SPACH's page": ("SPACH", ("--data_dir", "{src}", "--save_dir", "{dst}"), recipe(256)),
    "Twins": ("Twins-SVT-L", ("--root_path", "{src}", "--bin_path", "{dst}"), recipe(256)),
    "ConvMixer": ("Convmixer", ("--image-path", "{src}", "--prep-image", "{dst}"),
                  recipe(int(224 / 0.96))),
    "ConvMixer's page": ("Convmixer", ("--datasets_path", "{src}", "--prep-image", "{dst}"),
                         recipe(int(224 / 0.96))),
    "spnasnet": ("spnasnet", ("{src}", "{dst}"), recipe((256, 256), BILINEAR)),
    "spnasnet as timm": ("spnasnet", ("{src}", "{dst}", "--keep-aspect"), recipe(256, BILINEAR)),
}


@pytest.mark.parametrize("case, batch", [*((case, 1) for case in CASES), ("ConvMixer", 8),
                                         ("Twins", 8)])
def test_bins_are_the_documented_recipe(tmp_path, monkeypatch, script, case, batch):
    model, words, documented = CASES[case]
    monkeypatch.chdir(tmp_path)
    paths, labels = odd_images(tmp_path)
    words = [word.format(src=tmp_path / "images", dst="new/bins") for word in words]
    script(model, SCRIPTS[model])(*words, *(["--batch-size", batch] if batch > 1 else []))
    known = manifest.Manifest.load("new/bins")
    assert len(known.rows) == len(paths) == 21
    seen = set()
    for row in known.rows:
        bins = np.fromfile(f"new/bins/{row.file}.bin", np.float32).reshape(batch, 3, 224, 224)
        image = default_loader(str(tmp_path / "images" / row.image))
        np.testing.assert_array_equal(bins[row.row], documented(image).numpy())
        assert row.label == labels[row.image.removesuffix(".JPEG")]
        seen.add((row.file, row.row))
    assert len(seen) == 21
    if batch == 1:
        assert {row.file for row in known.rows} == set(labels)
    else:  # the tail: five images in a bin of eight
        last = f"{'input_' if model == 'Convmixer' else 'batch-'}00002"
        assert {row for file, row in seen if file == last} == set(range(5))
        tail = np.fromfile(f"new/bins/{last}.bin", np.float32).reshape(batch, 3, 224, 224)
        assert tail[4].any() and not tail[5:].any()
    if model == "ShiftViT":
        for _ in range(2):
            table = np.load("gt.npy").ravel()
            assert {str(r["file"]): int(r["label"]) for r in table} == labels
            (tmp_path / "gt.npy").unlink()  # also where there is nothing else to do
            script(model, SCRIPTS[model])(*words)


def test_timms_own_evaluation_is_what_timm_has():
    """--keep-aspect of spnasnet: 224 of 256, bilinear, these means and deviations."""
    import timm

    config = timm.create_model("spnasnet_100").default_cfg
    assert (config["crop_pct"], config["interpolation"]) == (0.875, "bilinear")
    assert 224 / config["crop_pct"] == 256
    assert tuple(config["mean"]) == tuple(END[2].mean)
    assert tuple(config["std"]) == tuple(END[2].std)


def test_defaults_are_modelzoos(script):
    args = script("Twins-SVT-L", SCRIPTS["Twins-SVT-L"]).module.get_args([])
    assert (args.root_path, args.bin_path, args.batch_size) == ("data/imagenet/val", "bin_path", 1)
    args = script("Convmixer", SCRIPTS["Convmixer"]).module.get_args(["--image-path", "x"])
    assert (args.prep_image, args.batch_size) == ("prep_image_bs1", 1)


def test_fusion_switch_is_what_atc_takes():
    """Keys and values that atc's parser knows; SPACH's switches one pass off."""
    switch = json.loads((ROOT / "SPACH/fusion_switch.cfg").read_text())
    assert switch == {"Switch": {"GraphFusion": {"GroupNormFusionPass": "off"}}}


SHOWN = [path for folder in SCRIPTS for path in sorted((ROOT / folder).glob("*.py"))
         if path.name not in ("model.py", "convmixer_net.py")]
