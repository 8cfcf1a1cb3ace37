"""make new: a sixth model folder from timm, whose whole chain runs."""
import json
import re
import subprocess
import sys

import numpy as np
import pytest
import test_make
import test_readme
import tiny
from conftest import ROOT, copy_of, counts, last_line, load, make
from PIL import Image

from common import cli
from common.data import transforms
from tools.new import new

NAME, TIMM = "little-net", "lcnet_050"
PY = f"PYTHON={sys.executable}"


@pytest.fixture(scope="module")
def top(tmp_path_factory):
    """A copy of the repository, in a path with a space, with one folder more."""
    top = tmp_path_factory.mktemp("one more") / "a checkout"
    tiny.repository(top)
    for name in ("ShiftViT", "Twins-SVT-L"):
        copy_of(name, top)
    said = last_line(make(top, "new", f"MODEL={NAME}", f"TIMM={TIMM}", PY))
    assert said.startswith(f"wrote {NAME}/ for timm's {TIMM}") and f"make demo MODEL={NAME}" in said
    return top


def test_it_is_a_folder_like_the_others(top, monkeypatch):
    assert "copies are true" in make(top, "check-sync")
    monkeypatch.setattr(test_make, "ROOT", top)
    monkeypatch.setattr(test_readme, "ROOT", top)
    readme = top / NAME / "README.md"
    test_make.test_every_folder_has_the_same_kinds_of_files(NAME)
    test_readme.test_same_outline_everywhere(readme)
    test_readme.test_flags_in_the_readme_exist(readme)
    test_readme.test_chinese_and_english_tell_the_same(readme)
    left = [p.name for p in (top / NAME).rglob("*")
            if p.is_file() and "common" not in p.parts
            and re.search("@[a-z]+@|Twins|alt_gvt", p.read_text())]
    assert left == []
    done = subprocess.run([sys.executable, "-m", "ruff", "check", "--config",
                           ROOT / "pyproject.toml", *(top / NAME).glob("*.py")],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_recipe_is_timms_and_no_figure_is_made_up(top):
    import timm
    from timm.data import create_transform, resolve_data_config

    published = json.loads((top / NAME / "published.json").read_text())
    figures = [published[k] for k in ("top1", "top5", "top1_torch", "chip", "fps")]
    assert figures == [None, None, None, None, {}]
    net = timm.create_model(TIMM)
    theirs = create_transform(**resolve_data_config({}, model=net), is_training=False)
    recipe = transforms.published(top / NAME)
    for size in ((260, 300), (777, 231)):
        noise = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
        image = Image.fromarray(noise)
        np.testing.assert_array_equal(recipe(image), theirs(image).numpy())
    module = load(top / NAME / "model.py", "model_of_new").build()
    shapes = [{k: v.shape for k, v in n.state_dict().items()} for n in (module, net)]
    assert shapes[0] == shapes[1]


@pytest.mark.slow
def test_the_whole_chain_runs(top):
    said = make(top, "demo", f"MODEL={NAME}", PY, "LIMIT=24", "BS=4", "LOOP=2")
    good, total = counts(last_line(said))
    assert total == 24 and good >= 12  # of ten classes; guessing gives two or three
    row = rf"^{NAME} +24 +\S+% +\S+% +\S+% +24/24 +\S+( noisy)? +\S+( noisy)? +- +-$"
    assert re.search(row, said, re.M)
    # Pages know a model of which nobody has published anything.
    make(top, "report", f"MODEL={NAME}", PY)
    page = (top / "report/index.html").read_text()
    assert NAME in page and "None" not in page


@pytest.mark.parametrize(
    "name, message",
    [
        ("resnet1", "has no network resnet1 — it has .*resnet"),
        ("lcnet_050.no_such_tag", "has no network lcnet_050.no_such_tag"),
        ("dla34", "is not a linear one"),
        ("deit_tiny_distilled_patch16_224", "has several last layers"),
        ("ResNet18", "has no network ResNet18 — it has .*resnet18"),
        ("hf-hub:someone/net", "is not one of timm's own networks")],
)
def test_networks_that_the_pipeline_cannot_carry(name, message):
    with pytest.raises(cli.Failure, match=message):
        new.describe(name)


def test_a_head_that_is_inside_another_module():
    assert new.describe("vgg11_bn")[1] == "head.fc"


@pytest.mark.parametrize("name, classes, size, expected", [
    ("efficientnet_b3", None, None, (1000, 288, {})),
    ("vit_tiny_patch16_224.augreg_in21k", None, None, (21843, 224, {})),
    ("resnet18", 37, 96, (37, 96, {"num_classes": 37})),
    ("vit_tiny_patch16_224", 5, 96, (5, 96, {"num_classes": 5, "img_size": 96}))])
def test_classes_and_sizes(name, classes, size, expected):
    recipe, _, number, options, _ = new.describe(name, classes, size)
    assert (number, recipe["crop"], options) == expected


def test_weights_of_other_classes_are_not_offered():
    recipe, _, classes, _, config = new.describe("resnet18", 37)
    about = new.published("pets", "resnet18", "resnet18", recipe, classes, config)
    assert about["classes"] == 37 and about["weights"]["urls"] == []
    assert "second" not in about["weights"]


def test_names_as_the_hub_has_them():
    assert new.get_args(["x", "hf-hub:timm/resnet18.a1_in1k"]).timm == "resnet18.a1_in1k"


@pytest.mark.parametrize("words, message", [
    (("MODEL=tools", "TIMM=resnet18"), "a folder of this repository's own"),
    (("MODEL=x", "TIMM=resnet18", "CLASSES=1"), "are 2 or more"),
    (("MODEL=ShiftViT", "TIMM=resnet18"), "ShiftViT exists"),
    (("MODEL=x",), "which network of timm"), (("TIMM=resnet18",), "is no name for a folder"),
    (("MODEL=../x", "TIMM=resnet18"), "is no name for a folder")])
def test_what_cannot_be_scaffolded(top, words, message):
    before = sorted(p.name for p in top.iterdir())
    assert message in make(top, "new", *words, PY, status=2)
    assert sorted(p.name for p in top.iterdir()) == before
