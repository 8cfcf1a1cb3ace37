"""make predict: the offline model's Top-5 for photographs, and the picture of what it saw."""
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from conftest import copy_of, last_line, make
from PIL import Image
from test_ascend_chain import tiny
from test_transforms import picture

from common import cli
from common.data import dataset, demo, transforms
from tools.inspect import class_names, draw, predict


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An spnasnet folder in a path with a space; its ONNX tells images by their mean colour. Photographs beside it."""
    place = tmp_path_factory.mktemp("a place")
    folder = copy_of("spnasnet", place)
    tiny(folder / "build/demo/spnasnet_100.onnx", "actual_input_1")
    (place / "photos").mkdir()
    for i, size in enumerate([(640, 480), (300, 500), (224, 224)]):
        picture(*size).rotate(90 * i).save(place / "photos" / f"holiday {i}.jpg", quality=95)
    return folder


def ask(folder, *words, **kwargs):
    return make(folder, "predict", "AS_BUILT=1", *words, **kwargs)


def answers(said):
    """{name: [(share, class), …]} of what predict printed."""
    found, name = {}, None
    for line in said.splitlines():
        match = re.fullmatch(r"  [1-5]  +([0-9.]+)%  (.*)", line)
        if match:
            found.setdefault(name, []).append((float(match[1]), match[2]))
        name = name if match else line
    return found


def expected(folder, path):
    """Top-5 (share in percent, class index) with ONNX Runtime and torch's softmax."""
    session = onnxruntime.InferenceSession(folder / "build/demo/spnasnet_100.onnx")
    image = transforms.published(folder)(transforms.load(path))
    logits = torch.from_numpy(session.run(None, {"actual_input_1": image[None]})[0][0])
    share, index = logits.double().softmax(0).topk(5)
    return list(zip((100 * share).tolist(), index.tolist(), strict=True))


def test_top_5_is_that_of_the_model(folder):
    photos = folder.parent / "photos"
    said = ask(folder, f"IMAGE={photos}")
    found = answers(said)
    assert list(found) == ["holiday 0.jpg", "holiday 1.jpg", "holiday 2.jpg"]
    names = class_names.load(is_demo=True)
    for name, got in found.items():
        want = expected(folder, photos / name)
        assert [c for _, c in got] == [names[i] for _, i in want]
        np.testing.assert_allclose([s for s, _ in got], [s for s, _ in want], atol=0.006)
    assert "note: demo weights know the ten generated classes" in said
    assert last_line(said).startswith("3 images answered by spnasnet_100 (OpenVINO ") and "demo weights" in last_line(said)
    assert not list((folder / "build/demo").glob("predict-*"))


def test_paths_with_spaces_several_and_relative(folder):
    one = answers(ask(folder, "IMAGE=../photos/holiday 1.jpg"))
    two = answers(ask(folder, "IMAGE=../photos/holiday 1.jpg ../photos/holiday 0.jpg"))
    assert list(one) == ["../photos/holiday 1.jpg"] and list(two) == ["../photos/holiday 1.jpg", "../photos/holiday 0.jpg"]
    assert one.items() <= two.items()


def test_standard_input(folder):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MAKE") and k != "MFLAGS"}
    with open(folder.parent / "photos/holiday 0.jpg", "rb") as f:
        done = subprocess.run(["make", "predict", "IMAGE=-", "AS_BUILT=1"], cwd=folder, env=clean, stdin=f, capture_output=True,
                              text=True)
    assert done.returncode == 0, done.stderr
    assert answers(done.stdout)["standard input"] == answers(ask(folder, "IMAGE=../photos/holiday 0.jpg")).popitem()[1]


