"""manifest.json: what is written is read, damage is refused, and bins, images and labels at hand
are held against it. And the names that bins get."""
import json
import re

import numpy as np
import pytest
from PIL import Image

from common import cli
from common.data import labels, manifest, names
from common.data.manifest import Manifest, Row


def test_round_trip_and_damage(tmp_path):
    rows = [Row("cat/é b.JPEG", "a", 0, 3), Row('"\n.JPEG', "b", 1, None), Row("c", "b", 0, 999)]
    want = Manifest(rows, {"a": 2, "b": 2}, {"demo": True, "bad": {}, "shape": [3, 8, 8]})
    want.save(tmp_path)
    assert Manifest.load(tmp_path) == want == Manifest.load(tmp_path / "manifest.json")
    content = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))
    assert content["images"] == [list(row) for row in rows] and content["demo"] is True
    for odd in ({"images": [["a", "a", 2, 0]]}, {"images": [["a", "x", 0, 0]]}, {"shape": ["8"]},
                {"images": [["a", "a", 0, "7"]]}, {"files": {"a": "2"}}, {"files": ["a"]},
                {"images": {"abcd": 1}}, {"images": [["a", "a", True, 0]]}, {"recipe": 5}):
        (tmp_path / "manifest.json").write_text(json.dumps({**content, **odd}))
        with pytest.raises(cli.Failure, match="is no manifest .*make prep"):
            Manifest.load(tmp_path)
    (tmp_path / "manifest.json").write_text('{"images": [')
    with pytest.raises(cli.Failure, match="is not JSON"):
        Manifest.load(tmp_path)
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(cli.Failure, match="does not exist .*make prep"):
        Manifest.load(tmp_path)


def test_bins_are_held_against_it(tmp_path):
    for stem in "ab":
        np.zeros((2, 3, 2, 2), np.float32).tofile(tmp_path / f"{stem}.bin")
    known = Manifest([Row("a.JPEG", "a", 0, 0)], {"a": 2, "b": 2}, {
        "shape": [3, 2, 2], "dtype": "float32", "probe": {"b": cli.sha256(tmp_path / "b.bin")}})
    known.check_bins(tmp_path)
    known.check_type("float32", "x.om")
    with pytest.raises(cli.Failure, match="the bins hold float32, x.om takes uint8"):
        known.check_type("uint8", "x.om")
    np.ones((2, 3, 2, 2), np.float32).tofile(tmp_path / "b.bin")
    with pytest.raises(cli.Failure, match="1 bins of other content: b"):
        known.check_bins(tmp_path)
    (tmp_path / "a.bin").unlink()
    (tmp_path / "b.bin").write_bytes(bytes(9))
    with pytest.raises(cli.Failure, match=r"missing: a.bin; .* b.bin \(9 bytes, not 96\)"):
        known.check_bins(tmp_path)


# ---- names ----

def test_own_stems_where_they_are_safe_and_unique():
    images = [f"n01440764/ILSVRC2012_val_{i:08d}.JPEG" for i in range(9)] + ["-rf.png", "sub/_.jpg"]
    assert names.stems(images) == [re.sub(r".*/|\.\w+$", "", name) for name in images]


# ImageNet-A and -R: blanks, dots, one name in several class folders
ODD = ["n01498041/0.000116_digital clock _ digital clock_0.865662.jpg", "n01/art_0.jpg",
       "n02/art_0.jpg", "a.JPEG", "a.png", "图像.JPEG", "x\ny.JPEG", "$(touch ran).JPEG", "é.JPEG",
       "a" * 230 + ".JPEG", ".JPEG.JPEG", "'.JPEG", "a b.JPEG", "a_b.JPEG", "e\u0301.JPEG"]


def test_safe_and_unique_stems_for_all_others():
    stems = names.stems(ODD)
    assert len(set(stems)) == len(ODD)
    assert all(re.fullmatch("[A-Za-z0-9_-]{1,150}", stem) for stem in stems)
    own = [stem for stem, name in zip(stems, ODD, strict=True) if f"{stem}." in name]
    assert own == ["a_b"]
    # they stay the same when other images come and go
    assert names.stems(ODD[::-1])[::-1] == stems and names.stems(ODD[:1]) == stems[:1]


