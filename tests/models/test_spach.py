"""SPACH's scripts: bins against torchvision, both spellings of the flags, faults."""
import json
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT, make, odd_images
from torchvision import transforms as tv
from torchvision.datasets.folder import default_loader

from common.data import dataset

FOLDER = "SPACH"
DOCUMENTED = tv.Compose([tv.Resize(256, tv.InterpolationMode.BICUBIC), tv.CenterCrop(224), tv.ToTensor(),
                         tv.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))])


@pytest.mark.parametrize("flags, batch", [(("--src-path", "--save-path"), 1), (("--data_dir", "--save_dir"), 8)])
def test_bins_are_the_documented_recipe(tmp_path, script, flags, batch):
    paths, labels = odd_images(tmp_path)
    said = script(FOLDER, "SPACH_preprocess.py")(flags[0], tmp_path / "images", flags[1], tmp_path / "prep", "--jobs", 2,
                                                 *(["--batch-size", batch] if batch > 1 else []))
    manifest = dataset.Manifest.load(tmp_path / "prep")
    assert f"wrote {-(-len(paths) // batch)} bins of {len(paths)} images" in said and len(manifest.rows) == len(paths)
    for path, row in zip(paths, manifest.rows, strict=True):
        bins = np.fromfile(tmp_path / "prep" / f"{row.file}.bin", np.float32).reshape(batch, 3, 224, 224)
        np.testing.assert_array_equal(bins[row.row], DOCUMENTED(default_loader(str(path))).numpy())
        assert row.image == path.name and row.label == labels[path.stem] and (batch > 1 or row.file == path.stem)


@pytest.mark.parametrize("flags", [("--input-path", "--output-path"), ("--pth_file", "--onnx_file")])
def test_export_flags(script, monkeypatch, flags):
    run, got = script(FOLDER, "SPACH_pth2onnx.py"), []
    monkeypatch.setattr("common.model.export.run", lambda *a: got.append(a))
    run(flags[0], "a.pth", flags[1], "a.onnx")
    run(flags[0], "a.pth", flags[1], "a.onnx", "--opset-version", 13, "--net", "upstream")
    assert [g[1:] for g in got] == [("a.pth", "a.onnx", None, "bundled"), ("a.pth", "a.onnx", 13, "upstream")]
    with pytest.raises(SystemExit):
        run(flags[0], "a.pth")


def test_fusion_switch_is_what_atc_takes():
    """Keys and values that atc's parser knows; ours switches one pass off."""
    switch = json.loads((ROOT / FOLDER / "fusion_switch.cfg").read_text())
    assert switch == {"Switch": {"GraphFusion": {"GroupNormFusionPass": "off"}}}


def test_make_calls_what_the_page_calls():
    said = " ".join(make(ROOT / FOLDER, "-n", "eval", "BS=16", "PYTHON=/x", "WEIGHTS=a.pth", "DATA=/d", "LIMIT=5",
                         "BINS=batch").replace("\\\n", " ").split())
    for words in ("--src-path '/d' --save-path build/prep_bs16 --batch-size 16", "--output=build/spach_ms_conv_s_bs16",
                  "--input-path 'a.pth' --output-path build/spach_ms_conv_s.onnx", '--optypelist_for_implmode="Gelu"',
                  "--op_select_implmode=high_performance --output_type=FP16 --fusion_switch_file=fusion_switch.cfg",
                  '--input_shape="input:16,3,224,224"', "--outfmt TXT", "--txt-path build/result/bs16_", "--label-path '/d'"):
        assert words in said, words


@pytest.mark.parametrize("name", ["SPACH_preprocess.py", "SPACH_pth2onnx.py", "SPACH_postprocess.py"])
def test_help_teaches(name):
    done = subprocess.run([sys.executable, name, "--help"], cwd=ROOT / FOLDER, capture_output=True, text=True)
    assert done.returncode == 0 and f"python3 {name}" in done.stdout
