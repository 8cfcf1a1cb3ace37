"""The demo's images and weights."""
import io
import json
import re
import sys
import types
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, load
from PIL import Image
from torch import nn

from common import cli, provenance
from common.data import dataset, demo, demo_weights, labels, transforms
from common.model import checkpoint


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "data"
    demo.make_images(folder)
    return folder


def files(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*")
            if p.is_file() and p.suffix != ".json"}


def test_synsets_are_imagenets():
    import timm.data

    assert list(labels.official()) == timm.data.ImageNetInfo().label_names()


def test_both_layouts_hold_the_same(data):
    folders, flat = dataset.find(data), dataset.find(data / "flat")
    assert (folders.layout, flat.layout) == ("folders", "flat") and folders.demo and flat.demo
    assert dataset.find(data / "train").demo
    for a, b in zip(folders.images, flat.images, strict=True):
        assert (Path(a.name).name, a.label) == (b.name, b.label)
        assert Path(a.path).read_bytes() == Path(b.path).read_bytes()
    assert Counter(i.label for i in flat.images) == {label: 24 for label in demo.CLASSES}
    assert sum(len(content) for content in files(data).values()) < 15e6
    # Neighbours, and every n-th image, are of different classes: so are the images of a batch.
    assert all(len({i.label for i in flat.subset(n).images}) >= 8 for n in (24, 40))


def test_modes_and_sizes_vary(data):
    kinds, sizes = Counter(), set()
    for image in dataset.find(data).images:
        with Image.open(image.path) as opened:
            kinds[opened.format, opened.mode, opened.getexif().get(0x0112)] += 1
            sizes.add(opened.size)
    assert {("JPEG", "RGB", None), ("JPEG", "L", None), ("JPEG", "CMYK", None), ("JPEG", "RGB", 6),
            ("PNG", "RGB", None), ("PNG", "P", None)} <= kinds.keys()
    assert kinds["JPEG", "RGB", None] > 120 and len(sizes) > 100
    assert {(224, 224), (256, 256)} <= sizes
    assert any(w > h for w, h in sizes) and any(w < h for w, h in sizes)


def test_the_same_bytes_every_time(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "VAL", 40)
    monkeypatch.setattr(demo, "TRAIN", 10)
    with monkeypatch.context() as patch, pytest.raises(TypeError):  # an interruption leaves nothing
        patch.setattr(demo, "encode", None)
        demo.make_images(tmp_path / "one")
    assert list(tmp_path.iterdir()) == []
    demo.make_images(tmp_path / "one")
    first = files(tmp_path / "one")
    (tmp_path / "one/val/left over.JPEG").write_bytes(b"")
    (tmp_path / "one/DEMO.txt").unlink()  # as make does where it is to be made again
    demo.make_images(tmp_path / "one")
    assert files(tmp_path / "one") == first and len(first) == 40 + 40 + 10 + 3
    assert provenance.misfit(tmp_path / "one/DEMO.txt") is None
    made_from = provenance.read(tmp_path / "one/DEMO.txt")["made"]["from"]
    assert {Path(name).name for name in made_from} == {"demo.py", "val", "train", "flat"}
    next((tmp_path / "one/val").glob("*/*")).unlink()
    assert "was made from another" in provenance.misfit(tmp_path / "one/DEMO.txt")


