"""No figure without its chain: whatever changes between two calls of `make eval`, the second one
tells the truth, which torch and torchvision say here, or refuses by name."""
import json
import os
import re
import shutil
import sys
import time

import pytest
import tiny
from conftest import make

from common import cli


def truth(folder, weights="tiny.pth", limit=None, names=tiny.NAMES, labels=tiny.LABELS):
    """The last line of scoring as torch and torchvision give it for the images of the folder."""
    import torch
    from PIL import Image
    from torchvision import transforms as tv

    steps = tv.Compose([tv.Resize((256, 256)), tv.CenterCrop(224), tv.ToTensor(),
                        tv.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))])
    files = {path.name: path for path in (folder / "data").rglob("*.JPEG")}
    pairs = list(zip(names, labels))
    if limit:
        pairs = [pairs[i * len(pairs) // limit] for i in range(limit)]
    batch = torch.stack([steps(Image.open(files[name]).convert("RGB")) for name, _ in pairs])
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 32, 32), torch.nn.BatchNorm2d(4), torch.nn.ReLU(),
        torch.nn.Flatten(), torch.nn.Linear(196, 1000)).eval()
    net.load_state_dict(torch.load(folder / weights, weights_only=True))
    with torch.no_grad():
        best = net(batch).topk(5).indices
    hits = best == torch.tensor([label for _, label in pairs])[:, None]
    one, five, total = int(hits[:, 0].sum()), int(hits.sum()), len(pairs)
    return (f"top1={100 * one / total:.2f}% top5={100 * five / total:.2f}% "
            f"good={one} total={total}")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The stand-in after `make eval`, and an other.pth that knows other answers."""
    folder = tiny.make_folder(tmp_path_factory.mktemp("a place"))
    tiny.save_weights(folder / "other.pth", seed=6)
    assert tiny.last_line(tiny.make(folder, "eval")) == tiny.LINE == truth(folder)
    return folder


@pytest.fixture
def built(whole, tmp_path):
    """A copy of that for one test."""
    return tiny.fresh(whole, tmp_path / "spnasnet")


def replace(path, other):
    """Bring the file `other` to `path` as mv or cp -p do: with the old times."""
    times = path.stat()
    shutil.copyfile(other, f"{path}.new")
    os.utime(f"{path}.new", ns=(times.st_atime_ns, times.st_mtime_ns - 10**12))
    os.rename(f"{path}.new", path)


def into_the_future(folder):
    """What another host with a clock an hour ahead has built."""
    for path in (folder / "build").rglob("*"):
        os.utime(path, (time.time() + 3600,) * 2)


def evaluate(folder, *words):
    return tiny.last_line(tiny.make(folder, "eval", *words))


def test_nothing_to_do(built):
    def times():  # but of .journal, which notes the times of the images, copies here
        return {p: p.stat().st_mtime_ns for p in (built / "build").rglob("[!.]*") if p.is_file()}

    before = times()
    assert evaluate(built) == tiny.LINE
    assert times() == before


def test_older_weights_under_the_same_name(built):
    replace(built / "tiny.pth", built / "other.pth")
    line = evaluate(built)
    assert line == truth(built) != tiny.LINE


@pytest.mark.slow
def test_weights_behind_a_link(built):
    (built / "link.pth").symlink_to("tiny.pth")
    assert evaluate(built, "WEIGHTS=link.pth") == tiny.LINE
    (built / "link.pth").unlink()
    (built / "link.pth").symlink_to("other.pth")
    assert evaluate(built, "WEIGHTS=link.pth") == truth(built, "other.pth")


@pytest.mark.slow
def test_weights_by_turns(built):
    assert evaluate(built, "WEIGHTS=other.pth") == truth(built, "other.pth")
    assert evaluate(built) == tiny.LINE
    assert evaluate(built, "WEIGHTS=other.pth") == truth(built, "other.pth")


def test_limits_by_turns(built):
    assert evaluate(built, "LIMIT=4") == truth(built, limit=4)
    assert evaluate(built) == tiny.LINE


@pytest.mark.parametrize("change", ["weights", "label"])
def test_clock_of_another_host(built, change):
    into_the_future(built)
    labels = list(tiny.LABELS)
    if change == "weights":
        replace(built / "tiny.pth", built / "other.pth")
    else:
        labels[0] = 57
        tiny.write_labels(built / "data", [f"{n} {x}" for n, x in zip(tiny.NAMES, labels)])
    done = tiny.make(built, "eval")
    if done.returncode:  # refused by name; the same command again makes it anew
        tiny.failed(done, "was made from another", status=2)
        done = tiny.make(built, "eval")
    assert tiny.last_line(done) == truth(built, labels=labels)


@pytest.mark.slow
@pytest.mark.parametrize("name", [tiny.ONNX, tiny.BLOB])
def test_an_artefact_of_other_weights(built, tmp_path, name):
    """Put in its place with its record or without it, with the old times."""
    other = tiny.fresh(built, tmp_path / "other")
    evaluate(other, "WEIGHTS=other.pth")
    for names in ([name], [name, f"{name}.json"]):
        for each in names:
            replace(built / each, other / each)
        assert evaluate(built) == tiny.LINE


def test_an_image_overwritten_in_place_by_an_older_one(built):
    images = built / "data/val"
    a, b = images / tiny.NAMES[0], images / tiny.NAMES[1]
    shutil.copy(a, built / "a.JPEG")
    replace(a, b)
    replace(b, built / "a.JPEG")
    assert evaluate(built) == truth(built) != tiny.LINE


def test_an_image_moved_to_another_class(built):
    by_class = built / "classes"
    for name, label in zip(tiny.NAMES, tiny.LABELS):
        (by_class / str(label)).mkdir(parents=True, exist_ok=True)
        shutil.copy2(built / "data/val" / name, by_class / str(label) / name)
    assert evaluate(built, "DATA=classes") == tiny.LINE
    (by_class / "25" / tiny.NAMES[0]).rename(by_class / "190" / tiny.NAMES[0])
    (by_class / "25").rmdir()
    labels = [190, *tiny.LABELS[1:]]
    assert evaluate(built, "DATA=classes") == truth(built, labels=labels) != tiny.LINE


def test_recipe_and_network_code_are_inputs(built):
    published = built / "published.json"
    text = published.read_text()
    published.write_text(text.replace('"interpolation": "bilinear", "keep_aspect": false',
                                      '"interpolation": "bicubic", "keep_aspect": true', 1))
    said = tiny.worked(tiny.make(built, "eval"))
    metadata = json.loads((built / f"{tiny.ONNX}.json").read_text())["preprocessing"]
    manifest = json.loads((built / tiny.PREP / "manifest.json").read_text())
    assert metadata["keep_aspect"] and manifest["recipe"] == metadata, said
    published.write_text(text)
    code = (built / "model.py").read_text()
    (built / "model.py").write_text(code.replace("torch.nn.ReLU()", "torch.nn.Identity()"))
    assert evaluate(built) != tiny.LINE


def test_a_figure_below_the_published_fails_at_every_call(built):
    """As if these eight were the full set; the figures stay, with the verdict in them."""
    code = built / "common/score/verdict.py"
    text = code.read_text().replace("FULL = 50_000", "FULL = 8")
    code.write_text(text.replace("labels != IMAGENET", "labels != 8"))
    (built / tiny.EVAL).unlink()
    told = "verdict: Top-1 62.50 %, published 74.21 %, -11.71 points; "
    for _ in range(2):
        done = tiny.make(built, "eval")
        tiny.failed(done, "below 99 % of the published 74.21 %", "ALLOW_BELOW=1", status=2)
        assert told in done.stdout.splitlines()[-2] and done.stdout.splitlines()[-1] == tiny.LINE
        assert json.loads((built / tiny.EVAL).read_text())["verdict"]["result"] == "failed"
    for _ in range(2):
        assert evaluate(built, "ALLOW_BELOW=1") == tiny.LINE
    tiny.failed(tiny.make(built, "eval"), "below 99 % of the published", status=2)


def test_images_that_are_not_here_any_more(built):
    """As on an NPU host that got bins and offline model."""
    shutil.rmtree(built / "data")
    assert evaluate(built) == tiny.LINE


def test_bins_of_other_images_do_not_stand_in_for_a_path_that_is_not_there(built):
    done = tiny.make(built, "eval", "DATA=elsewhere")
    tiny.failed(done, "were made with another dataset, and elsewhere does not exist", status=2)


@pytest.mark.parametrize("names", [
    (tiny.ONNX, f"{tiny.BLOB}.json", f"{tiny.RESULT}.json"),
    pytest.param((tiny.BLOB, tiny.EVAL), marks=pytest.mark.slow)])
def test_a_deleted_file_is_made_again(built, names):
    for name in names:
        (built / name).unlink()
        assert evaluate(built) == tiny.LINE
        assert (built / name).exists()


@pytest.mark.parametrize("words", [
    pytest.param(["BS=1"], marks=pytest.mark.slow), ["BS=16"], ["ENGINE=onnxruntime"],
    ["INPUT=uint8"]])
def test_batch_sizes_and_engines_count_alike(built, words):
    assert evaluate(built, *words) == tiny.LINE


@pytest.mark.slow
def test_int8_is_held_against_f32_and_its_images_are_inputs(built):
    shutil.copytree(built / "data/val", built / "calib")
    words = ["PRECISION=int8", "CALIB=calib", "ALLOW_PARTIAL=0"]
    done = tiny.make(built, "eval", *words)  # eight images: one may be lost, which is 12.5 points
    record = built / "build/spnasnet_100_bs4_int8.blob.json"
    first = json.loads(record.read_text())["made"]["from"]["calib"]["sha256"]
    score = built / "build/eval_bs4_openvino_int8.json"
    assert score.exists() == (done.returncode == 0)
    replace(built / "calib" / tiny.NAMES[0], built / "calib" / tiny.NAMES[1])
    tiny.make(built, "om", *words)
    assert json.loads(record.read_text())["made"]["from"]["calib"]["sha256"] != first


def test_fp16_is_an_estimate_beside_f32_whatever_engine_is_chosen(built):
    words = ["PRECISION=fp16", "ENGINE=auto", "ALLOW_PARTIAL=0"]
    said = tiny.worked(tiny.make(built, "eval", *words, env={"ASCEND_HOME_PATH": "/cann"}))
    assert said.count("an estimate of float16 on an NPU") == 3  # om, infer, eval
    assert re.search("fp16 beside f32 on 8 images: .*, 8 answers the same", said)
    score = json.loads((built / "build/eval_bs4_onnxruntime_fp16.json").read_text())
    assert any("an estimate" in note for note in score["notes"])
    shutil.rmtree(built / "build/result/bs4_onnxruntime")  # f32's own run: it is made again
    assert tiny.last_line(tiny.make(built, "eval", *words, env={"ASCEND_HOME_PATH": "/cann"}))
    assert score["against_f32"]["same"] == 8 and score["against_f32"]["verdict"] is None


def test_a_model_for_several_batches_is_used_and_made_again(built):
    name = "build/spnasnet_100_bsdynamic.blob"
    tiny.worked(tiny.make(built, "om", "BS=dynamic", "BATCHES=4 1"))
    for batch in (1, 4):
        said = tiny.worked(tiny.make(built, "eval", f"BS={batch}"))
        assert said.strip().endswith(tiny.LINE) and f"--dymBatch {batch}" in said
    replace(built / "tiny.pth", built / "other.pth")
    said = tiny.make(built, "eval", "BS=1")
    assert tiny.worked(said).strip().endswith(truth(built)) and f"again: {name}" in said.stderr
    said = tiny.worked(tiny.make(built, "-n", "sweep", "BATCHES=1 4", "LOOP=1"))
    assert said.count("--dymBatch") == 4 and "common.cpu.atc" not in said
    assert tiny.worked(tiny.make(built, "eval", "BS=8")).strip().endswith(truth(built))
    assert (built / "build/spnasnet_100_bs8.blob").exists()


@pytest.mark.slow
def test_a_sweep_with_a_model_for_several_batches(built):
    tiny.worked(tiny.make(built, "om", "BS=dynamic", "BATCHES=4 1"))
    said = tiny.worked(tiny.make(built, "sweep", "BATCHES=1 4", "LOOP=1"))
    assert said.count("--dymBatch") == 4 and "common.cpu.atc" not in said


def test_bench_says_what_it_timed_and_is_not_repeated(built):
    said = tiny.worked(tiny.make(built, "bench", "LOOP=2"))
    assert "fps" in said
    perf = json.loads((built / "build/perf_bs4_openvino.json").read_text())
    assert tiny.BLOB in perf["made"]["from"] and perf["fps"] > 0
    file = built / "build/perf_bs4_openvino.json"
    for noise, again in (("", False), ("the repeats differ by 62%", True)):
        cli.write_json(file, {**json.loads(file.read_text()), "noise": noise})
        said = tiny.worked(tiny.make(built, "bench", "LOOP=2"))
        assert ("Performance Summary" in said) == again, noise
    content = json.loads(file.read_text())
    cli.write_json(file, {**content, "noise": "", "host": {**content["host"], "cpu": "another"}})
    assert evaluate(built) == tiny.LINE and file.exists()  # as after make pull
    assert "Performance Summary" in tiny.worked(tiny.make(built, "bench", "LOOP=2"))
    replace(built / "tiny.pth", built / "other.pth")
    assert "Performance Summary" in tiny.worked(tiny.make(built, "bench", "LOOP=2"))


def test_online_is_torch_on_the_same_bins(built):
    assert tiny.last_line(tiny.make(built, "online")) == tiny.LINE
    result = json.loads((built / "build/online.json").read_text())
    made, by = result["made"]["from"], result["produced_by"]
    assert (by["net"], by["weights_key"]) == ("bundled", "")
    onnx = json.loads((built / "build/spnasnet_100.onnx.json").read_text())["made"]["from"]
    assert {path for path in onnx if path.endswith(".py")} - {"common/model/export.py"} <= set(made)
    replace(built / "tiny.pth", built / "other.pth")
    assert tiny.last_line(tiny.make(built, "online")) == truth(built)


FEW = ("LIMIT=60", "SECONDS=1")


@pytest.fixture(scope="module")
def shiftvit(tmp_path_factory):
    """A ShiftViT folder on its own, in a path with a space, after `make demo`."""
    from conftest import copy_of

    folder = copy_of("ShiftViT", tmp_path_factory.mktemp("a copied folder"))
    return folder, make(folder, "demo", *FEW)


@pytest.mark.slow  # the README's first command and the steps by hand are in every run
def test_demo_of_a_copied_folder(shiftvit):
    folder, said = shiftvit
    assert "demo: generated images or weights" in said
    line = said.strip().splitlines()[-1]
    assert line.startswith("top1=") and "total=60" in line
    assert int(line.split("good=")[1].split()[0]) >= 57
    second = make(folder, "demo", *FEW)
    assert second.strip().splitlines()[-1] == line
    assert "Performance Summary" not in second and "wrote build/demo/eval" not in second


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["data/val", "data/flat"])
def test_both_layouts_score_the_same(shiftvit, layout):
    folder, said = shiftvit
    words = ["eval", "WEIGHTS=demo", f"DATA=build/demo/{layout}", "OUT=other", FEW[0]]
    done = make(folder, *words)
    assert done.strip().splitlines()[-1] == said.strip().splitlines()[-1]


def test_the_first_command_of_the_readme(tmp_path):
    top = tiny.repository(tmp_path / "a place/top", "Tiny", "Small")
    said = make(top, "demo", "MODELS=Tiny", f"PYTHON={sys.executable}")
    assert "Demo: generated images" in said
