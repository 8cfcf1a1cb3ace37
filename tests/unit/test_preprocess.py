"""Bins: content, names, counts at every batch size; resuming, changed sources, bad images."""
import argparse
import os

import numpy as np
import pytest
from PIL import Image

from common import cli
from common.data import dataset, preprocess, transforms

RECIPE = transforms.Recipe(16, 8, "bicubic")


def options(**given):
    return argparse.Namespace(**{"jobs": 2, "limit": None, "allow_partial": False, "input": "float32", **given})


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "images" / "val"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(11):
        Image.fromarray(rng.integers(0, 256, (20, 24 + i, 3), dtype=np.uint8)).save(folder / f"img_{i}.JPEG")
    (folder.parent / "val_label.txt").write_text("".join(f"img_{i}.JPEG {i * 3}\n" for i in range(11)))
    return dataset.find(folder.parent)


def snapshot(folder):
    """{name: bytes} of everything but the lock."""
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != ".lock"}


@pytest.mark.parametrize("batch", [1, 2, 4, 8, 11, 16])
def test_every_image_once_at_every_batch_size(data, tmp_path, batch):
    manifest = preprocess.run(data, tmp_path / "bins", RECIPE, options(), batch)
    assert len(list((tmp_path / "bins").glob("*.bin"))) == -(-11 // batch) == len(manifest.files)
    assert dataset.Manifest.load(tmp_path / "bins") == manifest
    assert sorted(r.image for r in manifest.rows) == sorted(i.path.name for i in data.images)
    labels = {i.path.name: i.label for i in data.images}
    used = {name: set() for name in manifest.files}
    for row in manifest.rows:
        content = np.fromfile(tmp_path / "bins" / f"{row.file}.bin", np.float32).reshape(-1, 3, 8, 8)
        assert len(content) == manifest.files[row.file] == batch
        np.testing.assert_array_equal(content[row.row], RECIPE(transforms.load(data.root / "val" / row.image)))
        assert row.label == labels[row.image]
        used[row.file].add(row.row)
        assert batch > 1 or row.file == row.image.removesuffix(".JPEG")
    for name, rows in used.items():  # what is no image is zeros
        content = np.fromfile(tmp_path / "bins" / f"{name}.bin", np.float32).reshape(-1, 3, 8, 8)
        assert not content[sorted(set(range(batch)) - rows)].any()


def test_second_run_writes_no_bin_and_the_same_bytes(data, tmp_path):
    preprocess.run(data, tmp_path / "bins", RECIPE, options())
    before, times = snapshot(tmp_path / "bins"), {p: p.stat().st_mtime_ns for p in (tmp_path / "bins").glob("*.bin")}
    preprocess.run(data, tmp_path / "bins", RECIPE, options())
    assert snapshot(tmp_path / "bins") == before
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "bins").glob("*.bin")} == times