def test_a_folder_of_somebodys_images_is_left_alone(tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(cli.Failure, match="no demo images"):
        demo.make_images(tmp_path)
    assert (tmp_path / "holiday.jpg").exists()


def make_weights(model, data, out, classes=1000):
    """Run demo_weights.make() for this model.py; the checkpoint's content."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "model", model)
        patch.chdir(out.parent)
        Path("published.json").write_text(json.dumps({"model": "Tiny", "classes": classes}))
        demo_weights.make(data, out)
    return torch.load(out, weights_only=True)


@pytest.fixture(scope="module")
def fitted(data, tmp_path_factory):
    """ShiftViT's model.py, and its network with demo weights."""
    model = load(ROOT / "ShiftViT/model.py", "model_of_demo")
    out = tmp_path_factory.mktemp("weights") / "a.pth"
    assert make_weights(model, data, out).keys() == {"model", "demo"}
    state_dict, facts = checkpoint.load(out)
    assert facts["demo"]
    return model, checkpoint.load_into(model.build(), state_dict, out)


def top1(fitted, data, count, change=lambda image: image, recipe=None):
    """Share that the fitted network gets right of `count` validation images of each class."""
    model, net = fitted
    images = sorted(dataset.find(data).images, key=lambda image: image.label)
    images = [image for k, image in enumerate(images) if k % 24 < count]
    recipe = recipe or model.RECIPE
    inputs = [recipe(change(transforms.load(i.path))) for i in images]
    inputs = torch.from_numpy(np.stack(inputs))
    with torch.inference_mode():
        logits = torch.cat([net(batch) for batch in inputs.split(20)])
    assert all(set(row.topk(5).indices.tolist()) <= demo.CLASSES.keys() for row in logits)
    return float((logits.argmax(1) == torch.tensor([i.label for i in images])).double().mean())


@pytest.mark.slow
def test_mistakes_in_the_chain_show(fitted, data):
    assert top1(fitted, data, 3) >= 0.95
    blue_first = top1(fitted, data, 2, lambda image: Image.merge("RGB", image.split()[::-1]))
    unscaled = top1(fitted, data, 2, recipe=transforms.Recipe(mean=(0, 0, 0), std=(1, 1, 1)))
    squashed = top1(fitted, data, 2, recipe=transforms.Recipe(keep_aspect=False))
    assert blue_first < 0.7 and unscaled < 0.5 and squashed < 0.9, (blue_first, unscaled, squashed)


def test_fit_leaves_the_other_classes_behind():
    x = torch.randn(40, 64, dtype=torch.float64)
    labels = torch.tensor(list(demo.CLASSES) * 4)
    weight, bias = demo_weights.fit(x, labels, 1000)
    logits = x @ weight.T + bias
    assert torch.equal(logits.argmax(1), labels) and bias.shape == (1000,)
    assert all(set(row.topk(10).indices.tolist()) == demo.CLASSES.keys() for row in logits)


def tiny(classes=1000, channels=3, kernel=3, bias=True):
    """Convolution, BatchNorm, ReLU, depthwise and pointwise convolution, as in spnasnet."""
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, stride=2, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 16, kernel, groups=16, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, classes, bias=bias)).eval()


def described(build, head="11", **recipe):
    """A model.py of this network."""
    return types.SimpleNamespace(NAME="Tiny", HEAD=head, RECIPE=transforms.Recipe(**recipe),
                                 build=build)


TINY = described(tiny)


def test_weights_are_the_same_bytes_every_time(data, tmp_path, capsys):
    content = make_weights(TINY, data, tmp_path / "a.pth")
    make_weights(TINY, data, tmp_path / "b.pth")
    assert (tmp_path / "a.pth").read_bytes() == (tmp_path / "b.pth").read_bytes()
    assert content.keys() == {"state_dict", "demo"}
    assert content["state_dict"].keys() == tiny().state_dict().keys()
    assert re.fullmatch(rf"wrote {tmp_path}/a.pth: demo weights for Tiny, Top-1 [0-9.]+% of 60 "
                        r"training images and [0-9.]+% of 20 validation images",
                        capsys.readouterr().out.splitlines()[0])
    assert str(data / "DEMO.txt") in provenance.read(tmp_path / "a.pth")["made"]["from"]


@pytest.mark.parametrize("classes, side, mean", [
    (7, 64, 0.4), pytest.param(5000, 224, 0.5, marks=pytest.mark.slow)])
def test_any_number_of_classes_any_size_any_mean(tmp_path, monkeypatch, classes, side, mean):
    """The demo is of as many classes as published.json says, ten at most; folders are numbers."""
    monkeypatch.chdir(tmp_path)
    model = described(lambda: tiny(classes), resize=side, crop=side, mean=(mean,) * 3,
                      std=(mean,) * 3)
    about = {"model": "Tiny", "classes": classes, "preprocessing": model.RECIPE.as_dict()}
    Path("published.json").write_text(json.dumps(about))
    monkeypatch.setattr(sys, "argv", ["demo.py", "images", "--out", "data"])
    demo.main()
    assert "published.json" in provenance.read("data/DEMO.txt")["made"]["from"]
    shown = demo.shown(classes)
    assert len(shown) == min(classes, 10) and 0 in shown and max(shown) < classes
    for folder in ("data", "data/flat"):
        assert {i.label for i in dataset.find(folder, classes=classes).images} == shown.keys()
    content = make_weights(model, tmp_path / "data", tmp_path / "w.pth", classes)
    assert content["state_dict"]["11.weight"].shape == (classes, 32)
    net = tiny(classes)
    net.load_state_dict(content["state_dict"])
    train, wanted = demo_weights.load(Path("data/train"), 6, model.RECIPE, classes)
    with torch.inference_mode():
        assert float((net(train).argmax(1) == wanted).double().mean()) > 0.6