def test_bad_images_are_named_and_the_others_answered(folder, tmp_path):
    content = (folder.parent / "photos/holiday 0.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(content[:2000])
    (tmp_path / "page.png").write_text("<html>")
    said = ask(folder, f"IMAGE={tmp_path}/cut.jpg {tmp_path}/page.png ../photos/holiday 0.jpg gone.jpg",
               f"PNG={tmp_path}/answer.png", status=2)
    assert list(answers(said)) == ["../photos/holiday 0.jpg"] and (tmp_path / "answer.png").exists()
    for name, why in (("cut.jpg", "truncated"), ("page.png", "cannot identify"), ("gone.jpg", "does not exist in ")):
        assert re.search(f"^bad image: .*{name}: .*{why}", said, re.M), said
    assert "error: 3 of 4 images could not be read" in said and "Traceback" not in said


@pytest.mark.parametrize("words, message", [
    ((), "IMAGE= is needed"), (("IMAGE=gone.jpg",), "1 of 1 images could not be read"),
    (("IMAGE=common",), "no images in common"), (("IMAGE=../photos", "PNG=answer.jpg"), "ends in .png")])
def test_called_wrongly(folder, words, message):
    assert message in ask(folder, *words, status=2)


@pytest.mark.parametrize("variable", ["PNG", "OUT"])
def test_the_png_shows_the_crop_that_the_model_gets(folder, tmp_path, variable):
    photos = folder.parent / "photos"
    said = ask(folder, f"IMAGE={photos}", f"{variable}={tmp_path}/answer.png", "INPUT=uint8")
    assert last_line(said).startswith(f"wrote {tmp_path}/answer.png: 3 images")
    with Image.open(tmp_path / "answer.png") as image:
        shown = np.asarray(image.convert("RGB"))
    recipe = transforms.published(folder)
    for i in range(3):
        top = 104 + i * (draw.SIDE + draw.EDGE)
        crop = shown[top:top + draw.SIDE, draw.EDGE:draw.EDGE + draw.SIDE]
        wanted = recipe.pixels(transforms.load(photos / f"holiday {i}.jpg"))
        assert np.array_equal(crop[::2, ::2], wanted) and np.array_equal(crop[1::2, 1::2], wanted)


def test_on_an_ascend_host_the_answers_are_the_same(folder, fake_ascend):
    os.chmod(folder.parent, 0o755)
    said = ask(folder, f"IMAGE={folder.parent}/photos", "SOC=Ascend310P3", "ENGINE=ascend", env=fake_ascend.env())
    assert answers(said) == answers(ask(folder, f"IMAGE={folder.parent}/photos", "ENGINE=openvino"))
    assert "CANN " in last_line(said) and "Ascend310P3" in last_line(said)


def test_names_are_timms():
    from timm.data import ImageNetInfo

    names = class_names.load()
    assert names == ImageNetInfo().label_descriptions() and names[281] == "tabby, tabby cat"
    assert class_names.load(is_demo=True)[7] == f"demo: {demo.CLASSES[7]}"


def test_names_without_timm_are_synsets(monkeypatch):
    monkeypatch.setattr(class_names.importlib.util, "find_spec", lambda name: None)
    assert class_names.load() == dataset.SYNSETS.read_text().split()


@pytest.mark.parametrize("recipe, size, wanted", [
    (transforms.Recipe(256, 224), (512, 1024), (32, 288, 480, 736)),
    (transforms.Recipe(256, 224, keep_aspect=False), (512, 1024), (32, 64, 480, 960)),
    (transforms.Recipe(200, 224), (100, 100), (0, 0, 100, 100))])
def test_the_frame_is_what_the_crop_keeps(recipe, size, wanted):
    """Outside the frame nothing changes the crop (but for the resampling filter's reach); inside it does."""
    assert draw.seen(Image.new("RGB", size), recipe) == wanted
    white = Image.new("RGB", size, "white")
    white.paste("black", tuple(round(v) for v in wanted))
    assert recipe.pixels(white)[8:-8, 8:-8].max() == 0


def test_split(tmp_path):
    for name in ("a b.jpg", "a", "c.jpg"):
        (tmp_path / name).write_text("")
    assert predict.split("a b.jpg", tmp_path) == ["a b.jpg"]
    assert predict.split("c.jpg a b.jpg  no a", tmp_path) == ["c.jpg", "a b.jpg", "no", "a"]
    assert predict.split(" ".join(["c.jpg"] * 900), tmp_path) == ["c.jpg"] * 900  # longer than a name may be


def test_an_engine_that_fails_is_shown(tmp_path, monkeypatch, capsys):
    picture(300, 300).save(tmp_path / "a.png")
    args = predict.get_args(["a.png", "--model", "m.blob", "--", "bash", "-c", "echo boom; exit 3"])
    with pytest.raises(cli.Failure, match="m.blob did not run"):
        predict.run([("a.png", tmp_path / "a.png")], transforms.Recipe(), args, tmp_path)
    assert "boom" in capsys.readouterr().out


@pytest.mark.parametrize("given, file", [("answer.png", "/from/here/answer.png"), ("/there/answer.png", "/there/answer.png")])
def test_the_png_lies_where_the_images_paths_lead_from(given, file):
    args = predict.get_args(["--model", "x.om", "--from", "/from/here", "--png", given, "photo.jpg", "--", "ais_bench"])
    assert args.png == Path(file)
