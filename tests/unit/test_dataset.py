"""Which images there are and which class each is of, for both layouts; what does not add up is
refused by name. References: torchvision's ImageFolder, timm's list of synsets."""
import os
import shutil

import pytest
from PIL import Image
from timm.data import ImageNetInfo
from torchvision.datasets import ImageFolder

from common import cli
from common.data import dataset

SYNSETS = ImageNetInfo().label_names()  # by class index


def image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4)).save(path, "PNG")
    return path


def tree(root, *names):
    for name in names:
        image(root / name)
    return root


def labels(root, *args, **more):
    return {i.name: i.label for i in dataset.find(root, *args, **more).images}


@pytest.fixture
def flat(tmp_path):
    tree(tmp_path / "val", "img_1.JPEG", "IMG_2.JPEG", "img_10.JPEG")
    (tmp_path / "val_label.txt").write_text("img_1.JPEG 5\nIMG_2.JPEG 7\nimg_10.JPEG 0\n")
    return tmp_path


def test_flat(flat):
    for root in (flat, flat / "val", str(flat)):
        data = dataset.find(root)
        assert [(i.name, i.label) for i in data.images] == [
            ("img_1.JPEG", 5), ("IMG_2.JPEG", 7), ("img_10.JPEG", 0)]
        assert all(os.path.samefile(i.path, flat / "val" / i.name) for i in data.images)
        assert (data.layout, data.demo, data.strays, data.notes) == ("flat", False, (), ())


@pytest.mark.parametrize("where", ["val_label.txt", "val/val_label.txt", "images/val_label.txt"])
def test_where_a_label_file_may_lie(flat, where):
    (flat / "images").mkdir()
    (flat / "val_label.txt").rename(flat / where)
    assert sorted(labels(flat).values()) == [0, 5, 7]