def test_kernels_that_are_not_square(data, tmp_path):
    """As in GhostNetV2: 1×5 and 5×1. What is in the middle of a depthwise kernel is near 1."""
    for kernel in ((1, 5), (5, 1)):
        content = make_weights(described(lambda k=kernel: tiny(kernel=k)), data,
                               tmp_path / "w.pth")["state_dict"]
        middle = content["3.weight"].flatten(1)[:, 2]
        assert 0.5 < float(middle.mean()) < 1.5


@pytest.mark.slow
def test_logits_stay_small(data, tmp_path):
    """StarNet's products of branches square what BatchNorm has not seen."""
    from timm.models.starnet import StarNet

    model = described(lambda: StarNet(16, [2, 2, 4, 2]).eval(), "head")
    net = model.build()
    net.load_state_dict(make_weights(model, data, tmp_path / "w.pth")["state_dict"])
    with torch.inference_mode():
        assert float(net(demo_weights.noise(8, 224, 9)).abs().max()) < 150  # 9e3 before
    with pytest.MonkeyPatch.context() as patch, pytest.raises(
            cli.Failure, match="logits reach .* demo weights cannot be made for it"):
        patch.setattr(demo_weights, "RIDGES", (1e-3,))  # the first attempt alone
        make_weights(model, data, tmp_path / "x.pth")
    assert not (tmp_path / "x.pth").exists()


class Heads(nn.Module):
    """Two heads, whose logits are averaged or given as they are."""

    def __init__(self, average):
        super().__init__()
        self.body, self.average = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), average
        self.head, self.other = nn.Linear(3, 1000), nn.Linear(3, 1000)

    def forward(self, x):
        logits = self.head(self.body(x)), self.other(self.body(x))
        return sum(logits) / 2 if self.average else logits


@pytest.mark.parametrize("build, head, said", [
    (lambda: tiny(channels=1), "11", r"does not take float32 \(N, 3, 224, 224\), RGB .*to have 1 "),
    (lambda: tiny(), "6", "its last layer 6 is Conv2d.* not a Linear .* give trained ones"),
    (lambda: tiny(bias=False), "11", "not a Linear with a bias"),
    (lambda: tiny(7), "11", "gives 7 classes, published.json says 1000 — correct"),
    (lambda: Heads(True), "head", "has it several heads"),
    (lambda: Heads(False), "head", "has it several heads")])
def test_networks_without_demo_weights_are_refused_in_one_line(data, tmp_path, build, head, said):
    with pytest.raises(cli.Failure, match=said):
        make_weights(described(build, head), data, tmp_path / "w.pth")
    assert not (tmp_path / "w.pth").exists()
    with pytest.raises(cli.Failure, match="1 class tells nothing apart"):
        demo.shown(1)


def test_batchnorm_is_calibrated(data, tmp_path):
    """What leaves a BatchNorm has mean 1 and deviation 1 over the images of its calibration."""
    found = dataset.find(data / "train").images
    images = [next(i for i in found if i.label == label) for label in demo.CLASSES]
    images = torch.from_numpy(np.stack([TINY.RECIPE(transforms.load(i.path)) for i in images]))
    net = tiny()
    with torch.no_grad():
        demo_weights.keep_signal(net, images)
        for depth in (2, 5, 8):
            y = net[:depth](images)
            assert not net.training
            torch.testing.assert_close(y.mean((0, 2, 3)), torch.ones(y.shape[1]), atol=1e-3, rtol=0)
            torch.testing.assert_close(y.std((0, 2, 3)), torch.ones(y.shape[1]), atol=1e-2, rtol=0)


def test_weights_want_demo_images(tmp_path):
    picture = io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "JPEG")
    (tmp_path / "train/n01514668").mkdir(parents=True)
    (tmp_path / "train/n01514668/a.JPEG").write_bytes(picture.getvalue())
    with pytest.raises(cli.Failure, match="holds no demo images"):
        make_weights(TINY, tmp_path, tmp_path / "x.pth")
    assert not (tmp_path / "x.pth").exists()
