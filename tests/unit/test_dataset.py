"""Both layouts, and every way in which images and labels may not fit each other, reported by name."""
import json
import re

import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from common import cli
from common.data import dataset, rows


def image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4)).save(path, "PNG")
    return path


@pytest.fixture
def flat(tmp_path):
    for i in (1, 2, 10):
        image(tmp_path / "val" / f"img_{i}.JPEG")
    (tmp_path / "val_label.txt").write_text("img_1.JPEG 5\nimg_2.JPEG 7\nimg_10.JPEG 0\n")
    return tmp_path


def test_flat(flat):
    for root in (flat, flat / "val"):
        data = dataset.find(root)
        assert [(i.stem, i.label) for i in data.images] == [("img_1", 5), ("img_2", 7), ("img_10", 0)]
        assert data.layout == "flat" and not data.demo


@pytest.mark.parametrize("text", [
    "img_1.JPEG 5\r\nimg_2.JPEG 7\r\nimg_10.JPEG 0\r\n", "\ufeffimg_1.JPEG 5\nimg_2.JPEG 7\nimg_10.JPEG 0",
    "img_1.JPEG\t5\nimg_2.JPEG \t 7\n\nimg_10.JPEG 0\n\n", "img_1.JPEG 5\nimg_1.JPEG 5\nimg_2 7\nimg_10.jpeg 0\n",
    "val/img_1.JPEG 5\nval/img_2.JPEG 7\nval/img_10.JPEG 0\n"],
    ids=["CRLF", "BOM, no last newline", "tabs and blank lines", "agreeing twice, other endings", "with folder"])
def test_label_file_as_found_in_the_wild(flat, text):
    (flat / "val_label.txt").write_bytes(text.encode())
    assert [i.label for i in dataset.find(flat).images] == [5, 7, 0]


@pytest.mark.parametrize("text, message", [
    ("img_1.JPEG 5\nimg_2.JPEG 7\n", "1 images without a label in .*: img_10.JPEG"),
    ("img_1.JPEG 5\nimg_2.JPEG 7\nimg_10.JPEG 0\nimg_11.JPEG 1\n", "1 labels in .* without an image: img_11"),
    ("img_1.JPEG 5\nimg_1.JPEG 6\n", r"val_label.txt:2: img_1 is labelled 6 here and 5 in line 1"),
    ("img_1.JPEG 5\nimg_2.JPEG x\n", r"val_label.txt:2: 'img_2.JPEG x'"),
    ("img_1.JPEG 5\nimg_2.JPEG 1000\n", r"val_label.txt:2"), ("img_1.JPEG 5\nimg_2.JPEG -1\n", r"val_label.txt:2"),
    ("img_1.JPEG\n", r"val_label.txt:1"), ("", "is empty")])
def test_label_file_that_does_not_fit(flat, text, message):
    (flat / "val_label.txt").write_text(text)
    with pytest.raises(cli.Failure, match=message):
        dataset.find(flat)


def test_flat_without_labels(flat):
    (flat / "val_label.txt").unlink()
    assert [i.label for i in dataset.find(flat).images] == [None] * 3


@pytest.mark.parametrize("names, message", [
    (["a.JPEG", "a.png"], "1 names used twice .*: val/?.*a.JPEG and .*a.png|a.JPEG and a.png"),
    (["a.b.JPEG"], "names with characters other.*'a.b.JPEG'"), (["a b.JPEG"], "'a b.JPEG'"), (["ä.JPEG"], "'ä.JPEG'"),
    (["a\nb.JPEG"], r"'a\\nb.JPEG'"), (["$(x).JPEG"], r"\$\(x\).JPEG")])
def test_names_that_cannot_be_carried(tmp_path, names, message):
    for name in names:
        image(tmp_path / "val" / name)
    with pytest.raises(cli.Failure, match=message):
        dataset.find(tmp_path)


def test_leading_dash_is_a_name_like_others(tmp_path):
    image(tmp_path / "-rf.JPEG")
    assert dataset.find(tmp_path).images[0].stem == "-rf"


def test_same_name_in_two_class_folders(tmp_path):
    image(tmp_path / "cat" / "x.JPEG")
    image(tmp_path / "dog" / "x.JPEG")
    with pytest.raises(cli.Failure, match="cat/x.JPEG and dog/x.JPEG"):
        dataset.find(tmp_path)


def test_class_folders_as_torchvision_counts(tmp_path):
    for i, name in enumerate(["zebra", "Ant", "bee"]):
        image(tmp_path / "val" / name / f"img_{i}.JPEG")
    ours = {i.path.name: i.label for i in dataset.find(tmp_path).images}
    theirs = {p.rsplit("/", 1)[1]: label for p, label in ImageFolder(str(tmp_path / "val")).samples}
    assert ours == theirs