def test_images_folder_and_label_file_behind_links(flat, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (flat / "val").rename(other / "real")
    (flat / "val_label.txt").rename(other / "real.txt")
    (flat / "images").symlink_to(other / "real")
    (flat / "val_label.txt").symlink_to(other / "real.txt")
    assert sorted(labels(flat).values()) == [0, 5, 7]
    (other / "real.txt").unlink()
    with pytest.raises(cli.Failure, match="val_label.txt does not exist"):
        dataset.find(flat)


@pytest.mark.parametrize("folders", ["ILSVRC2012_img_val", "a/b/c", "n01440764", "7"])
def test_a_label_file_labels_alone_however_deep(tmp_path, folders):
    tree(tmp_path, f"val/{folders}/x.JPEG", "val/y.JPEG")
    label = 0 if folders == "n01440764" else 3  # tench, which its folder says as well
    (tmp_path / "val_label.txt").write_text(f"x.JPEG {label}\nother/y.JPEG 4\n")
    assert labels(tmp_path) == {f"{folders}/x.JPEG": label, "y.JPEG": 4}


@pytest.mark.parametrize("name", ["val/val_label.txt", "images/val_label.txt", "given.txt"])
def test_two_label_files(flat, name):
    (flat / "images").mkdir()
    other = flat / name
    given = other if other.name == "given.txt" else None
    other.write_text((flat / "val_label.txt").read_text().replace("img", "x/img"))
    assert sorted(labels(flat, given).values()) == [0, 5, 7]
    other.write_text(other.read_text().replace("IMG_2.JPEG 7", "IMG_2.JPEG 8"))
    with pytest.raises(cli.Failure, match=r"txt and .* disagree: IMG_2.JPEG \(") as e:
        dataset.find(flat, given)
    assert str(other) in str(e.value) and str(flat / "val_label.txt") in str(e.value)


@pytest.mark.parametrize("name", [f"{SYNSETS[207]}/x.JPEG", f"some/{SYNSETS[207]}/x.JPEG"])
def test_a_label_file_and_synset_folders_that_disagree(tmp_path, name):
    tree(tmp_path, f"val/{name}", f"val/{SYNSETS[3]}/y.JPEG")
    (tmp_path / "val_label.txt").write_text("x.JPEG 207\ny.JPEG 3\n")
    assert labels(tmp_path)[name] == 207
    (tmp_path / "val_label.txt").write_text("x.JPEG 208\ny.JPEG 3\n")
    with pytest.raises(cli.Failure, match="val_label.txt and the synset folders disagree: .*x.JPEG "
                                          r"\(208, its folder means 207\)"):
        dataset.find(tmp_path)


@pytest.mark.parametrize("text, message", [
    ("img_1.JPEG 5\nIMG_2.JPEG 7\n", "1 images without a label in .*val_label.txt: img_10.JPEG"),
    ("img_1 5\nIMG_2 7\nimg_10 0\nimg_11 1\n", "1 labels in .* without an image.*: img_11"),
    ('"img_1.JPEG" 5\nIMG_2 7\nimg_10 0\n', 'without a label .*: img_1.JPEG; .*: "img_1.JPEG"')])
def test_label_file_of_other_images(flat, text, message):
    (flat / "val_label.txt").write_text(text)
    with pytest.raises(cli.Failure, match=message):
        dataset.find(flat)


def test_no_labels(flat):
    (flat / "val_label.txt").unlink()
    with pytest.raises(cli.Failure, match="3 images in .* have no labels — put a val_label.txt"):
        dataset.find(flat)
    assert [i.label for i in dataset.find(flat, labelled=False).images] == [None] * 3


# ---- class folders ----

@pytest.mark.parametrize("names", [["zebra", "Ant", "bee"], ["cat 2", "cat 10"], ["01_a", "1_b"]])
def test_words_count_as_torchvision_counts(tmp_path, names):
    tree(tmp_path / "val", *(f"{name}/img_{i}.JPEG" for i, name in enumerate(names)))
    theirs = ImageFolder(str(tmp_path / "val"))
    want = {os.path.relpath(path, tmp_path / "val"): label for path, label in theirs.samples}
    data = dataset.find(tmp_path)
    assert {i.name: i.label for i in data.images} == want and data.layout == "folders"
    assert data.labels_from == f"labels are positions of {len(names)} folders"
    assert data.notes == (data.labels_from,)


def test_synsets_have_their_official_index_even_in_a_subset(tmp_path):
    tree(tmp_path, *(f"{SYNSETS[i]}/img_{i}.JPEG" for i in (999, 0, 207)))
    data = dataset.find(tmp_path)
    assert {i.name: i.label for i in data.images} == {
        f"{SYNSETS[i]}/img_{i}.JPEG": i for i in (0, 207, 999)}
    assert "position" not in data.labels_from


@pytest.mark.parametrize("folders", [["0", "10", "2"], ["007", "12"], ["999"]])
def test_whole_numbers_are_the_index(tmp_path, folders):
    """As in ImageNetV2, where sorting as text makes class 10 the third one."""
    tree(tmp_path, *(f"{name}/x.JPEG" for name in folders))
    assert labels(tmp_path) == {f"{name}/x.JPEG": int(name) for name in folders}


@pytest.mark.parametrize("folders, said", [
    (["n01440764", "background"], "synsets, but not background"),
    (["n01440764", "n01443537-goldfish"], "synsets, but not n01443537-goldfish"),
    (["n01440764", "N01443537"], "synsets, but not N01443537"),
    (["n01440764-tench", "n01443537-goldfish"], "synsets, but not n01440764-tench, n01443537"),
    (["n01440764", "n0144353"], "synsets, but not n0144353"), (["n01440764", "5"], "but not 5"),
    (["0", "1", "other"], "whole numbers, but not other"), (["0", "1", "-1"], "but not -1"),
    (["n01440764", "n00005787"], "none of ImageNet's 1000: n00005787"),
    (["1", "1000"], "class folder 1000: .*count from 1"),
    (["0", "1001"], "folder 1001: class 1001 is")])
def test_folders_that_do_not_fit_together(tmp_path, folders, said, classes=1000):
    tree(tmp_path, *(f"{name}/x_{i}.JPEG" for i, name in enumerate(folders)))
    with pytest.raises(cli.Failure, match=said):
        dataset.find(tmp_path, classes=classes)


@pytest.mark.parametrize("folders, said", [
    ("abc", "3 class folders .* 2 classes"), (["0", "2"], "folder 2: .*count from 1"),
    (SYNSETS[:2], "ImageNet's 1000 classes, and the network has 2")])
def test_folders_of_a_network_with_other_classes(tmp_path, folders, said):
    assert set(labels(tree(tmp_path / "ok", "a/x.JPEG", "b/x.JPEG"), classes=2).values()) == {0, 1}
    test_folders_that_do_not_fit_together(tmp_path / "bad", folders, said, 2)


def test_folders_of_classes_whose_names_are_known(tmp_path):
    """Their index is that of the name, also in a subset, and not their place in the alphabet."""
    root = tree(tmp_path, "val/tabby/1.jpg", "val/pug/1.jpg")
    names = ("tabby", "beagle", "pug")
    assert [i.label for i in dataset.find(root, classes=3, known=names).images] == [2, 0]
    tree(tmp_path, "val/poodle/1.jpg")
    with pytest.raises(cli.Failure, match="none of the network's classes: poodle"):
        dataset.find(root, classes=3, known=names)


def test_labels_that_may_count_from_one(tmp_path):
    tree(tmp_path, *(f"{i}/x.JPEG" for i in range(1, 112)))
    assert "count from 1" in dataset.find(tmp_path).notes[0]
    image(tmp_path / "0/x.JPEG")
    assert dataset.find(tmp_path).notes == ()
    tree(tmp_path / "synsets", *(f"{s}/x.JPEG" for s in SYNSETS[1:150]))  # as ImageNet-A and -R
    assert dataset.find(tmp_path / "synsets").notes == ()


def test_what_file_systems_and_archives_leave_is_passed_over(tmp_path):
    tree(tmp_path, f"{SYNSETS[0]}/x.JPEG", f"{SYNSETS[1]}/y.JPEG")
    for name in ("lost+found", "__MACOSX", "@eaDir", ".hidden", f"{SYNSETS[0]}/@eaDir",
                 "$RECYCLE.BIN", "System Volume Information", f"{SYNSETS[0]}/.thumbs"):
        (tmp_path / name).mkdir()
        assert list(labels(tmp_path).values()) == [0, 1]
        image(tmp_path / name / "x.JPEG")
        assert list(labels(tmp_path).values()) == [0, 1]


@pytest.mark.parametrize("make, message", [
    (lambda d: None, "does not exist"), (lambda d: d.mkdir(), "no images in"),
    (lambda d: (d / "cat").mkdir(parents=True), "no images in"),
    (lambda d: tree(d, "cat/x.JPEG", "y.JPEG"), "holds images .* and folders .* no val_label.txt"),
    (lambda d: tree(d, "cat/more/x.JPEG", "cat/y.JPEG"), "folders inside a class folder: cat/more"),
    (lambda d: (tree(d, "cat/x.JPEG", "dog/x.JPEG"), (d / "cow").mkdir()), "without images: cow"),
    (lambda d: tree(d, "ILSVRC2012_img_val/x.JPEG"), "one folder .ILSVRC2012_img_val. with all"),
    (lambda d: (tree(d, "a/x.JPEG", "b/x.JPEG"), (d / "a/up").symlink_to("..")),
     "link to a folder"),
    (lambda d: (tree(d, "x.JPEG"), os.mkfifo(d / "y.JPEG")), "y.JPEG is a pipe"),
    (lambda d: (tree(d, "x.JPEG"), (d / "y.JPEG").symlink_to("/dev/zero")), "pipe or device"),
    (lambda d: (tree(d, "x.JPEG"), os.rename(d / "x.JPEG", os.fsencode(d) + b"/\xff.JPEG")),
     "1 names that are no text"),
    (lambda d: (d.mkdir(), (d / "val.tar").write_bytes(b"")), "holds val.tar — is the dataset unp"),
    (lambda d: d.write_bytes(b""), "is a file — .* archive, unpack it")])
def test_folder_that_is_no_dataset(tmp_path, make, message):
    make(tmp_path / "data")
    with pytest.raises(cli.Failure, match=message):
        dataset.find(tmp_path / "data")


# ---- files that are no images by their ending ----

def test_other_names_for_a_jpeg(flat):
    for name in ("a.jfif", "b.jpe", "c.JPE"):
        image(flat / "val" / name)
    with open(flat / "val_label.txt", "a") as f:
        f.write("a 1\nb 1\nc.JPE 1\n")
    assert {"a.jfif", "b.jpe", "c.JPE"} <= labels(flat).keys() and not dataset.find(flat).strays


@pytest.mark.parametrize("name", ["a.JPEG.1", "a.heic", "a.tar", "a", "deep/a.gif", "synsets.txt"])
def test_strays_are_named(flat, name):
    (flat / "val" / name).parent.mkdir(exist_ok=True)
    (flat / "val" / name).write_bytes(b"x")
    assert dataset.find(flat).strays == (name,)


def test_what_desktops_leave_is_no_stray(flat):
    for name in ("Thumbs.db", "desktop.ini", ".DS_Store", "._img_1.JPEG"):
        (flat / "val" / name).write_text("x")
    shutil.copy(flat / "val_label.txt", flat / "val")
    assert dataset.find(flat).strays == () and len(labels(flat)) == 3


def test_subset_is_spread(tmp_path):
    data = dataset.Dataset(list(range(50)), tmp_path, "flat", False)
    assert data.subset(5).images == [0, 10, 20, 30, 40]
    assert data.subset(50) is data and data.subset(None) is data and data.subset(99) is data
    assert len(set(data.subset(49).images)) == 49
