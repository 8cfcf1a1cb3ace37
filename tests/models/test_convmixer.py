"""ConvMixer's scripts: bins against torchvision, Top-1 against timm, its JSON, whole-batch files, flags, faults."""
import json
import math
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


@pytest.fixture
def scored(prepared, script):
    """scored(batch) writes results for the odd images, TXT as ModelZoo's script reads; returns a function that scores them,
    the folder, and timm's accuracies."""
    def write(batch, *words):
        folder, labels, manifest = prepared(batch, *words)
        rng = np.random.default_rng(batch)
        truth = np.array([labels[r.image.removesuffix(".JPEG")] for r in manifest.rows])
        logits = rng.permuted(np.tile(np.linspace(-9, 9, 1000, dtype=np.float32), (len(truth), 1)), axis=1)
        for i in range(0, len(truth), 2):
            best = logits[i].argmax()
            logits[i, [best, truth[i]]] = logits[i, [truth[i], best]]
        run = folder / "out" / "outputs_om"
        run.mkdir(parents=True)
        for file, rows in manifest.files.items():
            table = np.zeros((rows, 1000), np.float32)
            for row, values in zip(manifest.rows, logits, strict=True):
                if row.file == file:
                    table[row.row] = values
            (run / f"{file}_0.txt").write_text("".join("".join(f"{v:f} " for v in values) + "\n" for values in table))
        want = [f"{float(a):.2f}" for a in accuracy(torch.from_numpy(logits), torch.from_numpy(truth), (1, 2, 3, 4, 5))]
        score = script(FOLDER, "convmixer_eval_acc.py")
        return (lambda *more: score("--folder-davinci-target", run, "--annotation-file-path", folder / "val_label.txt",
                                    "--result-json-path", folder / "json", *more)), folder, want
    return write


def leave_summary(folder):
    """What ais_bench leaves beside the run."""
    files = {str(i): {"infiles": [str(p)], "outfiles": []} for i, p in enumerate(sorted((folder / "prep").glob("*.bin")))}
    (folder / "out" / "outputs_om_summary.json").write_text(json.dumps({"filesinfo": files}))


def test_one_image_files_need_the_labels_alone(scored):
    score, folder, want = scored(1)
    said = score().splitlines()
    assert said[0] == f"top1:{want[0]}%" and said[-1] == f"top1={want[0]}% top5={want[4]}% good=11 total=21"
    table = json.loads((folder / "json" / "result_bs1.json").read_text())
    assert table == {"title": "Overall statistical evaluation", "value": [
        {"key": "Number of images", "value": "21"}, {"key": "Number of classes", "value": "1000"},
        *({"key": f"Top{k} accuracy", "value": f"{float(a)}%"} for k, a in enumerate(want, 1))]}


@pytest.mark.parametrize("batch", [4, 8, 32])
def test_whole_batch_files_find_their_manifest(scored, batch):
    score, folder, want = scored(batch)
    with pytest.raises(cli.Failure, match="results of whole batches.*--manifest"):
        score()
    given = score("--manifest", folder / "prep", "--batch-size", batch, "--json-file-name", "given.json")
    leave_summary(folder)
    (folder / "out" / "sampling_summary.json").write_text("{}")
    found = score("--folder-davinci-target", folder / "out", "--batch_size", batch)  # the run's parent
    for said in (given, found):
        assert said.startswith(f"top1:{want[0]}%\n") and said.splitlines()[-1].endswith("good=11 total=21")
    assert (folder / "json" / "given.json").read_bytes() == (folder / "json" / f"result_bs{batch}.json").read_bytes()
    with pytest.raises(cli.Failure, match=f"--batch-size 2: .* hold {batch} images each"):
        score("--batch-size", 2)


def test_a_subset_says_so_in_the_json(scored):
    score, folder, _ = scored(4, "--limit", 9)
    leave_summary(folder)
    assert score("--batch-size", 4).splitlines()[-1].endswith("total=9")
    table = {v["key"]: v["value"] for v in json.loads((folder / "json" / "result_bs4.json").read_text())["value"]}
    assert table["Number of images"] == "9" and "subset of 9 of 21" in table["Note"]


@pytest.mark.parametrize("harm, message", [
    (lambda d: next((d / "out/outputs_om").glob("*_0.txt")).unlink(), "images without a result"),
    (lambda d: (d / "out/outputs_om/input_00009_0.txt").write_text("0 " * 1000), "result files of no image: input_00009"),
    (lambda d: (d / "out/outputs_om/input_00000_0.txt").write_text("0 " * 1000), "broken result files: input_00000_0.txt"),
    (lambda d: (d / "val_label.txt").write_text("ILSVRC2012_val_00000001.JPEG 0\n"), "not those that the preprocessing found"),
    (lambda d: (d / "out/second").mkdir() or (d / "out/second/a_0.txt").write_text("0"), "holds 2 runs")])
def test_results_and_labels_that_do_not_fit(scored, harm, message):
    score, folder, _ = scored(8)
    leave_summary(folder)
    harm(folder)
    with pytest.raises(cli.Failure, match=message):
        score(*(["--folder-davinci-target", folder / "out"] if "runs" in message else []))
    assert not (folder / "json").exists()


def test_flags_of_the_page(scored, prepared, script):
    score, folder, want = scored(1)
    said = script(FOLDER, "convmixer_eval_acc.py")("--result_dir", folder / "out", "--label_path", folder / "val_label.txt",
                                                   "--result-json-path", folder)
    assert said.startswith(f"top1:{want[0]}%")
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
