"""The flat archive of ImageNet's validation images, sorted into class folders."""
import os
import tarfile

import numpy as np
import pytest
import tiny
from PIL import Image

from common.data import dataset
from tools import sort_val

# The first twenty. Synsets: TensorFlow's imagenet_2012_validation_synset_labels.txt. Indices of the
# first ten: Caffe's val.txt, which knows nothing of the other; the rest follow from the synsets.
INDEX = [65, 970, 230, 809, 516, 57, 334, 415, 674, 332,
         109, 286, 370, 757, 595, 147, 108, 23, 478, 517]
SYNSET = """n01751748 n09193705 n02105855 n04263257 n03125729 n01735189 n02346627 n02776631 n03794056
n02328150 n01917289 n02125311 n02484975 n04065272 n03496892 n02066245 n01914609 n01616318
n02971356 n03126707""".split()
NAME = [f"ILSVRC2012_val_{i:08d}.JPEG" for i in range(1, 21)]
OFFICIAL = {f"{synset}/{name}" for synset, name in zip(SYNSET, NAME)}


@pytest.fixture
def flat(tmp_path):
    folder = tmp_path / "flat"
    folder.mkdir()
    for i, name in enumerate(NAME):
        Image.new("RGB", (8, 8), (i, i, i)).save(folder / name)
    return folder


def sort(tmp_path, given, images="flat", out="imagenet/val"):
    return tiny.run(tmp_path, "-m", "tools.sort_val", "--images", images, "--labels", given,
                    "--out", out, env={"PYTHONPATH": str(tiny.ROOT)})


def sorted_into(tmp_path):
    folder = tmp_path / "imagenet/val"
    return {str(path.relative_to(folder)) for path in folder.rglob("*.*")}


def index_form(folder):
    tiny.write_labels(folder, [f"{name} {index}" for name, index in zip(NAME, INDEX)])
    return "val_label.txt"


def csv_form(folder):
    rows = [f"{name[:-5]},{synset} 85 1 499 272 " for name, synset in zip(NAME, SYNSET)]
    (folder / "LOC_val_solution.csv").write_text(
        "\n".join(["ImageId,PredictionString", *rows[::-1]]))
    return "LOC_val_solution.csv"


def shell_form(folder):
    lines = [f"mkdir -p {synset}" for synset in SYNSET]
    lines += [f"mv {name} {synset}/" for name, synset in zip(NAME, SYNSET)]
    (folder / "valprep.sh").write_text("\n".join(lines))
    return "valprep.sh"


def devkit_form(folder, order=None):
    """A devkit as torchvision reads it: its numbers count the classes in an order of its own."""
    from scipy.io import savemat

    data = folder / "ILSVRC2012_devkit_t12/data"
    data.mkdir(parents=True)
    own = order or sorted(SYNSET, reverse=True)
    rows = [(i, synset, f"class {i}", "", 0) for i, synset in enumerate(own, 1)]
    rows.append((len(own) + 1, "n00001740", "entity", "", 20))
    kinds = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("gloss", "O"),
             ("num_children", "O")]
    savemat(data / "meta.mat", {"synsets": np.array(rows, kinds)})
    numbers = [str(own.index(synset) + 1) for synset in SYNSET]
    (data / sort_val.DEVKIT).write_text("\n".join(numbers) + "\n")
    return "ILSVRC2012_devkit_t12"


@pytest.mark.parametrize("form", [index_form, csv_form, shell_form, devkit_form])
def test_every_form_gives_the_official_folders(form, tmp_path, flat):
    done = sort(tmp_path, form(tmp_path))
    assert "wrote 20 images in 20 class folders to imagenet/val" in tiny.worked(done)
    assert sorted_into(tmp_path) == OFFICIAL
    assert len(list(flat.iterdir())) == 20
    found = dataset.find(tmp_path / "imagenet")
    assert [image.label for image in found.images] == INDEX
    tiny.no_leftovers(tmp_path)


