"""The demo's images and weights."""
import io
import subprocess
import sys
from collections import Counter

import pytest
import torch
from conftest import ROOT, load
from PIL import Image

from common import checkpoint, cli, dataset, demo, transforms


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "data"
    demo.make_images(folder)
    return folder


def files(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_synsets_are_imagenets():
    import timm.data

    assert dataset.SYNSETS.read_text().split() == timm.data.ImageNetInfo().label_names()


def test_both_layouts_hold_the_same(data):
    folders, flat = dataset.find(data), dataset.find(data / "flat")
    assert (folders.layout, flat.layout) == ("folders", "flat") and folders.demo and flat.demo
    assert dataset.find(data / "train").demo
    assert [(i.path.name, i.label) for i in folders.images] == [(i.path.name, i.label) for i in flat.images]
    assert all(a.path.read_bytes() == b.path.read_bytes() for a, b in zip(folders.images, flat.images, strict=True))
    assert Counter(i.label for i in flat.images) == {label: 24 for label in demo.CLASSES}
    assert sum(len(content) for content in files(data).values()) < 15e6
    # Neighbours in the list, and every n-th image, are of different classes: so are subsets and the slots of a batch.
    assert all(len({i.label for i in flat.subset(n).images}) >= 8 for n in (24, 40))


def test_modes_and_sizes_vary(data):
    kinds, sizes = Counter(), set()
    for image in dataset.find(data).images:
        with Image.open(image.path) as opened:
            kinds[opened.format, opened.mode, opened.getexif().get(0x0112)] += 1
            sizes.add(opened.size)
    assert {("JPEG", "RGB", None), ("JPEG", "L", None), ("JPEG", "CMYK", None), ("JPEG", "RGB", 6), ("PNG", "RGB", None),
            ("PNG", "P", None)} <= kinds.keys()
    assert kinds["JPEG", "RGB", None] > 120 and len(sizes) > 100
    assert {(224, 224), (256, 256)} <= sizes and any(w > h for w, h in sizes) and any(w < h for w, h in sizes)


def test_the_same_bytes_every_time(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "VAL", 40)
    monkeypatch.setattr(demo, "TRAIN", 10)
    demo.make_images(tmp_path / "one")
    first = files(tmp_path / "one")
    (tmp_path / "one/val/left over.JPEG").write_bytes(b"")
    demo.make_images(tmp_path / "one")
    assert files(tmp_path / "one") == first and len(first) == 40 + 40 + 10 + 3


def test_an_interruption_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt
    monkeypatch.setattr(demo, "encode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        demo.make_images(tmp_path / "data")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_somebodys_images_is_left_alone(tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(cli.Failure, match="no demo images"):
        demo.make_images(tmp_path)
    assert (tmp_path / "holiday.jpg").exists()


def test_a_picture_shows_its_partner_outside_the_crop(data):
    image = next(i for i in dataset.find(data).images if demo.CLASSES[i.label] == "red")
    pixels = transforms.load(image.path)
    centre, corner = pixels.getpixel((pixels.width // 2, pixels.height // 2)), pixels.getpixel((3, 3))
    assert centre[0] > centre[2] and corner[2] > corner[0]


def weights(folder, data, out):
    done = subprocess.run([sys.executable, "-m", "common.demo", "weights", "--data", str(data), "--out", str(out)],
                          cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def fitted(data, tmp_path_factory):
    """ShiftViT's network with its demo weights, from a folder with model.py and common/ alone."""
    folder = tmp_path_factory.mktemp("folder")
    (folder / "model.py").write_bytes((ROOT / "ShiftViT/model.py").read_bytes())
    (folder / "common").symlink_to(ROOT / "common")
    said = weights(folder, data, folder / "a.pth")
    assert said.startswith(f"wrote {folder / 'a.pth'}: demo weights for ShiftViT-T/light, Top-1 100.0% of")
    weights(folder, data, folder / "b.pth")
    assert (folder / "a.pth").read_bytes() == (folder / "b.pth").read_bytes()
    assert torch.load(folder / "a.pth", weights_only=True).keys() == {"model", "demo"}
    state_dict, is_demo = checkpoint.load(folder / "a.pth")
    assert is_demo
    model = load(folder / "model.py", "model_of_demo")
    return model, checkpoint.load_into(model.build(), state_dict, "a.pth")


def top1(fitted, data, count, change=lambda image: image, recipe=None):
    """Share that the fitted network gets right of `count` validation images of each class."""
    model, net = fitted
    images = sorted(dataset.find(data).images, key=lambda image: image.label)
    images = [image for k, image in enumerate(images) if k % 24 < count]
    inputs = torch.stack([torch.from_numpy((recipe or model.RECIPE)(change(transforms.load(i.path)))) for i in images])
    with torch.inference_mode():
        logits = torch.cat([net(batch) for batch in inputs.split(20)])
    assert all(set(row.topk(5).indices.tolist()) <= demo.CLASSES.keys() for row in logits)
    return float((logits.argmax(1) == torch.tensor([i.label for i in images])).double().mean())


def test_weights_tell_the_classes_apart(fitted, data):
    assert top1(fitted, data, 6) >= 0.95


def test_mistakes_in_the_chain_show(fitted, data):
    blue_first = top1(fitted, data, 3, lambda image: Image.merge("RGB", image.split()[::-1]))
    unscaled = top1(fitted, data, 3, recipe=transforms.Recipe(mean=(0, 0, 0), std=(1, 1, 1)))
    squashed = top1(fitted, data, 3, recipe=transforms.Recipe(keep_aspect=False))
    assert blue_first < 0.7 and unscaled < 0.5 and squashed < 0.9, (blue_first, unscaled, squashed)


def test_fit_leaves_the_other_classes_behind():
    x = torch.randn(40, 64, dtype=torch.float64)
    labels = torch.tensor(list(demo.CLASSES) * 4)
    weight, bias = demo.fit(x, labels)
    logits = x @ weight.T + bias
    assert torch.equal(logits.argmax(1), labels) and bias.shape == (1000,)
    assert all(set(row.topk(10).indices.tolist()) == demo.CLASSES.keys() for row in logits)


def test_weights_want_demo_images(tmp_path):
    picture = io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "JPEG")
    (tmp_path / "train/n01514668").mkdir(parents=True)
    (tmp_path / "train/n01514668/a.JPEG").write_bytes(picture.getvalue())
    (tmp_path / "model.py").write_bytes((ROOT / "ShiftViT/model.py").read_bytes())
    (tmp_path / "common").symlink_to(ROOT / "common")
    done = subprocess.run([sys.executable, "-m", "common.demo", "weights", "--data", ".", "--out", "x.pth"], cwd=tmp_path,
                          capture_output=True, text=True)
    assert done.returncode == 1 and "holds no demo images" in done.stderr and not (tmp_path / "x.pth").exists()
