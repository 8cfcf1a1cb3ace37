"""SPACH's scripts: bins against torchvision, scores against timm, both spellings of the flags, faults."""
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT, make, odd_images
from timm.utils import accuracy
from torchvision import transforms as tv
from torchvision.datasets.folder import default_loader

from common import cli
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


@pytest.fixture
def case(tmp_path):
    """40 images with labels in another order than the results; writes results in the form asked for."""
    rng = np.random.default_rng(5)
    logits = rng.permuted(np.tile(np.linspace(-8, 8, 1000).astype(np.float16), (40, 1)), axis=1)  # float16 without ties
    labels = np.argsort(-logits, 1)[np.arange(40), rng.integers(0, 7, 40)]
    names = [f"ILSVRC2012_val_{i:08d}" for i in rng.choice(50000, 40, replace=False)]
    (tmp_path / "val_label.txt").write_text("".join(f"{n}.JPEG {y}\n" for n, y in zip(names, labels, strict=True)))
    (tmp_path / "result").mkdir()

    def write(ending):
        for name, row in zip(names, logits, strict=True):
            path = tmp_path / "result" / f"{name}_0.{ending}"
            if ending == "txt":
                path.write_text("".join(f"{v:f} " for v in row) + "\n")
            else:
                row.tofile(path)
    want = accuracy(torch.from_numpy(logits).float(), torch.from_numpy(labels), topk=(1, 5))
    return tmp_path, names, [f"{float(w):.2f}" for w in want], write


@pytest.mark.parametrize("flag", ["--label-path", "--label_path"])
@pytest.mark.parametrize("ending", ["txt", "bin"])
def test_accuracy_is_timms(case, script, ending, flag):
    folder, _, (top1, top5), write = case
    write(ending)
    said = script(FOLDER, "SPACH_postprocess.py")("--txt-path", folder / "result", flag, folder / "val_label.txt", "--json",
                                                  folder / "r.json").splitlines()
    assert said[0] == f"{{key: Top1 accuracy, value: {top1}%}}{{key: Top5 accuracy, value: {top5}%}}"
    assert said[-1].startswith(f"top1={top1}% top5={top5}% good=") and said[-1].endswith("total=40")
    assert json.loads((folder / "r.json").read_text())["results"] == {"txt": "txt", "bin": "float16 bin"}[ending]


@pytest.mark.parametrize("harm, message", [
    (lambda d, n: (d / "result" / f"{n}_0.txt").unlink(), "1 images without a result: "),
    (lambda d, n: (d / "result" / "val_label_0.txt").write_text("0 "), "1 result files of no image: val_label_0.txt"),
    (lambda d, n: (d / "result" / f"{n}_0.txt").write_text("0 " * 999), "1 broken result files: "),
    (lambda d, n: (d / "result" / f"{n}_1.txt").write_text("0 " * 1000), "both results of"),
    (lambda d, n: (d / "val_label.txt").write_text("x.JPEG 3\n"), "40 result files of no image"),
    (lambda d, n: (d / "val_label.txt").unlink(), "label file .* does not exist")])
def test_results_and_labels_that_do_not_fit(case, script, harm, message):
    folder, names, _, write = case
    write("txt")
    harm(folder, names[3])
    with pytest.raises(cli.Failure, match=message):
        script(FOLDER, "SPACH_postprocess.py")("--txt-path", folder / "result", "--label-path", folder / "val_label.txt")


@pytest.mark.parametrize("batch", [1, 8])
def test_a_subset_is_scored_against_the_whole_label_file(tmp_path, script, batch):
    """Also whole batches, whose manifest is found through ais_bench's summary, or given."""
    _, labels = odd_images(tmp_path)
    script(FOLDER, "SPACH_preprocess.py")("--src-path", tmp_path, "--save-path", tmp_path / "prep", "--limit", 10,
                                          "--batch-size", batch)
    manifest = dataset.Manifest.load(tmp_path / "prep")
    (tmp_path / "out" / "run").mkdir(parents=True)
    for file, rows in manifest.files.items():
        logits = np.zeros((rows, 1000), np.float16)
        for row in manifest.rows:
            if row.file == file:
                logits[row.row, labels[row.image.removesuffix(".JPEG")]] = 1
        logits.tofile(tmp_path / "out" / "run" / f"{file}_0.bin")
    score = script(FOLDER, "SPACH_postprocess.py")
    words = ["--txt-path", tmp_path / "out", "--label-path", tmp_path / "val_label.txt"]
    with pytest.raises(cli.Failure, match="without a result"):
        score(*words)
    files = {str(i): {"infiles": [str(tmp_path / "prep" / f"{f}.bin")], "outfiles": []} for i, f in enumerate(manifest.files)}
    (tmp_path / "out" / "run_summary.json").write_text(json.dumps({"filesinfo": files}))
    for said in (score(*words), score(*words, "--manifest", tmp_path / "prep")):
        assert said.splitlines()[-1] == "top1=100.00% top5=100.00% good=10 total=10"
        assert "subset of 10 of 21 images" in said


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