def test_synsets_have_their_official_index_even_in_a_subset(tmp_path):
    for i, name in enumerate(["n15075141", "n01440764", "n02099601"]):
        image(tmp_path / name / f"img_{i}.JPEG")
    data = dataset.find(tmp_path)
    # 0 tench, 207 golden retriever, 999 toilet paper
    assert {i.path.parent.name: i.label for i in data.images} == {"n01440764": 0, "n02099601": 207, "n15075141": 999}


@pytest.mark.parametrize("make, message", [
    (lambda d: None, "does not exist"), (lambda d: d.mkdir(), "no images in"),
    (lambda d: (d / "cat").mkdir(parents=True), "hold no images"),
    (lambda d: (image(d / "cat" / "x.JPEG"), image(d / "y.JPEG")), "holds images .* and folders"),
    (lambda d: image(d / "cat" / "more" / "x.JPEG"), "folders inside a class folder")])
def test_folder_that_is_no_dataset(tmp_path, make, message):
    make(tmp_path / "data")
    with pytest.raises(cli.Failure, match=message):
        dataset.find(tmp_path / "data")


def test_subset_is_spread(tmp_path):
    data = dataset.Dataset(list(range(50)), tmp_path, "flat", False)
    assert data.subset(5).images == [0, 10, 20, 30, 40]
    assert data.subset(50) is data and data.subset(None) is data and data.subset(99) is data
    assert len(set(data.subset(49).images)) == 49


def test_manifest_round_trip_and_damage(tmp_path):
    manifest = dataset.Manifest([dataset.Row("a.JPEG", "a", 0, 3)], {"a": 1}, {"demo": True})
    manifest.save(tmp_path)
    assert dataset.Manifest.load(tmp_path) == manifest == dataset.Manifest.load(tmp_path / "manifest.json")
    for odd in ("[]", '{"images": {"abcd": 1}, "files": {}}', '{"images": [], "files": ["a"]}'):
        (tmp_path / "manifest.json").write_text(odd)
        with pytest.raises(cli.Failure, match="is no manifest"):
            dataset.Manifest.load(tmp_path)
    (tmp_path / "manifest.json").write_text('{"images": [')
    with pytest.raises(cli.Failure, match="is not JSON"):
        dataset.Manifest.load(tmp_path)
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(cli.Failure, match=re.escape("make prep")):
        dataset.Manifest.load(tmp_path)


NAMES = ["a", "b", "ab", "", "é", "日本", "\udcff", "a\0", "x" * 300, "a b.c", "Z"]


@pytest.mark.parametrize("more", [{}, {"a": 5}, {"c": 4}], ids=["alike", "of different length", "with one of padding only"])
def test_manifest_in_any_formatting(tmp_path, more):
    files = {**{name: 4 for name in NAMES if name != "\udcff"}, **more}  # that is no text
    want = dataset.Manifest([dataset.Row(f"{name}.JPEG", name, i % 4, [None, 0, 999][i % 3]) for i, name in enumerate(files)
                             if name != "c"] * 100, files, {"demo": False, "bad": {}})
    want.save(tmp_path)
    path = tmp_path / "manifest.json"
    text = path.read_text(encoding="utf-8")
    assert dataset._by_line(path) and dataset.Manifest.load(path) == want
    content = json.loads(text)
    assert content["images"] == [list(row) for row in want.rows] and isinstance(content["files"], int) == (
        set(files) == {row.file for row in want.rows} and len(set(files.values())) == 1)
    for other in (json.dumps(content), json.dumps(content, indent=2), json.dumps({**content, "files": files}, indent=1),
                  text.replace("\n", "\r\n"), text.replace("],\n", "],\n\n")):
        path.write_bytes(other.encode())
        assert dataset.Manifest.load(path) == want
    for harm in (text.replace("],\n", "]\n", 1), text.replace("],\n", "],,\n", 1), text.replace("]\n ]", "],\n ]"), text[:-3],
                 text + "}"):
        path.write_text(harm, encoding="utf-8")
        with pytest.raises(cli.Failure, match="is not JSON"):
            dataset.Manifest.load(path)


