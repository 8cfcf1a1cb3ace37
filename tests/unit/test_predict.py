"""make predict: the offline model's Top-5 for photographs, and the picture of what it saw."""
import io
import json
import sys

import numpy as np
import onnxruntime
import pytest
import tiny
import torch
from PIL import Image
from test_transforms import picture
from torchvision import transforms as tv

from common import cli, published
from common.data import demo, manifest, transforms
from common.data.labels import SYNSETS
from tools import fonts
from tools.inspect import class_names, draw, photo, predict

COMMAND = ["env", "PYTHONPATH=common/cpu", sys.executable, "-m", "ais_bench"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model folder in a path with a space, with an offline model for batch 1."""
    folder = tiny.make_folder(tmp_path_factory.mktemp("a place"))
    tiny.worked(tiny.make(folder, "om", "BS=1", f"PYTHON={sys.executable}"))
    return folder


@pytest.fixture
def ask(folder, tmp_path, monkeypatch, capsys):
    """ask(images, …) runs predict in the model's folder and returns {name: [(share, class), …]};
    .said is all that it printed, .failure what it ended with."""
    monkeypatch.chdir(folder)

    def run(*words, start=tmp_path, model="build/spnasnet_100_bs1.blob", command=COMMAND):
        argv = ["predict", *map(str, words), "--from", start, "--model", model, "--work", tmp_path]
        monkeypatch.setattr(sys, "argv", [*map(str, argv), "--", *command])
        run.failure = ""
        try:
            predict.main()
        except cli.Failure as e:
            run.failure = str(e)
        run.said = capsys.readouterr().out
        found, name = {}, None
        for line in run.said.splitlines():
            if line.startswith("  "):
                rank, share, label = line.split(None, 2)
                found.setdefault(name, []).append((float(share[:-1]), label))
            name = line if line and not line.startswith("  ") else name
        return found
    return run


def expected(folder, image):
    """Top-5 (share in percent, class) of an upright RGB PIL image with torchvision's transforms,
    ONNX Runtime, and torch's softmax."""
    steps = tv.Compose([tv.Resize((256, 256)), tv.CenterCrop(224), tv.ToTensor(),
                        tv.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))])
    session = onnxruntime.InferenceSession(folder / tiny.ONNX)
    logits, = session.run(None, {"actual_input_1": steps(image)[None].numpy()})
    share, index = torch.from_numpy(logits[0]).double().softmax(0).topk(5)
    names, synsets = class_names.load(), SYNSETS.read_text().split()
    return [(100 * float(s), f"{names[i]}  ({synsets[i]})") for s, i in zip(share, index)]


def agree(got, want):
    assert [label for _, label in got] == [label for _, label in want]
    np.testing.assert_allclose([s for s, _ in got], [s for s, _ in want], atol=0.006)


def test_top_5_is_that_of_the_model(folder, ask, tmp_path):
    """Several images, in natural order of a folder, with blanks in their names."""
    images = {f"my photo {i}.png": picture(300 + i, 260, seed=i) for i in (10, 2)}
    for name, image in images.items():
        image.save(tmp_path / name)
    found = ask(tmp_path)
    assert list(found) == ["my photo 2.png", "my photo 10.png"] and not ask.failure
    for name, image in images.items():
        agree(found[name], expected(folder, image))
    assert (
        ask.said.strip().splitlines()[-1].startswith("2 images answered by spnasnet_100 (OpenVINO")
    )
    assert not list(tmp_path.glob("predict-*"))
    assert ask("my photo 2.png", "my photo 10.png") == found