def test_devkit_is_read_as_torchvision_reads_it(tmp_path):
    from torchvision.datasets import imagenet

    devkit_form(tmp_path)
    archive = "ILSVRC2012_devkit_t12.tar.gz"
    with tarfile.open(tmp_path / archive, "w:gz") as tar:
        tar.add(tmp_path / "ILSVRC2012_devkit_t12", "ILSVRC2012_devkit_t12")
    read = imagenet._verify_archive
    imagenet._verify_archive = lambda *_: None  # its MD5 is that of the real one
    try:
        imagenet.parse_devkit_archive(tmp_path, archive)
    finally:
        imagenet._verify_archive = read
    _, synsets = imagenet.load_meta_file(tmp_path)
    ours = sort_val.read(tmp_path / "ILSVRC2012_devkit_t12")
    assert [ours[name[:-5]] for name in NAME] == list(synsets) == SYNSET


def test_links_where_there_can_be_and_copies_elsewhere(tmp_path, flat, monkeypatch):
    (tmp_path / "link").symlink_to(flat / NAME[0])
    sort_val.place(tmp_path / "link", tmp_path / "a/1.JPEG")
    assert os.path.samefile(flat / NAME[0], tmp_path / "a/1.JPEG")
    assert not (tmp_path / "a/1.JPEG").is_symlink()

    def refuse(*_):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    sort_val.place(flat / NAME[0], tmp_path / "b/1.JPEG")
    assert (tmp_path / "b/1.JPEG").read_bytes() == (flat / NAME[0]).read_bytes()
    assert not os.path.samefile(flat / NAME[0], tmp_path / "b/1.JPEG")


@pytest.mark.parametrize("spoil, said", [
    (lambda base: (base / "flat" / NAME[3]).unlink(),
     "1 labels in val_label.txt without an image"),
    (lambda base: tiny.write_labels(base, [f"{NAME[0]} 65"]), "19 images without a label"),
    (lambda base: tiny.write_labels(base, ["65", "970"]), "no file name: the ILSVRC devkit"),
    (lambda base: (base / "imagenet/val/old").mkdir(parents=True), "imagenet/val is there"),
    (lambda base: tiny.write_labels(base, [f"{NAME[0]} n00000001"]), "none of ImageNet's"),
    (lambda base: tiny.write_labels(base, [f"{NAME[0]} n01751748", f"{NAME[0]} n09193705"]),
     "is of n01751748 and of n09193705"),
    (lambda base: (base / "val_label.txt").unlink(), "val_label.txt")])
def test_what_does_not_add_up_leaves_nothing(spoil, said, tmp_path, flat):
    index_form(tmp_path)
    spoil(tmp_path)
    tiny.failed(sort(tmp_path, "val_label.txt"), said)
    assert not sorted_into(tmp_path)
    tiny.no_leftovers(tmp_path)


def test_a_folder_without_a_name(tmp_path):
    tiny.failed(sort(tmp_path, "val_label.txt", out="."), "has no name of its own", status=2)


def test_nothing_is_written_among_the_images(tmp_path, flat):
    tiny.failed(sort(tmp_path, index_form(tmp_path), out="flat/val"), "flat/val is inside flat")


def test_the_full_set_in_another_order_is_refused(tmp_path, monkeypatch, flat):
    """Numbers of the devkit in the form of val_label.txt: nothing else would show it."""
    monkeypatch.setattr(sort_val, "FULL", 20)
    monkeypatch.setattr(sort_val, "EACH", 1)
    sort_val.check_full(dict(zip(NAME, SYNSET)), "val_label.txt")
    with pytest.raises(sort_val.cli.Failure, match="index 65; the devkit's numbers"):
        sort_val.check_full(dict(zip(NAME, SYNSET[::-1])), "val_label.txt")


def test_help_teaches(tmp_path):
    done = tiny.run(tmp_path, "-m", "tools.sort_val", "--help",
                    env={"PYTHONPATH": str(tiny.ROOT)})
    for word in ("val_label.txt", "LOC_val_solution.csv", "devkit", "make eval DATA="):
        assert word in tiny.worked(done)