def test_natural_order():
    want = ["b/img1.JPEG", "a/img2.JPEG", "a/IMG10.JPEG", "b/img010.JPEG", "b/img_1.JPEG"]
    assert names.in_order(want[::-1]) == want
    alike = [f"{f}/x_{i:04d}.JPEG" for i in range(99, 0, -1) for f in "ba"]
    assert names.in_order(alike) == sorted(alike, key=lambda n: (n[2:], n))


# ---- labels for the scoring ----

@pytest.fixture
def prepared(tmp_path):
    """Images with labels beside them, and the manifest of two bins with two rows each."""
    (tmp_path / "val").mkdir()
    for i in (1, 2, 10):
        Image.new("RGB", (4, 4)).save(tmp_path / f"val/img_{i}.JPEG")
    (tmp_path / "val_label.txt").write_text("img_1.JPEG 5\nimg_2.JPEG 7\nimg_10.JPEG 0\n")
    rows = [Row("img_1.JPEG", "b0", 0, 5), Row("img_2.JPEG", "b0", 1, 7),
            Row("img_10.JPEG", "b1", 0, 0)]
    Manifest(rows, {"b0": 2, "b1": 2}, {"limit": None, "bad": {}}).save(tmp_path / "prep")
    return tmp_path


def test_labels_alone(prepared):
    for source in (".", "val", "val_label.txt"):
        got = manifest.labelled(prepared / source)
        assert {(r.file, r.row, r.label) for r in got.rows} == {
            ("img_1", 0, 5), ("img_2", 0, 7), ("img_10", 0, 0)}
        assert set(got.files.values()) == {1} and got.info["demo"] is False
    (prepared / "DEMO.txt").touch()
    assert all(manifest.labelled(prepared / s).info["demo"] for s in (".", "val", "val_label.txt"))


@pytest.mark.parametrize("source", ["val_label.txt", "val", "."])
def test_labels_with_a_manifest_keep_its_places(prepared, source):
    known = Manifest.load(prepared / "prep")
    assert manifest.labelled(prepared / source, prepared / "prep") == known
    unlabelled = Manifest([row._replace(label=None) for row in known.rows], known.files, known.info)
    unlabelled.save(prepared / "prep")
    assert manifest.labelled(prepared / source, prepared / "prep") == known


def test_labels_that_disagree_with_the_manifest(prepared):
    (prepared / "val_label.txt").write_text("img_1.JPEG 5\nimg_2.JPEG 8\nimg_10.JPEG 0\n")
    for source in ("val_label.txt", "val"):
        with pytest.raises(cli.Failure, match=r"1 labels of .*: img_2.JPEG \(8, not 7\)"):
            manifest.labelled(prepared / source, prepared / "prep")


def test_labels_of_more_or_fewer_images_than_the_manifest(prepared):
    file = prepared / "val_label.txt"
    file.write_text("img_1.JPEG 5\nimg_2.JPEG 7\nimg_3.JPEG 9\n")
    rows = {r.image: r for r in manifest.labelled(file, prepared / "prep").rows}
    assert rows["img_10.JPEG"].label is None
    assert rows["img_3"].label == 9  # it has no result and so fails the scoring
    for info in ({"limit": 3}, {"bad": {"img_3.JPEG": "is gone"}}):
        known = Manifest.load(prepared / "prep")
        known.info.update({"limit": None, "bad": {}, **info})
        known.save(prepared / "prep")
        assert len(manifest.labelled(file, prepared / "prep").rows) == 3


def test_labels_that_are_not_there(prepared):
    for args in (("/nowhere/val_label.txt", prepared / "prep"), ("/nowhere/imagenet",)):
        with pytest.raises(cli.Failure, match="does not exist"):
            manifest.labelled(*args)


def test_a_subset_of_images_with_one_name_in_two_folders(tmp_path):
    """The label of dog/x, which is not in the subset, is not taken for that of cat/x."""
    Manifest([Row("cat/x.jpg", "x-1", 0, 1)], {"x-1": 1}, {"limit": 1}).save(tmp_path)
    (tmp_path / "labels.txt").write_text("cat/x.jpg 1\ndog/x.jpg 2\n")
    assert manifest.labelled(tmp_path / "labels.txt", tmp_path).rows == [("cat/x.jpg", "x-1", 0, 1)]
    assert labels.read_labels(tmp_path / "labels.txt") == {"cat/x": 1, "dog/x": 2}