@pytest.mark.parametrize("batch", [1, 4])
def test_interrupted_run_goes_on_to_the_same_bytes(data, tmp_path, batch, monkeypatch):
    preprocess.run(data, tmp_path / "whole", RECIPE, options(), batch)
    done = []

    class Stop(transforms.Recipe):
        def __call__(self, image):
            if len(done) == 6:
                raise KeyboardInterrupt
            done.append(1)
            return super().__call__(image)

    with pytest.raises(KeyboardInterrupt):
        preprocess.run(data, tmp_path / "bins", Stop(16, 8, "bicubic"), options(jobs=1), batch)
    assert not (tmp_path / "bins" / "manifest.json").exists()
    finished = {p.name for p in (tmp_path / "bins").glob("*.bin")}
    assert 0 < len(finished) < -(-11 // batch)
    (tmp_path / "bins" / ".part" / "half").write_bytes(b"kill -9 leaves this")
    with open(tmp_path / "bins" / ".journal", "a") as f:
        f.write("img_9 abc")  # cut short
    preprocess.run(data, tmp_path / "bins", RECIPE, options(), batch)
    assert snapshot(tmp_path / "bins") == snapshot(tmp_path / "whole")


def test_what_changed_is_made_again(data, tmp_path):
    bins = tmp_path / "bins"
    preprocess.run(data, bins, RECIPE, options())
    fresh = {p.stem: p.stat().st_mtime_ns for p in bins.glob("*.bin")}
    Image.new("RGB", (30, 30), "red").save(data.images[3].path)
    os.truncate(bins / "img_5.bin", 10)
    (bins / "img_7.bin").unlink()
    preprocess.run(data, bins, RECIPE, options())
    assert {p.stem for p in bins.glob("*.bin") if p.stat().st_mtime_ns != fresh[p.stem]} == {"img_3", "img_5", "img_7"}
    np.testing.assert_array_equal(np.fromfile(bins / "img_3.bin", np.float32).reshape(3, 8, 8),
                                  RECIPE(transforms.load(data.images[3].path)))
    other = transforms.Recipe(16, 8, "bilinear")
    preprocess.run(data, bins, other, options())
    np.testing.assert_array_equal(np.fromfile(bins / "img_0.bin", np.float32).reshape(3, 8, 8),
                                  other(transforms.load(data.images[0].path)))


def test_limit_takes_away_and_adds_bins(data, tmp_path):
    few = preprocess.run(data, tmp_path / "bins", RECIPE, options(limit=4))
    assert len(list((tmp_path / "bins").glob("*.bin"))) == 4 and few.info["limit"] == 4 and few.info["dataset_total"] == 11
    assert preprocess.run(data, tmp_path / "bins", RECIPE, options()).info["limit"] is None
    assert len(list((tmp_path / "bins").glob("*.bin"))) == 11
    preprocess.run(data, tmp_path / "bins", RECIPE, options(limit=2))
    assert len(list((tmp_path / "bins").glob("*.bin"))) == 2


@pytest.mark.parametrize("batch", [1, 4])
def test_bad_images_are_all_named_and_fail_the_step(data, tmp_path, batch, capsys):
    whole = data.images[1].path.read_bytes()
    data.images[1].path.write_bytes(whole[:len(whole) // 2])
    data.images[4].path.write_bytes(b"")
    data.images[8].path.write_text("<html>")
    data.images[9].path.unlink()
    with pytest.raises(cli.Failure, match="4 of 11 images could not be read"):
        preprocess.run(data, tmp_path / "bins", RECIPE, options(), batch)
    said = capsys.readouterr().out
    assert all(f"{data.images[i].path.name}:" in said for i in (1, 4, 8, 9))
    assert not (tmp_path / "bins" / "manifest.json").exists()

    manifest = preprocess.run(data, tmp_path / "bins", RECIPE, options(allow_partial=True), batch)
    assert len(manifest.rows) == 7 and set(manifest.info["bad"]) == {f"img_{i}.JPEG" for i in (1, 4, 8, 9)}
    assert "4 missing (partial)" in capsys.readouterr().out
    assert {p.stem for p in (tmp_path / "bins").glob("*.bin")} == set(manifest.files)

    data.images[1].path.write_bytes(whole)
    for i in (4, 8, 9):
        Image.new("RGB", (30, 30 + i), "blue").save(data.images[i].path)
    preprocess.run(data, tmp_path / "bins", RECIPE, options(), batch)
    preprocess.run(data, tmp_path / "undisturbed", RECIPE, options(), batch)
    assert snapshot(tmp_path / "bins") == snapshot(tmp_path / "undisturbed")


def test_foreign_bins_are_not_touched(data, tmp_path):
    (tmp_path / "bins").mkdir()
    (tmp_path / "bins" / "precious.bin").write_bytes(b"x")
    with pytest.raises(cli.Failure, match="precious.bin"):
        preprocess.run(data, tmp_path / "bins", RECIPE, options())
    assert (tmp_path / "bins" / "precious.bin").exists()


def test_decompression_bomb_is_a_bad_image(data, tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(cli.Failure, match="none of the 11 images"):
        preprocess.run(data, tmp_path / "bins", RECIPE, options())
