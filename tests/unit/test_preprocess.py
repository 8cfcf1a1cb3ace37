"""Bins: content, names and counts at every batch size; what is made again when what has changed;
what is refused before the first image is decoded."""
import argparse
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image
from torchvision import transforms as tv

from common import cli
from common.data import bins, preprocess, transforms
from common.data.manifest import Manifest

RECIPE = transforms.Recipe(16, 8, "bicubic")
REFERENCE = tv.Compose([tv.Resize(16, tv.InterpolationMode.BICUBIC), tv.CenterCrop(8),
                        tv.ToTensor(), tv.Normalize(RECIPE.mean, RECIPE.std)])


def options(**given):
    return argparse.Namespace(**{"jobs": 2, "batch_size": 1, "limit": None, "allow_partial": False,
                                 "input": "float32", **given})


@pytest.fixture
def folder(tmp_path):
    """A model folder with images/val, images/val_label.txt; run it with step()."""
    (tmp_path / "images/val").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(11):
        picture = Image.fromarray(rng.integers(0, 256, (20, 24 + i, 3), dtype=np.uint8))
        picture.save(tmp_path / f"images/val/img_{i}.JPEG")
    write_labels(tmp_path)
    publish(tmp_path)
    return tmp_path


def write_labels(folder, change=None):
    labels = {**{f"img_{i}.JPEG": i * 3 for i in range(11)}, **(change or {})}
    text = "".join(f"{name} {label}\n" for name, label in labels.items())
    (folder / "images/val_label.txt").write_text(text)


def publish(folder, classes=1000, **recipe):
    recipe = {"resize": 16, "crop": 8, "interpolation": "bicubic", **recipe}
    (folder / "published.json").write_text(json.dumps(
        {"model": "Tiny", "classes": classes, "preprocessing": recipe}))


def step(folder, batch=1, **given):
    args = options(batch_size=batch, **given)
    return preprocess.step(folder, folder / "images", folder / "bins", args)


def reference(folder, name):
    return REFERENCE(Image.open(folder / "images/val" / name).convert("RGB")).numpy()


def times(folder):
    return {p.name: p.stat().st_mtime_ns for p in (folder / "bins").iterdir() if p.name[0] != "."}


def changed(folder, before):
    now = times(folder)
    return {name for name in now.keys() | before.keys() if now.get(name) != before.get(name)}


def snapshot(folder):
    """{name: bytes} of bins and manifest.json (without the time and order of the run)."""
    found = {p.name: p.read_bytes() for p in folder.iterdir() if p.suffix == ".bin"}
    content = json.loads((folder / "manifest.json").read_text())
    return {**found, "manifest": {k: v for k, v in content.items() if k not in ("made", "dataset")}}


# ---- content ----