@pytest.mark.parametrize("orientation, turn", [(1, 0), (3, 2), (6, 3), (8, 1)])
@pytest.mark.parametrize("ending", ["jpg", "png", "webp"])
def test_photographs_are_turned_upright(tmp_path, orientation, turn, ending):
    """What the camera wrote lying on its side is what numpy turns back; eval leaves it lying."""
    upright = np.asarray(picture(320, 240))
    lying = np.rot90(upright, {0: 0, 1: 3, 2: 2, 3: 1}[turn])
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"jpg": {"quality": 100, "subsampling": 0}, "webp": {"lossless": True}}
    file = tmp_path / f"photo.{ending}"
    Image.fromarray(lying).save(file, exif=exif, **lossless.get(ending, {}))
    seen = np.asarray(photo.load(file), int)
    assert seen.shape == upright.shape
    assert abs(seen - upright).max() <= (6 if ending == "jpg" else 0)
    assert transforms.load(file).size == lying.shape[1::-1]


@pytest.mark.parametrize("ending", ["png", "tif", "pgm"])
@pytest.mark.parametrize("order", ["<u2", ">u2"])
def test_grey_of_16_bits_is_scaled(tmp_path, ending, order):
    """Pillow alone would clip it: all white from 255 on."""
    values = np.linspace(0, 65535, 64 * 64).round().astype(order).reshape(64, 64)
    if ending == "pgm":
        (tmp_path / "x.pgm").write_bytes(b"P5 64 64 65535\n" + values.astype(">u2").tobytes())
    else:
        Image.fromarray(values.astype("<u2")).save(tmp_path / f"x.{ending}")
    seen = np.asarray(photo.load(tmp_path / f"x.{ending}"), int)
    assert abs(seen - (values.astype(int) / 257).round()[..., None]).max() <= 1
    assert seen.min() == 0 and seen.max() == 255


def test_bad_images_are_named_and_the_others_answered(folder, ask, tmp_path, monkeypatch):
    """Whatever a decoder raises is one line about one image; PostScript starts no Ghostscript."""
    good = picture(300, 260)
    good.save(tmp_path / "good.jpg", quality=95)
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "good.jpg").read_bytes()[:2000])
    (tmp_path / "page.png").write_text("<html>")
    (tmp_path / "script.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    good.save(tmp_path / "odd.bmp")
    opened = Image.open

    def odd(file, *args, **options):
        image = opened(file, *args, **options)
        if str(file).endswith("odd.bmp"):
            image.load = lambda *_: (_ for _ in ()).throw(RuntimeError("no AVIF codec"))
        return image
    monkeypatch.setattr(Image, "open", odd)
    names = ["cut.jpg", "page.png", "script.jpg", "odd.bmp", "good.jpg", "gone.jpg"]
    found = ask(*names, "--png", "answer.png")
    assert list(found) == ["good.jpg"] and (tmp_path / "answer.png").exists()
    agree(found["good.jpg"], expected(folder, opened(tmp_path / "good.jpg")))
    for name, why in (("cut.jpg", "truncated"), ("page.png", "is no image"),
                      ("script.jpg", "is no image"), ("odd.bmp", "no AVIF codec"),
                      ("gone.jpg", "does not exist in ")):
        line, = [row for row in ask.said.splitlines() if row.startswith(f"bad image: {name}: ")]
        assert why in line and str(tmp_path / name) not in line, line
    assert ask.failure.startswith("5 of 6 images could not be read")


def test_standard_input(ask, tmp_path, monkeypatch):
    content = io.BytesIO()
    picture(300, 260).save(content, "PNG")
    (tmp_path / "same.png").write_bytes(content.getvalue())
    content.seek(0)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(content))
    assert ask("-")["standard input"] == ask("same.png")["same.png"]


@pytest.mark.parametrize("words, said", [
    (["gone.jpg"], "1 of 1 images could not be read"), (["empty"], "no images in "),
    ([""], "no image is named")])
def test_nothing_to_answer(ask, tmp_path, words, said):
    (tmp_path / "empty").mkdir()
    ask(*words)
    assert said in ask.failure


def test_its_own_picture_is_no_photograph(ask, tmp_path):
    (tmp_path / "album").mkdir()
    picture(300, 260).save(tmp_path / "album/a.png")
    ask("album", "--png", "album/answer.png")
    assert list(ask("album")) == ["a.png"] and (tmp_path / "album/answer.png").exists()


