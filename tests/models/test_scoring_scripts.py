"""The five scoring scripts: Top-1 and Top-5 are timm's, however results and labels are given."""
import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from timm.utils import accuracy

from common import cli, published
from common.data.manifest import Manifest, Row

SYNSETS = (ROOT / "common/imagenet_synsets.txt").read_text().split()
# Endings and a dash on which ModelZoo's own scripts stumble.
NAMES = ["GPEJ.JPEG", "a-b.jpeg", "c-d-e.jpg", "x_0.JPEG", "x.png"]
NAMES = [f"ILSVRC2012_val_{i:08d}.JPEG" for i in range(1, 31)] + NAMES
ILSVRC = NAMES[:30]
SCRIPTS = {
    "SPACH": ("SPACH_postprocess.py", "--txt-path {run} --label-path {labels}",
              "{{key: Top1 accuracy, value: {0:.2f}%}}{{key: Top5 accuracy, value: {1:.2f}%}}"),
    "Convmixer": ("convmixer_eval_acc.py", "--result_dir {run} --label_path {labels} "
                  "--result-json-path .", "top1:{0:.2f}%"),
    "Twins-SVT-L": ("Twins_postprocess.py", "--pred {run} --input_path {labels}",
                    "Accuracy of the network on the {2} val images: {0:.1f}%"),
    "spnasnet": ("vision_metric_ImageNet.py", "{run} {labels} . result_bs1.json",
                 "Top1 accuracy: {0:.2f}%, Top5 accuracy: {1:.2f}%"),
    "ShiftViT": ("shiftvit_postprocess.py", "--result-dir {run} --gt-path {labels}",
                 "Acc@Top1:{3:.4f}, Acc@Top5:{4:.4f}"),
}
BY_LABELS = [model for model in SCRIPTS if model != "ShiftViT"]