def test_packed_names_and_rows():
    files = rows.Files.of({name: i for i, name in enumerate(NAMES)})
    assert list(files) == NAMES and dict(files) == {name: i for i, name in enumerate(NAMES)}
    wanted = rows.pack(["none", *reversed(NAMES), "x" * 301, "a\0\0", "A"])
    assert files.find(wanted).tolist() == [-1, *range(10, -1, -1), -1, -1, -1]
    assert rows.Files.of({}).find(rows.pack(NAMES)).tolist() == [-1] * len(NAMES) and not rows.Files.of({})
    twice = rows.pack([*NAMES, *NAMES] * 50)
    assert rows.once(twice).tolist() == [True] * len(NAMES) + [False] * 99 * len(NAMES)
    listed = [rows.Row(name, name * 2, i, None if i % 2 else i) for i, name in enumerate(NAMES * 100)]
    packed = rows.Rows.of(listed)
    assert packed == listed and listed == packed and packed != listed[1:] and packed[2:5] == listed[2:5]
    assert packed[-1] == listed[-1] and packed + packed[:1] == listed + listed[:1] and not rows.Rows.of([])
    with pytest.raises(IndexError):
        packed[len(listed)]


def test_labels_go_to_the_first_image_of_a_name(tmp_path):
    (tmp_path / "labels").write_text("b 2\na 1\nc 3\n")
    dataset.Manifest([dataset.Row("a.JPEG", "x", 0, None), dataset.Row("a.png", "x", 1, None)], {"x": 2}, {}).save(tmp_path)
    got = dataset.labelled(tmp_path / "labels", tmp_path).rows
    assert got == [("a.JPEG", "x", 0, 1), ("a.png", "x", 1, None), ("b", "b", 0, 2), ("c", "c", 0, 3)]


@pytest.fixture
def prepared(flat):
    """The manifest folder of `flat`'s images in two files of two rows, and flat's label file."""
    rows = [dataset.Row("img_1.JPEG", "b0", 0, 5), dataset.Row("img_2.JPEG", "b0", 1, 7),
            dataset.Row("img_10.JPEG", "b1", 0, 0)]
    dataset.Manifest(rows, {"b0": 2, "b1": 2}, {"demo": True, "limit": None, "bad": {}}).save(flat / "prep")
    return flat / "prep", flat / "val_label.txt"


def edit(folder, **info):
    """Rewrite a manifest with other info."""
    known = dataset.Manifest.load(folder)
    known.info |= info
    known.save(folder)


def test_labels_alone(flat):
    want = [("img_1", "img_1", 0, 5), ("img_2", "img_2", 0, 7), ("img_10", "img_10", 0, 0)]
    for source in (flat, flat / "val", flat / "val_label.txt"):
        got = dataset.labelled(source)
        assert [(r.image.removesuffix(".JPEG"), r.file, r.row, r.label) for r in got.rows] == want
        assert set(got.files.values()) == {1} and got.info == {"demo": False}
    (flat / "DEMO.txt").touch()
    assert all(dataset.labelled(source).info["demo"] for source in (flat, flat / "val", flat / "val_label.txt"))
    (flat / "val_label.txt").unlink()
    with pytest.raises(cli.Failure, match="no labels"):
        dataset.labelled(flat)


@pytest.mark.parametrize("source", ["val_label.txt", "val", "."])
def test_labels_with_a_manifest_keep_its_places(flat, prepared, source):
    assert dataset.labelled(flat / source, prepared[0]) == dataset.Manifest.load(prepared[0])
    # A preprocessing that knew no labels gets them here.
    known = dataset.Manifest.load(prepared[0])
    known.rows = [row._replace(label=None) for row in known.rows]
    known.save(prepared[0])
    assert [r.label for r in dataset.labelled(flat / source, prepared[0]).rows] == [5, 7, 0]


def test_labels_that_disagree_with_the_manifest(prepared):
    prepared[1].write_text("img_1.JPEG 5\nimg_2.JPEG 8\nimg_10.JPEG 0\n")
    with pytest.raises(cli.Failure, match=r"1 labels of .*val_label.txt.*: img_2.JPEG \(8, not 7\)"):
        dataset.labelled(prepared[1], prepared[0])


def test_labels_of_more_or_fewer_images_than_the_manifest(prepared):
    folder, labels = prepared
    labels.write_text("img_1.JPEG 5\nimg_2.JPEG 7\nimg_3.JPEG 9\n")
    rows = {r.image: r for r in dataset.labelled(labels, folder).rows}
    assert rows["img_10.JPEG"].label is None and rows["img_3"].label == 9  # that one has no result and so fails the step
    for info in ({"limit": 3}, {"bad": {"img_3.JPEG": "is gone"}}):
        edit(folder, **{"limit": None, "bad": {}, **info})
        assert len(dataset.labelled(labels, folder).rows) == 3