def test_an_offline_model_that_fails_is_shown(ask, tmp_path):
    picture(300, 300).save(tmp_path / "a.png")
    ask("a.png", command=["bash", "-c", "echo boom; exit 3"])
    assert "did not run" in ask.failure and "boom" in ask.said


def test_an_offline_model_of_another_onnx_does_not_answer(folder, ask, tmp_path):
    picture(300, 300).save(tmp_path / "a.png")
    record = json.loads((folder / "build/spnasnet_100_bs1.blob.json").read_text())
    (tmp_path / "m.blob").write_bytes(b"another")
    cli.write_json(tmp_path / "m.blob.json", record)
    ask("a.png", model=tmp_path / "m.blob")
    assert "m.blob is not the one that" in ask.failure


def test_an_om_from_elsewhere_is_asked_without_its_record(folder, ask, tmp_path):
    """The note says so; the batch is that of the command."""
    picture(300, 300).save(tmp_path / "a.png")
    want = ask("a.png")
    (tmp_path / "m.om").write_text("")
    code = ("import os, sys; words = sys.argv[1:]; "
            "words[words.index('--model') + 1] = 'build/spnasnet_100_bs1.blob'; "
            "os.environ['PYTHONPATH'] = 'common/cpu'; "
            "os.execv(sys.executable, [sys.executable, '-m', 'ais_bench', *words])")
    assert ask("a.png", model=tmp_path / "m.om", command=[sys.executable, "-c", code]) == want
    assert "has no record" in ask.said and "(offline model)" in ask.said