class Case:
    """Images' names, labels and logits, and what timm makes of them."""

    def __init__(self, names, seed=4):
        rng = np.random.default_rng(seed)
        self.names, n = names, len(names)
        logits = np.tile(np.linspace(-9, 9, 1000, dtype=np.float32), (n, 1))
        self.logits = rng.permuted(logits, axis=1)
        ranks = rng.integers(0, 8, n)
        self.labels = np.argsort(-self.logits)[np.arange(n), ranks]
        top = accuracy(torch.from_numpy(self.logits), torch.from_numpy(self.labels), (1, 5))
        self.top1, self.top5 = map(float, top)
        good = int((ranks == 0).sum())
        self.end = f"top1={self.top1:.2f}% top5={self.top5:.2f}% good={good} total={n}"
        assert 0 < self.top1 < self.top5 < 100

    def line(self, model):
        return SCRIPTS[model][2].format(self.top1, self.top5, len(self.names), self.top1 / 100,
                                        self.top5 / 100)

    def label_file(self):
        Path("val_label.txt").write_text("".join(
            f"{name} {label}\n" for name, label in zip(self.names, self.labels)))
        return "val_label.txt"

    def class_folders(self):
        for name, label in zip(self.names, self.labels):
            path = Path("val", SYNSETS[label], name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("not an image: whoever decodes it fails")
        return "val"

    def stem(self, i):
        return self.names[i].rpartition(".")[0]

    def results(self, stem=None, batch=1, ending="txt"):
        """Write the run; stem(i) names the file of image i. Returns its folder."""
        stem = stem or self.stem
        Path("result/run").mkdir(parents=True)
        for i in range(0, len(self.names), batch):
            table = np.zeros((batch, 1000), np.float32)
            table[:len(self.logits[i:i + batch])] = self.logits[i:i + batch]
            path = Path("result/run", f"{stem(i)}_0.{ending}")
            if ending == "bin":
                table.tofile(path)
            else:
                path.write_text("".join("%f " * 1000 % tuple(row) + "\n" for row in table))
        return "result/run"

    def manifest(self, batch=1, name=None, **info):
        """The manifest of the bins in prep/, and ais_bench's summary that leads there."""
        name = name or self.stem
        rows = [Row(image, name(i), i % batch, int(label))
                for i, (image, label) in enumerate(zip(self.names, self.labels))]
        Path("prep").mkdir()
        Manifest(rows, dict.fromkeys((row.file for row in rows), batch), info).save("prep")
        files = {"0": {"infiles": [f"prep/{rows[0].file}.bin"], "outfiles": []}}
        cli.write_json("result/run_summary.json", {"filesinfo": files})


@pytest.fixture
def call(script, tmp_path, monkeypatch):
    """call(model, run, labels, *more words): the lines that the model's script prints."""
    monkeypatch.chdir(tmp_path)

    def of(model, run, labels, *words):
        name, flags, _ = SCRIPTS[model]
        given = flags.format(run=run, labels=labels).split()
        return script(model, name)(*given, *words).splitlines()
    return of


def batch_stem(model):
    """stem(i) of the bins of four images that the model's preprocessing writes."""
    return lambda i: f"{'input_' if model == 'Convmixer' else 'batch-'}{i // 4:05d}"


@pytest.mark.parametrize("model", BY_LABELS)
def test_one_image_per_file(call, model):
    """TXT from the parent folder with a label file; class folders; no image is decoded."""
    case = Case(NAMES)
    case.results()
    said = call(model, "result/", case.label_file())
    assert said[0] == case.line(model) and said[-1] == case.end
    assert call(model, "result/run", case.class_folders())[-1] == case.end


@pytest.mark.parametrize("model", BY_LABELS)
def test_whole_batches(call, model):
    """A row of padding; the manifest is given, is found by the summary, or has the labels."""
    case = Case(NAMES)
    case.results(batch_stem(model), 4, "bin")
    case.manifest(4, batch_stem(model))
    labels = case.label_file()
    for words in ((labels,), (labels, "--manifest", "prep"), ("prep",)):
        assert call(model, "result/run", *words)[-1] == case.end


def test_fewer_classes_than_a_label_has(call, monkeypatch):
    """The number of classes is published.json's."""
    case = Case(NAMES)
    run, labels = case.results(), case.class_folders()
    real = published.load
    monkeypatch.setattr(published, "load",
                        lambda folder: dataclasses.replace(real(folder), classes=37))
    with pytest.raises(cli.Failure, match="37|36"):
        call("Twins-SVT-L", run, labels)


# ---- defaults of ModelZoo's scripts ----

def test_defaults_are_modelzoos(script):
    twins = script("Twins-SVT-L", "Twins_postprocess.py").module.get_args([])
    assert (twins.pred, twins.input_path) == ("result/dumpOutput_device0/", "bin_path")
    mixer = script("Convmixer", "convmixer_eval_acc.py").module.get_args([])
    assert mixer.folder_davinci_target == "./result/outputs_bs1_om/"
    assert mixer.annotation_file_path == "/opt/npu/imageNet/val_label.txt"
    assert (mixer.result_json_path, mixer.json_file_name) == ("./result", "result_bs1.json")
    spach = script("SPACH", "SPACH_postprocess.py").module.get_args([])
    assert (spach.txt_path, spach.label_path) == (None, None)


def test_twins_without_arguments(script, tmp_path, monkeypatch):
    """Its default for the images is the folder of the bins, which knows the labels."""
    monkeypatch.chdir(tmp_path)
    case = Case(NAMES)
    case.results()
    case.manifest()
    Path("prep").rename("bin_path")
    Path("result/run_summary.json").unlink()
    Path("result/run").rename("result/dumpOutput_device0")
    run = script("Twins-SVT-L", "Twins_postprocess.py")
    assert run().splitlines()[-1] == case.end


def test_spach_without_arguments(script, call):
    run = script("SPACH", "SPACH_postprocess.py")
    with pytest.raises(cli.Usage, match="--txt-path is not given — give the folder"):
        run()
    case = Case(NAMES)
    case.results()
    with pytest.raises(cli.Usage, match="no labels are given"):
        run("--txt-path", "result")
    case.manifest()
    assert run("--txt-path", "result").splitlines()[-1] == case.end


# ---- ConvMixer's results by number ----

def test_convmixer_by_number(call, batch=4):
    """ModelZoo's own run: input_00000_0.txt, no manifest; row by row as its script counts."""
    case = Case(ILSVRC)
    run = case.results(lambda i: f"input_{i // batch:05d}", batch)
    said = call("Convmixer", run, case.label_file(), "--batch-size", batch)
    assert said[0] == case.line("Convmixer") and said[-1] == case.end
    assert any(line.startswith("note: there is no manifest.json: the number") for line in said)


@pytest.mark.parametrize("names, count, words", [
    (ILSVRC, 29, ()),  # a result is missing
    (ILSVRC[:-1], 30, ()),  # a label is missing
    (ILSVRC[1:], 29, ()),  # a subset: number 1 is not in it
    (ILSVRC, 30, ("--batch-size", 4)),
])
def test_convmixer_by_number_where_it_cannot_be(call, names, count, words):
    case = Case(names)
    run = case.results(lambda i: f"input_{i:05d}")
    for path in sorted(Path(run).iterdir())[count:]:
        path.unlink()
    if len(names) < count:
        (Path(run) / "input_00029_0.txt").write_text("0 " * 1000)
    with pytest.raises(cli.Failure, match="holds results by number .*, and nothing says which "
                                          "images .* — give the folder of the bins"):
        call("Convmixer", run, case.label_file(), *words)


def test_convmixer_batch_size_is_checked(call):
    case, stem = Case(NAMES), batch_stem("Convmixer")
    run = case.results(stem, 4)
    case.manifest(4, stem)
    with pytest.raises(cli.Failure, match="--batch-size 2: the bins hold 4 images each"):
        call("Convmixer", run, case.label_file(), "--batch-size", 2)


# ---- ShiftViT's ground truth ----

def ground_truth(case, batch, stem):
    """As shiftvit_preprocess.py writes it: file, row, image, label; padding has label -1."""
    count = -(-len(case.names) // batch)
    table = np.zeros((count, batch), [("file", "U40"), ("row", "i4"), ("image", "U40"),
                                      ("label", "i4")])
    table["label"] = -1
    for i, (name, label) in enumerate(zip(case.names, case.labels)):
        table[i // batch, i % batch] = stem(i), i % batch, name, label
    table["file"] = table["file"][:, :1]
    np.save("gt.npy", table)
    return "gt.npy"


def test_shiftvit(call):
    """Whole batches, at first without a manifest."""
    case, stem = Case(NAMES), batch_stem("ShiftViT")
    run, truth = case.results(stem, 4, "bin"), ground_truth(case, 4, stem)
    said = call("ShiftViT", run, truth)
    assert said[0] == case.line("ShiftViT") and said[-1] == case.end
    case.manifest(4, stem, limit=35, dataset_total=50000)
    said = call("ShiftViT", run, truth)
    assert any("subset of 35" in line for line in said) and said[-1] == case.end


def test_shiftvit_with_modelzoos_integers(call):
    case = Case(NAMES[:28])
    run = case.results(batch_stem("ShiftViT"), 4, "bin")
    np.save("gt.npy", case.labels.reshape(7, 4))
    assert call("ShiftViT", run, "gt.npy")[-1] == case.end


@pytest.mark.parametrize("harm", ["a label", "an image lost"])
def test_shiftvit_ground_truth_of_another_preprocessing(call, harm):
    """As after a kill between the writing of the two."""
    case = Case(NAMES)
    run = case.results(ending="bin")
    case.manifest()
    path = ground_truth(case, 1, case.stem)
    table = np.load(path)
    if harm == "a label":
        table["label"][3] += 1
    else:
        table = np.delete(table, 3, 0)
    np.save(path, table)
    said = "1 labels of gt.npy are not those of the bins: .* — run shiftvit_preprocess.py again"
    with pytest.raises(cli.Failure, match=said):
        call("ShiftViT", run, path)


def zipped():
    """What is in an .npz."""
    with io.BytesIO() as f:
        np.savez(f, np.zeros(3))
        return f.getvalue()


@pytest.mark.parametrize("content, said", [
    (None, "does not exist"), (b"x", "is no .npy file"), (np.zeros(3), "holds float64, not labels"),
    (zipped(), "is no .npy file")])
def test_shiftvit_ground_truth_that_is_none(call, content, said):
    if isinstance(content, bytes):
        Path("gt.npy").write_bytes(content)
    elif content is not None:
        np.save("gt.npy", content)
    with pytest.raises(cli.Failure, match=said):
        call("ShiftViT", "result", "gt.npy")