@pytest.mark.parametrize("batch", [1, 4, 16])
def test_every_image_once_at_every_batch_size(folder, batch):
    manifest = step(folder, batch)
    files = {p.stem: np.fromfile(p, np.float32).reshape(-1, 3, 8, 8)
             for p in (folder / "bins").glob("*.bin")}
    assert files.keys() == manifest.files.keys() and len(files) == -(-11 // batch)
    assert Manifest.load(folder / "bins") == manifest
    assert [r.image for r in manifest.rows] == [f"img_{i}.JPEG" for i in range(11)]
    for i, row in enumerate(manifest.rows):
        assert row.label == 3 * i and manifest.files[row.file] == len(files[row.file]) == batch
        np.testing.assert_array_equal(files[row.file][row.row], reference(folder, row.image))
        files[row.file][row.row] = 0
        assert batch > 1 or row.file == f"img_{i}"
    assert not any(content.any() for content in files.values())  # what is no image is zeros


# ---- a second run ----

def test_an_unchanged_set_costs_nothing(folder, capsys):
    step(folder)
    before = times(folder)
    (folder / "bins/.part").mkdir()  # as a killed run leaves it
    code = ("import sys, argparse; from common.data import preprocess\n"
            f"preprocess.step('.', 'images', 'bins', argparse.Namespace(**{vars(options())!r}))\n"
            "assert not {'PIL.Image', 'numpy', 'numba', 'cv2', 'torch', 'tqdm'} & set(sys.modules)")
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=env, capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr
    assert "up to date: 11 bins of 11 images in bins" in done.stdout
    assert changed(folder, before) == set()  # although the images' path is another text


def test_an_unchanged_set_changes_nothing(folder, capsys):
    step(folder)
    before = times(folder)
    for i in range(11):
        os.utime(folder / f"images/val/img_{i}.JPEG")  # a copy of the same content
    assert step(folder) == Manifest.load(folder / "bins") and changed(folder, before) == set()
    assert "up to date" in capsys.readouterr().out.splitlines()[-1]


def replaced(path):
    Image.new("RGB", (30, 30), "red").save(path)


def replaced_in_disguise(path):
    """Other content of the same size, its old time put back."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[-40] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("change", [replaced, replaced_in_disguise])
@pytest.mark.parametrize("batch", [1, 4])
def test_a_changed_image_is_made_again(folder, change, batch):
    step(folder, batch)
    before = times(folder)
    change(folder / "images/val/img_5.JPEG")
    row = next(row for row in step(folder, batch).rows if row.image == "img_5.JPEG")
    assert changed(folder, before) == {f"{row.file}.bin", "manifest.json"}
    got = np.fromfile(folder / f"bins/{row.file}.bin", np.float32).reshape(-1, 3, 8, 8)[row.row]
    np.testing.assert_array_equal(got, reference(folder, "img_5.JPEG"))


def test_bins_that_are_damaged_are_made_again(folder):
    step(folder)
    want, before = snapshot(folder / "bins"), times(folder)
    os.truncate(folder / "bins/img_5.bin", 10)
    (folder / "bins/img_7.bin").unlink()
    (folder / "bins/img_3.bin").write_bytes(bytes(8 * 8 * 3 * 4))
    step(folder)
    assert snapshot(folder / "bins") == want
    # What was made from them has not changed: manifest.json keeps its time.
    assert changed(folder, before) == {"img_3.bin", "img_5.bin", "img_7.bin"}


@pytest.mark.parametrize("what", ["recipe", "input", "pillow", "code", "journal"])
def test_other_settings_make_all_again(folder, monkeypatch, what):
    step(folder)
    before, given = times(folder), {}
    if what == "recipe":
        publish(folder, interpolation="bilinear")
    elif what == "input":
        given = {"input": "uint8"}
    elif what == "journal":
        (folder / "bins/.journal").write_bytes(b"\0" * 99)
    elif what == "pillow":
        monkeypatch.setattr(preprocess.PIL, "__version__", "another")
    else:
        monkeypatch.setattr(preprocess, "code_digest", lambda: "another")
    info = step(folder, **given).info
    kept = {"manifest.json"} if what == "journal" else set()
    assert changed(folder, before) == before.keys() - kept
    wanted = transforms.Recipe(16, 8, "bilinear" if what == "recipe" else "bicubic")
    pixels = wanted.pixels(transforms.load(folder / "images/val/img_3.JPEG"))
    got = np.fromfile(folder / "bins/img_3.bin", info["dtype"]).reshape(info["shape"])
    np.testing.assert_array_equal(got, pixels if what == "input" else transforms.normalize(pixels))


def test_what_shapes_a_bin_is_in_the_hash_of_the_code(monkeypatch, tmp_path):
    before = preprocess.code_digest()
    for name in ("transforms.py", "recipe.py", "bins.py", "fast_jpeg.py"):
        shutil.copytree(ROOT / "common/data", tmp_path / name)
        with open(tmp_path / name / name, "a") as f:
            f.write("# changed\n")
        monkeypatch.setattr(preprocess, "__file__", str(tmp_path / name / "preprocess.py"))
        assert (preprocess.code_digest() == before) == (name == "fast_jpeg.py"), name


@pytest.mark.parametrize("behind_link", [False, True])
def test_changed_labels_change_the_manifest_alone(folder, behind_link):
    path = folder / "images/val_label.txt"
    if behind_link:
        path = path.rename(folder / "real.txt")
        (folder / "images/val_label.txt").symlink_to(path)
    step(folder)
    before = times(folder)
    path.write_text(path.read_text().replace("img_2.JPEG 6", "img_2.JPEG 7"))
    assert step(folder).rows[2].label == 7 and changed(folder, before) == {"manifest.json"}


@pytest.mark.parametrize("root", ["images", "images/val", "images/images"])
def test_class_folders_whose_images_change(folder, root):
    val = folder / "images/images" if root.endswith("images/images") else folder / "images/val"
    (folder / "images/val").rename(val) if val.name == "images" else None
    (folder / "images/val_label.txt").unlink()
    for i, name in enumerate(["n01440764", "n01443537"]):
        (val / name).mkdir()
        for k in range(i, 11, 2):
            (val / f"img_{k}.JPEG").rename(val / name / f"img_{k}.JPEG")

    def labels():
        made = preprocess.step(folder, folder / root, folder / "bins", options())
        assert {row.file for row in made.rows} == {p.stem for p in (folder / "bins").glob("*.bin")}
        return {row.image: row.label for row in Manifest.load(folder / "bins").rows}

    assert labels()["n01440764/img_2.JPEG"] == 0
    (val / "n01440764/img_2.JPEG").rename(val / "n01443537/img_2.JPEG")
    assert labels()["n01443537/img_2.JPEG"] == 1
    (val / "n01443537/img_2.JPEG").unlink()
    assert len(labels()) == 10
    shutil.copy2(val / "n01440764/img_4.JPEG", val / "n01440764/new.JPEG")
    assert labels()["n01440764/new.JPEG"] == 0


def test_limit_takes_away_and_adds_bins(folder):
    few = step(folder, limit=4)
    assert len(few.files) == 4 == few.info["limit"] and few.info["dataset_total"] == 11
    assert step(folder).info["limit"] is None and len(list((folder / "bins").glob("*.bin"))) == 11
    step(folder, limit=2)
    assert len(list((folder / "bins").glob("*.bin"))) == 2


@pytest.mark.parametrize("batch", [1, 4])
def test_an_interrupted_run_goes_on_to_the_same_bytes(folder, batch, monkeypatch):
    step(folder, batch)
    whole = snapshot(folder / "bins")
    for path in (folder / "bins").glob("[!m]*"):  # the manifest of the run before is left
        path.unlink()
    done, fill = [], bins.fill

    def stop(*args):
        if len(done) == 6:
            raise KeyboardInterrupt
        done.append(1)
        fill(*args)

    monkeypatch.setattr(bins, "fill", stop)
    with pytest.raises(KeyboardInterrupt):
        step(folder, batch, jobs=1)
    assert not (folder / "bins/manifest.json").exists()
    first = times(folder)
    assert 0 < len(first) < -(-11 // batch)
    (folder / "bins/.part/half").write_bytes(b"kill -9 leaves this")
    with open(folder / "bins/.journal", "a") as f:
        f.write('["img_9", ["img_9.JP')  # cut short
    monkeypatch.setattr(bins, "fill", fill)
    step(folder, batch)
    assert snapshot(folder / "bins") == whole and not changed(folder, first) & first.keys()
    assert not (folder / "bins/.part").exists()


def test_a_bin_has_its_name_only_when_it_is_whole(folder, monkeypatch):
    """A full disk, noticed at the end of a file: nothing with a bin's name, the file is named."""
    replace = os.replace

    def full(source, target):
        if str(target).endswith(".bin"):
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(bins.os, "replace", full)
    with pytest.raises(OSError, match="No space left .*img_0.bin"):
        step(folder, jobs=1)
    assert not list((folder / "bins").glob("*.bin"))


def test_foreign_bins_are_not_touched(folder):
    (folder / "bins").mkdir()
    (folder / "bins/precious.bin").write_bytes(b"x")
    with pytest.raises(cli.Failure, match="not of this step .precious.bin"):
        step(folder)
    assert (folder / "bins/precious.bin").read_bytes() == b"x"


# ---- images that cannot be read ----

@pytest.mark.parametrize("batch", [1, 4])
def test_bad_images_are_all_named_and_fail_the_step(folder, batch, capsys):
    val = folder / "images/val"
    whole = (val / "img_1.JPEG").read_bytes()
    (val / "img_1.JPEG").write_bytes(whole[:-200])
    (val / "img_4.JPEG").write_bytes(b"")
    (val / "img_8.JPEG").write_text("<html>")
    (val / "img_9.JPEG").unlink()
    (val / "img_9.JPEG").symlink_to("nowhere")
    with pytest.raises(cli.Failure, match="4 of 11 images could not be read"):
        step(folder, batch)
    said = capsys.readouterr().out
    assert "bad image: img_1.JPEG: image file is truncated" in said
    assert "bad image: img_4.JPEG: is no image (JPEG" in said
    assert "bad image: img_8.JPEG: is no image (JPEG" in said
    assert "bad image: img_9.JPEG: is gone" in said
    assert not (folder / "bins/manifest.json").exists()

    manifest = step(folder, batch, allow_partial=True)
    assert len(manifest.rows) == 7 and set(manifest.info["bad"]) == {
        f"img_{i}.JPEG" for i in (1, 4, 8, 9)}
    assert "4 missing (partial)" in capsys.readouterr().out
    assert {p.stem for p in (folder / "bins").glob("*.bin")} == set(manifest.files)
    time = (folder / "bins/manifest.json").stat().st_mtime_ns
    assert step(folder, batch, allow_partial=True) == manifest
    assert (folder / "bins/manifest.json").stat().st_mtime_ns == time  # no work for make

    (val / "img_9.JPEG").unlink()
    (val / "img_1.JPEG").write_bytes(whole)
    for i in (4, 8, 9):
        Image.new("RGB", (30, 30 + i), "blue").save(val / f"img_{i}.JPEG")
    step(folder, batch)
    mended = snapshot(folder / "bins")
    shutil.rmtree(folder / "bins")
    step(folder, batch)
    assert snapshot(folder / "bins") == mended


def test_all_bad(folder, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(cli.Failure, match="none of the 11 images"):
        step(folder, allow_partial=True)


def test_files_that_are_no_images_by_their_ending(folder, capsys):
    for name in ("a.JPEG.1", "b.heic"):
        (folder / "images/val" / name).write_bytes(b"x")
    with pytest.raises(cli.Failure, match="2 files are no images .*: a.JPEG.1, b.heic"):
        step(folder)
    assert not (folder / "bins").exists()
    assert step(folder, allow_partial=True).info["bad"].keys() == {"a.JPEG.1", "b.heic"}
    assert "2 missing (partial)" in capsys.readouterr().out
    with pytest.raises(cli.Failure, match="2 files"):
        step(folder)


# ---- checked before the first image is decoded ----

@pytest.mark.parametrize("change, classes, said", [
    ({"img_4.JPEG": 1000}, 1000, "count from 1"), ({"img_4.JPEG": 40}, 40, "count from 1"),
    ({"img_4.JPEG": 99}, 40, "class 99 is not in 0 … 39"),
    ({"x.JPEG": 1}, 1000, "without an image")])
def test_labels_are_checked_first(folder, monkeypatch, change, classes, said):
    monkeypatch.setattr(bins, "bring_up_to_date", None)
    write_labels(folder, change)
    publish(folder, classes)
    with pytest.raises(cli.Failure, match=said):
        step(folder)


def test_labels_that_are_positions_are_said(folder, capsys):
    (folder / "images/val_label.txt").unlink()
    for i, name in enumerate("ab"):
        (folder / "images/val" / name).mkdir()
        for k in range(i, 11, 2):
            path = folder / f"images/val/img_{k}.JPEG"
            path.rename(path.parent / name / path.name)
    for _ in range(2):
        assert step(folder).info["labels_from"] == "labels are positions of 2 folders"
        assert "note: labels are positions of 2 folders" in capsys.readouterr().out
    publish(folder, classes=1)
    with pytest.raises(cli.Failure, match="2 class folders"):
        step(folder)


# ---- where the images are not, and what is written beside the manifest ----

def test_bins_are_enough_where_the_images_are_not(folder, capsys):
    step(folder)
    before = times(folder)
    (folder / "images").rename(folder / "away")
    assert len(step(folder).rows) == 11 and changed(folder, before) == set()
    assert "images is not here" in capsys.readouterr().out
    assert len(step(folder, limit=11).rows) == 11
    for given in ({"input": "uint8"}, {"batch": 4}, {"limit": 4}):
        with pytest.raises(cli.Failure, match="made with another .* does not exist"):
            step(folder, **given)
    os.truncate(folder / "bins/img_5.bin", 10)
    with pytest.raises(cli.Failure, match="1 bins of another size: img_5.bin"):
        step(folder)
    shutil.rmtree(folder / "bins")
    with pytest.raises(cli.Failure, match="image folder .* does not exist"):
        step(folder)