def test_the_png_shows_the_crop_that_the_model_gets(folder, ask, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for i in range(3):
        picture(300, 240 + 40 * i).save(tmp_path / f"photo {i}.png", exif=exif)
    ask(tmp_path, "--png", "answer.PNG")
    assert f"wrote {tmp_path}/answer.PNG: 3 images" in ask.said
    shown = np.asarray(Image.open(tmp_path / "answer.PNG").convert("RGB"))
    recipe = transforms.published(folder)
    for i in range(3):
        top = draw.HEAD + i * (draw.SIDE + draw.EDGE)
        crop = shown[top:top + draw.SIDE, draw.EDGE:draw.EDGE + draw.SIDE]
        wanted = recipe.pixels(photo.load(tmp_path / f"photo {i}.png"))
        assert np.array_equal(crop[::2, ::2], wanted) and np.array_equal(crop[1::2, 1::2], wanted)


def drawn(tmp_path, names, count=1):
    """The picture of `count` images, as grey numpy (H, W), their classes named `names`."""
    picture(300, 260).save(tmp_path / "猫.png")
    items = [("猫.png", tmp_path / "猫.png", [(0, 0.7), (1, 0.2)])] * count
    recipe = transforms.Recipe(256, 224)
    draw.answers(tmp_path / "a.png", "模型", "CANN", True, recipe, items, names)
    return np.asarray(Image.open(tmp_path / "a.png").convert("L"))


def test_many_photographs_make_a_contact_sheet(tmp_path):
    """All of it is seen without scrolling through meters; beyond MOST, how many are not drawn."""
    height, width = drawn(tmp_path, ["cat", "dog"], count=draw.MOST + 7).shape
    assert height < 3.5 * width and height > draw.HEAD + 12 * draw.TILE
    assert drawn(tmp_path, ["cat", "dog"], count=draw.FEW + 1).shape[0] < 2 * draw.STEP + 240


def test_names_in_other_scripts_are_drawn_or_spelled(tmp_path, monkeypatch):
    assert draw.readable("chêne", 18)[0] == "chêne"
    greek = draw.readable("γάτα", 18)  # matplotlib brings a font that has Greek
    assert greek[0] == "γάτα" and not draw.lacking(greek[1], greek[0])
    assert "lastresort" not in str(fonts.file_with(frozenset("猫"))).lower()
    known = fonts.file_with
    monkeypatch.setattr(fonts, "file_with", lambda c: None if "猫" in c else known(c))
    assert draw.readable("猫γ", 18)[0] == "U+732B γ"
    monkeypatch.setattr(fonts, "file_with", lambda characters: None)
    assert draw.readable("a 猫.png", 18)[0] == "a U+732B .png"
    note = drawn(tmp_path, ["cat", "dog"])[draw.HEAD + draw.SIDE + draw.EDGE:]
    assert note.shape[0] == 34 and note.min() < 200


@pytest.mark.parametrize("recipe, size, wanted", [
    (transforms.Recipe(256, 224), (512, 1024), (32, 288, 480, 736)),
    (transforms.Recipe(256, 224, keep_aspect=False), (512, 1024), (32, 64, 480, 960)),
    (transforms.Recipe(200, 224), (100, 100), (0, 0, 100, 100))])
def test_the_frame_is_what_the_crop_keeps(recipe, size, wanted):
    """Outside the frame nothing changes the crop (but for the reach of the filter)."""
    assert draw.seen(size, recipe) == wanted
    white = Image.new("RGB", size, "white")
    white.paste("black", tuple(round(v) for v in wanted))
    assert recipe.pixels(white)[8:-8, 8:-8].max() == 0


def test_names_of_classes(monkeypatch):
    from timm.data import ImageNetInfo

    assert class_names.load() == ImageNetInfo().label_descriptions()
    assert class_names.load(is_demo=True)[7] == f"demo: {demo.CLASSES[7]}"
    assert class_names.load(classes=37) == [f"class {i}" for i in range(37)]
    monkeypatch.setattr(class_names.importlib.util, "find_spec", lambda name: None)
    assert class_names.load() == SYNSETS.read_text().split()


def test_names_of_own_classes(tmp_path):
    known = published.load
    about = {"model": "Pets", "classes": 2, "names": "classes.txt"}
    cli.write_json(tmp_path / "published.json", about)
    with pytest.raises(cli.Failure, match="classes.txt does not exist"):
        known(tmp_path)
    for text, names in (("tabby\npug\n", ("tabby", "pug")), ("tabby\n", None), ("pug\npug", None),
                        ("tabby\npug\npug\n", None)):
        (tmp_path / "classes.txt").write_text(text)
        if names:
            assert known(tmp_path).names == names
        else:
            with pytest.raises(cli.Failure, match="does not hold 2 different names"):
                known(tmp_path)
    (tmp_path / "classes.txt").write_bytes("té\npug".encode("cp1252"))
    with pytest.raises(cli.Failure, match="classes.txt is not text in UTF-8"):
        known(tmp_path)
    assert class_names.load(classes=2, known=("tabby", "pug")) == ["tabby", "pug"]
    rows = [manifest.Row("pug/1.jpg", "1", 0, 1)]
    manifest.Manifest(rows, {"1": 1}, {"labels_from": "labels are positions of 2 folders"}).save(
        tmp_path)
    assert class_names.load(classes=2, bins=tmp_path) == ["class 0", "pug"]


def test_split(tmp_path):
    for name in ("a b.jpg", "a", "c.jpg"):
        (tmp_path / name).write_text("")
    assert predict.split(["a", "b.jpg"], tmp_path) == ["a b.jpg"]
    assert predict.split(["c.jpg a b.jpg  no a"], tmp_path) == ["c.jpg", "a b.jpg", "no", "a"]
    assert predict.split(["c.jpg"] * 900, tmp_path) == ["c.jpg"] * 900  # longer than a name may be


@pytest.mark.parametrize("words", [["a.jpg", "--model", "m"], ["a.jpg", "--model", "m", "--png",
                                   "answer.jpg", "--", "x"]])
def test_called_wrongly(words, capsys):
    with pytest.raises(SystemExit):
        predict.get_args(words)
    assert "error: " in capsys.readouterr().err


