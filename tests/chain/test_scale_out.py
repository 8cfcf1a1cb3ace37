"""The chain over a Ray cluster. What needs Ray is skipped where requirements-scale.txt is not
installed."""
import dataclasses
import importlib.util
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time

import graphs
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ascend import FAKES
from conftest import ROOT
from PIL import Image

from common import cli, provenance, published
from common.cpu import compiler, engine
from common.data import dataset, preprocess, transforms
from common.score import metrics
from tools.scale import scale_blocks, scale_list, scale_out, scale_ray, scale_stages, size_cluster

RECIPE = transforms.Recipe(resize=36, crop=32, interpolation="bilinear")
MISSING_RAY = not importlib.util.find_spec("ray")
needs_ray = pytest.mark.skipif(MISSING_RAY, reason="pip install -r requirements-scale.txt")


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """A small model for batches of 4 that was compiled for this CPU: (path, its record)."""
    folder = tmp_path_factory.mktemp("model")
    graphs.make_onnx(folder / "tiny.onnx", 1000, shape=(3, 32, 32), demo=True,
                     preprocessing=RECIPE.as_dict())
    compiler.compile_onnx(folder / "tiny.onnx", 4, "openvino", folder / "tiny.blob", arguments=[])
    return folder / "tiny.blob", json.loads((folder / "tiny.blob.json").read_text())


def make_images(folder, count, suffix="png"):
    """A flat folder of `count` images with labels; returns the folder that holds val/."""
    (folder / "val").mkdir(parents=True)
    lines = []
    for i in range(count):
        size = (40 + i % 7, 50, 3)
        pixels = np.random.default_rng(i).integers(0, 256, size, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"val/img_{i}.{suffix}")
        lines.append(f"img_{i}.{suffix} {i * 7 % 1000}\n")
    (folder / "val_label.txt").write_text("".join(lines))
    return folder


def rows(folder):
    """All rows of a folder of parts."""
    return [row for part in sorted(folder.glob("part-*.parquet"))
            for row in pq.read_table(part).to_pylist()]


# ---- the listing ----

def test_a_folder_is_listed_in_natural_order_with_its_labels(tmp_path):
    images, about = scale_list.listing(make_images(tmp_path, 12))
    assert [i.name for i in images] == [f"img_{i}.png" for i in range(12)] and not about.demo
    assert [i.label for i in images] == [i * 7 for i in range(12)]


def test_a_uri_is_searched_with_its_folders(tmp_path):
    folder = make_images(tmp_path / "with space", 3) / "val"
    (folder / "sub").mkdir()
    (folder / "img_1.png").rename(folder / "sub/a #1.png")
    images, _ = scale_list.listing(f"file://{tmp_path}/with%20space/val")
    assert [i.name for i in images] == ["img_0.png", "img_2.png", "sub/a #1.png"]
    assert {i.label for i in images} == {None}
    seen = scale_stages.load(images[2].path)
    assert seen.tobytes() == Image.open(folder / "sub/a #1.png").convert("RGB").tobytes()
    (folder / "sub/a #1.png").write_bytes(b"not an image")
    (folder / "img_0.png").unlink()
    _, errors, _ = scale_stages.pixels(images, RECIPE, "uint8")
    assert set(errors) == {0, 2} and "is no image" in errors[2] and "gone" in errors[0]
    for uri, said in ((f"file://{tmp_path}/none", "cannot be listed"),
                      ("ftp://host/folder", "a URI that pyarrow reads")):
        with pytest.raises(cli.Failure, match=said):
            scale_list.listing(uri)


def test_lists_of_paths(tmp_path):
    make_images(tmp_path, 3)
    (tmp_path / "list.txt").write_text(
        f"val/img_2.png\n\n{tmp_path}/val/img_0.png\nfile://{tmp_path}/val/img_1.png\n")
    images, _ = scale_list.listing(tmp_path / "list.txt", tmp_path / "val_label.txt")
    assert sorted(i.label for i in images) == [0, 7, 14]
    assert all(scale_stages.load(i.path).height == 40 + int(i.name[-5]) for i in images)
    pq.write_table(pa.table({"path": ["val/img_1.png", "val/img_0.png"], "label": [5, 6]}),
                   tmp_path / "list.parquet")
    images, _ = scale_list.listing(tmp_path / "list.parquet")
    assert [(i.name, i.label) for i in images] == [("val/img_0.png", 6), ("val/img_1.png", 5)]


@pytest.mark.parametrize("columns, said", [
    ({"path": ["a.png", "b.png", "a.png"]}, "1 names that come twice: a.png"),
    ({"path": pa.array([], pa.string())}, "names no images"),
    ({"path": ["a.png", "b.png"], "label": [1, None]}, "1 of 2 images have no label: b.png"),
    ({"path": ["a.png"], "label": [1000]}, r"labels outside 0…999: a.png \(1000\)"),
    ({"path": ["a.png"], "label": ["cat"]}, "row 0 has path 'a.png', label 'cat'"),
    ({"path": ["a.png", None]}, "row 1 has path None, label None"),
    ({"file": ["a.png"]}, "no column `path`")])
def test_a_list_that_does_not_add_up_is_refused(tmp_path, columns, said):
    pq.write_table(pa.table(columns), tmp_path / "list.parquet")
    with pytest.raises(cli.Failure, match=said):
        scale_list.listing(tmp_path / "list.parquet")


def test_what_is_left_over_is_refused_unless_partial(tmp_path):
    """Files that are no images, in a folder and below a URI, and labels of no image."""
    make_images(tmp_path, 3)
    for name in ("sub", "__MACOSX"):
        (tmp_path / "val" / name).mkdir()
    for name in ("sub/img_3.heic", ".hidden.png", "__MACOSX/img_0.png"):
        (tmp_path / "val" / name).write_text("")
    (tmp_path / "list.txt").write_text("val/img_0.png\nval/img_1.png\n")
    strays = "1 files are no images by their endings: sub/img_3.heic"
    left = f"1 labels in {tmp_path}/val_label.txt without an image, or of several: img_2"
    for source, names, said in ((tmp_path, (), strays), (f"file://{tmp_path}/val", (), strays),
                                (tmp_path / "list.txt", (tmp_path / "val_label.txt",), left)):
        with pytest.raises(cli.Failure) as failed:
            scale_list.listing(source, *names)
        assert f"{source}: {said} — " in str(failed.value)
        assert "--allow-partial" in str(failed.value)
        images, about = scale_list.listing(source, *names, allow_partial=True)
        assert about.notes == (said,) and len(images) == (2 if names else 3)
        assert about.strays == (() if names else ("sub/img_3.heic",))


def test_files_that_are_no_list_are_refused(tmp_path):
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    for name, said in (("bytes.txt", "no list of images"), ("gone.txt", "not exist")):
        with pytest.raises(cli.Failure, match=said):
            scale_list.listing(tmp_path / name)


# ---- settings and parts ----

def test_a_folder_of_other_settings_is_refused(tmp_path, monkeypatch):
    images = [scale_list.Image("a", "a", 1)]
    facts = {"engine": "openvino", "engine_version": "1", "precision": "f32", "batch": 8,
             "made": {"sha256": "0"}}
    first = scale_blocks.settings(images, 64, facts, recipe=RECIPE.as_dict())
    scale_blocks.accept(tmp_path, first)
    (tmp_path / ".ab.part-000000.parquet").write_text("half")
    scale_blocks.accept(tmp_path, first)
    assert not (tmp_path / ".ab.part-000000.parquet").exists()
    others = {"block": (images, 32, facts, RECIPE),
              "sha256": (images, 64, {**facts, "made": {"sha256": "1"}}, RECIPE),
              "precision": (images, 64, {**facts, "precision": "f16"}, RECIPE),
              "bicubic": (images, 64, facts, transforms.Recipe()),
              "listing": ([dataclasses.replace(images[0], label=2)], 64, facts, RECIPE)}
    for word, (*other, recipe) in others.items():
        with pytest.raises(cli.Failure, match=f"other settings: .*{word}"):
            scale_blocks.accept(tmp_path, scale_blocks.settings(*other, recipe=recipe.as_dict()))
    for word, where, what, value in (("pillow", scale_blocks.PIL, "__version__", "1.0"),
                                     ("code", preprocess, "CODE", ("bins.py",))):
        with monkeypatch.context() as other, pytest.raises(cli.Failure, match=f"settings: {word}"):
            other.setattr(where, what, value)
            scale_blocks.accept(tmp_path, scale_blocks.settings(
                images, 64, facts, recipe=RECIPE.as_dict()))
    (tmp_path / "_settings.json").unlink()
    (tmp_path / "part-000000.parquet").write_text("")
    with pytest.raises(cli.Failure, match="no _settings.json"):
        scale_blocks.accept(tmp_path, first)


@pytest.fixture
def blocks():
    """20 images in three blocks, and logits for them of which many are equal."""
    rng = np.random.default_rng(0)
    images = [scale_list.Image(f"img_{i}", f"/img_{i}", int(rng.integers(10)), "9 1")
              for i in range(20)]
    logits = rng.integers(0, 4, (20, 1000)).astype(np.float32)
    return [images[i:i + 8] for i in range(0, 20, 8)], logits


def write(folder, blocks, logits, i, errors=None, keep_logits=False):
    path = scale_blocks.part_path(folder, i)
    scale_blocks.write_part(path, blocks[i], logits[8 * i:8 * i + 8], errors or {}, keep_logits)
    return path


def test_parts_resume_and_score(tmp_path, blocks):
    blocks, logits = blocks
    images = [image for block in blocks for image in block]
    assert scale_blocks.pending(tmp_path, blocks, False) == [0, 1, 2]
    first = write(tmp_path, blocks, logits, 0, keep_logits=True)
    write(tmp_path, blocks, logits, 2, {1: "broken"})
    assert scale_blocks.pending(tmp_path, blocks, True) == [1]
    assert scale_blocks.pending(tmp_path, blocks, False) == [1, 2], "replaced images: another try"
    with pytest.raises(cli.Failure, match="part-000001.parquet is missing"):
        scale_blocks.read_results(tmp_path, blocks)
    second = write(tmp_path, blocks, logits, 1)
    score, bad = scale_blocks.read_results(tmp_path, blocks)
    good = [i for i in range(20) if i != 17]
    labels = np.array([images[i].label for i in good])
    assert score.counts == metrics.topk(logits[good], labels) and score.total == 19
    assert bad == {"img_17": "broken"} and score.line().endswith("total=19 missing=1 partial")
    found = rows(tmp_path)
    assert [r["name"] for r in found] == [i.name for i in images]
    assert found[17]["top5"] is None and found[17]["error"] == "broken"
    assert np.array_equal(found[3]["logits"], logits[3]) and "logits" not in found[9]
    assert found[9]["top5"][0] == logits[9].argmax()
    assert found[9]["scores"] == sorted(logits[9])[::-1][:5]
    before = first.read_bytes()
    write(tmp_path, blocks, logits, 0, keep_logits=True)
    assert first.read_bytes() == before, "a block that is done twice changes nothing"
    second.write_bytes(before)
    with pytest.raises(cli.Failure, match="does not hold the names of its block"):
        scale_blocks.read_results(tmp_path, blocks)


def test_a_network_of_fewer_than_five_classes(tmp_path):
    block = [scale_list.Image("a", "a", 1), scale_list.Image("b", "b", 0)]
    logits = np.array([[1, 2, 2], [3, 5, 4]], np.float32)
    scale_blocks.write_part(scale_blocks.part_path(tmp_path, 0), block, logits, {}, True)
    score, _ = scale_blocks.read_results(tmp_path, [block])
    assert score.counts == [1, 1, 2, 2, 2] == metrics.topk(logits, np.array([1, 0]))


def test_the_part_of_an_image_that_changed_is_made_again(tmp_path):
    """Also of one that was overwritten in place with another of the same size."""
    data = make_images(tmp_path / "data", 4)

    def blocks():
        images, _ = scale_list.listing(data)
        return [images[:2], images[2:]]
    for i, block in enumerate(blocks()):
        scale_blocks.write_part(scale_blocks.part_path(tmp_path, i), block,
                                np.zeros((2, 1000), np.float32), {}, False)
    assert scale_blocks.pending(tmp_path, blocks(), False) == []
    path = data / "val/img_3.png"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"x")
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    assert scale_blocks.pending(tmp_path, blocks(), True) == [1]
    scale_blocks.part_path(tmp_path, 0).write_bytes(b"half")
    assert scale_blocks.pending(tmp_path, blocks(), True) == [0, 1]


def test_a_part_is_whole_or_absent(tmp_path, monkeypatch):
    def full(*_):
        raise OSError("full")
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="full"):
        scale_blocks.write_part(tmp_path / "part-000000.parquet", [scale_list.Image("a", "a")],
                                np.zeros((1, 1000), np.float32), {}, False)
    assert not list(tmp_path.iterdir())


# ---- what the workers do ----

@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_pixels_are_the_recipes(tmp_path, monkeypatch, dtype):
    """A bad image is one bad row, whatever its decoder raises."""
    images, _ = scale_list.listing(make_images(tmp_path, 6))
    (tmp_path / "val/img_1.png").write_bytes(b"not an image")
    (tmp_path / "val/img_3.png").unlink()
    opened = transforms.open_image

    def odd(file):
        if str(file).endswith("img_5.png"):
            raise NotImplementedError("no such texture")
        return opened(file)
    monkeypatch.setattr(transforms, "open_image", odd)
    found, errors, seconds = scale_stages.pixels(images, RECIPE, dtype)
    assert found.dtype == dtype and set(errors) == {1, 3, 5}
    assert "is no image" in errors[1] and "gone" in errors[3] and "no such texture" in errors[5]
    assert not any(str(tmp_path) in why for why in errors.values())
    for i in (0, 2, 4):
        picture = transforms.load(images[i].path)
        wanted = RECIPE.pixels(picture) if dtype == "uint8" else RECIPE(picture)
        np.testing.assert_array_equal(found[i], wanted)
    assert not found[[1, 3, 5]].any()
    assert seconds["decode"] > 0 and seconds["transform_cpu"] > 0


def random_images(count):
    return np.random.default_rng(0).standard_normal((count, 3, 32, 32), dtype=np.float32)


def test_predict_equals_whole_batches(model):
    path, facts = model
    images = random_images(10)
    buffer = np.full((4, 3, 32, 32), np.nan, np.float32)
    found = scale_stages.predict(scale_stages.open_model(path, facts), images, buffer)
    padded = np.concatenate([images, images[:2]])
    want = [engine.load(path).run([padded[i:i + 4]])[0].copy() for i in (0, 4, 8)]
    np.testing.assert_array_equal(found, np.concatenate(want)[:10])


def test_another_file_on_a_host_is_refused(model, tmp_path):
    path, facts = model
    with pytest.raises(cli.Failure, match="another file on one of the hosts"):
        scale_stages.open_model(path, {**facts, "made": {"sha256": "0"}})
    with pytest.raises(cli.Failure, match="not on every host"):
        scale_stages.open_model(tmp_path / "gone.blob", facts)


def test_a_model_whose_onnx_changed_is_refused(model, tmp_path, monkeypatch):
    (tmp_path / "x.onnx").write_text("onnx")
    (tmp_path / "m.om").write_text("om")
    facts = {k: model[1][k] for k in ("batch", "inputs", "onnx")}
    provenance.record(tmp_path / "m.om", [tmp_path / "x.onnx"], [], **facts)
    (tmp_path / "x.onnx").write_text("another")
    monkeypatch.setattr(sys, "argv", ["x", "--model", str(tmp_path / "m.om"), "--data", "d",
                                      "--out", str(tmp_path / "out")])
    with pytest.raises(cli.Failure, match="was made from another .*x.onnx"):
        scale_out.main()
    assert not (tmp_path / "out").exists()


def fake_om(model, folder):
    """The same network as an .om of the stand-ins: (path, record)."""
    sys.path.insert(0, str(FAKES))
    import om

    path = folder / "tiny.om"
    om.write(path, model[0].with_suffix(".onnx"), soc="Ascend310P3",
             inputs={"input": [4, 3, 32, 32]}, output_type=None, aipp=None)
    facts = {**model[1], "engine": "ascend"}
    facts["made"] = provenance.made(path, [], [])
    cli.write_json(f"{path}.json", facts)
    return path, facts


def test_an_om_goes_to_infersession(model, tmp_path, monkeypatch, fake_ascend):
    """Device 0, because Ray shows an actor its own NPU alone; whole batches; the size is
    checked."""
    for name in [m for m in sys.modules if m.split(".")[0] == "ais_bench"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(FAKES / "site")
    monkeypatch.setenv("FAKE_ASCEND_LOG", str(fake_ascend.log))
    path, facts = fake_om(model, tmp_path)
    run = scale_stages.open_model(path, facts)
    images, buffer = random_images(6), np.zeros((4, 3, 32, 32), np.float32)
    found = scale_stages.predict(run, images, buffer)
    want = scale_stages.predict(engine.load(model[0]).run, images, buffer)
    np.testing.assert_allclose(found, want, atol=1e-3)
    opened, = fake_ascend.calls("InferSession")
    assert opened["argv"][0]["device_id"] == 0 and opened["argv"][0]["model"] == str(path)
    shapes = [c["argv"][0]["shapes"] for c in fake_ascend.calls("infer")]
    assert shapes == [[[4, 3, 32, 32]]] * 2
    small = {**facts, "inputs": [{**facts["inputs"][0], "shape": [2, 3, 32, 32]}]}
    with pytest.raises(cli.Failure, match="its record says 24576"):
        scale_stages.open_model(path, small)
    monkeypatch.setitem(sys.modules, "ais_bench.infer.interface", None)
    with pytest.raises(cli.Failure, match="ais_bench does not load on one of the hosts"):
        scale_stages.open_model(path, facts)


class Ray:
    """A cluster of these resources, and a host that is gone."""

    def __init__(self, *resources):
        self.resources = resources

    def nodes(self):
        alive = [{"Alive": True, "Resources": r} for r in self.resources]
        return [*alive, {"Alive": False, "Resources": {"NPU": 8}}]


def test_devices():
    """One actor per NPU, one per host without; never more actors than NPUs."""
    def of(name, *resources, **more):
        args = scale_out.get_args(["--model", name, "--data", "d", "--out", "o"])
        vars(args).update(more)
        return scale_ray.actors(Ray(*resources), args)

    npu = {"resources": {"NPU": 1}, "num_cpus": 1}
    assert of("m.om", {"CPU": 8, "NPU": 4}, {"CPU": 8, "NPU": 2}) == (6, npu, None)
    assert of("m.om", {"CPU": 8, "NPU": 4}, devices=9)[0] == 4
    with pytest.raises(cli.Failure, match="Ray sees no NPU"):
        of("m.om", {"CPU": 8})
    assert of("m.blob", {"CPU": 8}, {"CPU": 8}) == (2, {"num_cpus": 0}, 8)
    assert of("m.blob", {"CPU": 8}, devices=4) == (4, {"num_cpus": 0}, 2)


# ---- the driver, without Ray ----

class OneHost(Ray):
    """Ray as far as the driver needs it, where nothing is lost."""

    class exceptions:  # noqa: N801  names of Ray
        class RayError(Exception):
            pass

    class data:  # noqa: N801
        class exceptions:  # noqa: N801
            class ExecutionTimeoutError(Exception):
                pass

    def cluster_resources(self):
        return self.resources[0]

    def shutdown(self):
        pass


def here(ray, args, todo, blocks, facts, recipe):
    """scale_ray.stream() in this process."""
    infer = scale_stages.Infer(args.model, facts, args.out, 1, args.logits)
    for i in todo:
        row = {key: [value] for key, value in scale_stages.to_row(i, blocks[i]).items()}
        row = infer(scale_stages.prepare(row, recipe, facts["inputs"][0]["dtype"]))
        yield row["images"][0], json.loads(row["seconds"][0])


@pytest.fixture
def driver(monkeypatch, capsys):
    """driver(model, data, out, *words): what scale_out prints."""
    def run(model, data, out, *words):
        words = ["x", "--model", model, "--data", data, "--out", out, *words]
        monkeypatch.setattr(sys, "argv", list(map(str, words)))
        scale_out.main()
        return capsys.readouterr().out
    monkeypatch.setattr(scale_out, "packages", lambda: None)
    monkeypatch.setattr(scale_ray, "connect", lambda *_: OneHost({"CPU": 1}))
    monkeypatch.setattr(scale_ray, "stream", here)
    return run


def changed(model, folder, **change):
    """A copy of the model in `folder` whose record has other facts; its path."""
    folder.mkdir(parents=True)
    path = shutil.copy(model[0], folder)
    facts = {**model[1], **change}
    facts["made"] = provenance.made(path, [])
    cli.write_json(f"{path}.json", facts)
    return path


def test_class_folders_are_labelled_as_for_eval(model, tmp_path, driver):
    """By the names of the model's classes; where it has none, a note says how."""
    data, folder = make_images(tmp_path / "data", 4), tmp_path / "folder"
    (data / "val_label.txt").unlink()
    for i, name in enumerate(("zebra", "mole", "zebra", "mole")):
        (data / "val" / name).mkdir(exist_ok=True)
        (data / f"val/img_{i}.png").rename(data / f"val/{name}/img_{i}.png")
    path = changed(model, folder / "build/demo")
    assert "note: labels are positions of 2 folders" in driver(path, data, tmp_path / "without")
    assert {r["name"][:4]: r["label"] for r in rows(tmp_path / "without")} == {
        "mole": 0, "zebr": 1}
    names = ["zebra", "ant", "mole", *map(str, range(997))]
    (folder / "classes.txt").write_text("\n".join(names))
    cli.write_json(folder / "published.json", {"model": "Own", "names": "classes.txt"})
    assert "note: labels" not in driver(path, data, tmp_path / "out")
    known = dataset.find(data, known=published.load(folder).names)
    found = {r["name"]: r["label"] for r in rows(tmp_path / "out")}
    assert found == {i.name: i.label for i in known.images} and set(found.values()) == {0, 2}


def test_what_the_figures_are_not_is_said(model, tmp_path, driver):
    data = make_images(tmp_path / "data", 4)
    (data / "val/img_5.heic").write_text("")
    path = changed(model, tmp_path / "m", precision="bf16", onnx={
        **model[1]["onnx"], "weights_note": "other weights"})
    with pytest.raises(cli.Failure, match="1 files are no images by their endings: img_5.heic"):
        driver(path, data, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    said = driver(path, data, tmp_path / "out", "--allow-partial")
    for note in ("1 files are no images by their endings: img_5.heic", "other weights",
                 "partial: 1 of 5 images are not scored",
                 "results in bf16, not compared with f32's"):
        assert f"note: {note}\n" in said
    assert said.endswith("total=4 missing=1 partial\n")


def test_no_image_can_be_read(model, tmp_path, driver, capsys):
    data = make_images(tmp_path / "data", 2)
    for path in (data / "val").iterdir():
        path.write_bytes(b"not an image")
    with pytest.raises(cli.Failure, match="2 of 2 images could not be read"):
        driver(model[0], data, tmp_path / "out")
    said = capsys.readouterr().out
    assert "\ninfer " in said and "\ntransform " not in said and "top1" not in said
    assert size_cluster.costs(tmp_path / "out/_summary.json", 0)[0] == 0


def test_a_model_of_several_batches_is_refused(model, tmp_path, driver):
    path = changed(model, tmp_path / "m", batch=None, gears=[1, 4])
    with pytest.raises(cli.Usage, match="several batches.* — give a model of one batch"):
        driver(path, "data", tmp_path / "out")


def test_a_block_is_whole_batches(model, tmp_path, driver):
    """By default too; and one block alone has no rate."""
    data, path = make_images(tmp_path / "data", 97), tmp_path / "m_bs48.blob"
    said = driver(model[0], data, tmp_path / "bs4")
    assert "in 2 blocks of 64" in said and "images/s from the first block on" in said
    compiler.compile_onnx(model[0].with_suffix(".onnx"), 48, "openvino", path, arguments=[])
    assert "in 2 blocks of 96" in driver(path, data, tmp_path / "bs48")
    assert [r["error"] for r in rows(tmp_path / "bs48")] == [None] * 97
    said = driver(model[0], data, tmp_path / "one", "--block", 100)
    assert "from the first block on" not in said and "97 images in " in said
    with pytest.raises(cli.Usage, match="--block 6 is no multiple"):
        driver(model[0], data, tmp_path / "six", "--block", 6)


# ---- sizing ----

@pytest.mark.parametrize("name, change", [
    ("npus", {}), ("cores", {"prepare": 0.05}), ("network", {"network": 2e8}),
    ("storage", {"storage": 5e7})])
def test_the_simulation_reaches_each_limit(name, change):
    base = size_cluster.Cluster(hosts=2, cores=16, npus=2, prepare=0.004, infer=0.001)
    c = dataclasses.replace(base, **change)
    bound, rate = next(iter(size_cluster.limits(c).items()))
    assert bound == name
    assert 0.93 * rate < 100_000 / size_cluster.simulate(c, 100_000) <= rate * 1.001


@pytest.mark.parametrize(
    "change, seconds, bound",
    [
        ({}, 0.012 / 2, "cores"), ({"ray": 0.002}, 0.014 / 2, "cores"),
        ({"actors": 1}, 0.008, "engine")],
)
def test_a_cpu_shares_its_cores(change, seconds, bound):
    c = size_cluster.Cluster(cores=2, actors=2, threads=1, prepare=0.004, infer=0.008)
    c = dataclasses.replace(c, **change)
    assert next(iter(size_cluster.limits(c))) == bound
    assert size_cluster.simulate(c, 64_000) == pytest.approx(64_000 * seconds, rel=0.02)


def test_the_simulation_counts_the_first_and_the_last_block():
    c = size_cluster.Cluster(cores=4, npus=2, prepare=0.01, infer=0.02, block=10)
    fetch = 10 * c.jpeg / c.storage
    assert size_cluster.simulate(c, 10) == pytest.approx(fetch + 10 * 0.03)
    three = 10 * 0.01 + 2 * 10 * 0.02  # three blocks, two NPUs
    assert size_cluster.simulate(c, 30) == pytest.approx(fetch + three, rel=0.05)
    assert size_cluster.simulate(c, 5) == pytest.approx(fetch / 2 + 5 * 0.03)


def test_sizing_from_a_summary(tmp_path, monkeypatch, capsys):
    seconds = {"decode": 9, "decode_cpu": 1, "transform": 9, "transform_cpu": 3, "infer": 4,
               "infer_cpu": 8, "write": 0}
    summary = tmp_path / "s.json"
    cli.write_json(summary, {"images": 1000, "seconds": seconds})
    assert size_cluster.costs(summary, 0) == (0.004, 0.008)
    assert size_cluster.costs(summary, 8) == (0.004, 0.004)
    words = ["x", "--images", "24000", "--cores", "2", "--ray", "0", "--summary", str(summary)]
    monkeypatch.setattr(sys, "argv", words)
    size_cluster.main()
    assert capsys.readouterr().out.splitlines()[-1] == \
        "24000 images: 154 s with 10 s of start, 167 images/s; held up by cores"
    monkeypatch.setattr(sys, "argv", words[:5])
    with pytest.raises(cli.Usage, match="costs of an image"):
        size_cluster.main()


# ---- over Ray ----

def command(model, data, out, *words):
    return [sys.executable, "-m", "tools.scale.scale_out", "--model", str(model), "--data",
            str(data), "--out", str(out), "--block", "16", *map(str, words)]


def scale(*words, status=0, env=None):
    done = subprocess.run(command(*words), cwd=ROOT, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, env=env)
    assert done.returncode == status and "Traceback" not in done.stdout, done.stdout
    return done.stdout


@pytest.mark.skipif(not MISSING_RAY, reason="Ray is here")
def test_without_ray_it_says_how_to_get_it(model, tmp_path):
    said = scale(model[0], make_images(tmp_path / "data", 1), tmp_path / "out", status=1)
    assert "error: the Python package ray is not installed" in said
    assert "requirements-scale.txt" in said and not (tmp_path / "out").exists()


def test_a_temporary_folder_too_deep_for_sockets(monkeypatch):
    monkeypatch.setattr(scale_ray.tempfile, "gettempdir", lambda: "/tmp")
    scale_ray.check_sockets()
    monkeypatch.setattr(scale_ray.tempfile, "gettempdir", lambda: "/scratch/" + "x" * 40)
    with pytest.raises(cli.Failure, match="too long for Ray's sockets"):
        scale_ray.check_sockets()


@needs_ray
def test_scale_out_on_this_host(model, tmp_path):
    """Bad images have rows, the total is the input's, the bits are those of the engine here; then
    resume, then refuse."""
    data, out = make_images(tmp_path / "data", 50), tmp_path / "out"
    whole = (data / "val/img_20.png").read_bytes()
    (data / "val/img_20.png").write_bytes(whole[:300])
    said = scale(model[0], data, out, "--cpus", 2, "--logits", status=1)
    assert "0 are there already" in said and "bad image: img_20.png: " in said
    last = said.strip().splitlines()[-1]
    assert last.startswith("error: 1 of 50 images could not be read: img_20.png")
    found = rows(out)
    assert [r["name"] for r in found] == [f"img_{i}.png" for i in range(50)]
    assert [r["name"] for r in found if r["error"]] == ["img_20.png"]

    (data / "val/img_20.png").write_bytes(whole)
    said = scale(model[0], data, out, "--cpus", 2, "--logits")
    assert "3 are there already" in said, "only the block of the replaced image is done again"
    images, _ = scale_list.listing(data)
    pixels, _, _ = scale_stages.pixels(images, RECIPE, "float32")
    buffer = np.zeros((4, 3, 32, 32), np.float32)
    want = scale_stages.predict(engine.load(model[0]).run, pixels, buffer)
    assert np.array([r["logits"] for r in rows(out)], np.float32).tobytes() == want.tobytes()
    labels = np.array([i.label for i in images])
    assert said.strip().splitlines()[-1] == metrics.Score(metrics.topk(want, labels), 50).line()
    assert "4 are there already" in scale(model[0], data, out, "--logits")
    assert "other settings: logits is true, now false" in scale(model[0], data, out, status=1)


@pytest.fixture
def cluster():
    """start(*options) adds a Ray node on loopback, the first is the head; returns its process.
    .env is for a driver."""
    env = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32),
           "RAY_USAGE_STATS_ENABLED": "0", "RAY_DATA_EXECUTION_NO_PROGRESS_TIMEOUT_S": "20"}
    nodes = []

    def start(*options, **more):
        head = ["--head", "--port=6377", "--include-dashboard=false"]
        where = ["--address=127.0.0.1:6377"] if nodes else head
        nodes.append(subprocess.Popen(
            [sys.executable, "-m", "ray.scripts.scripts", "start", "--block",
             "--object-store-memory=134217728", *where, *options], env={**env, **more},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True))
        time.sleep(8)
        return nodes[-1]

    start.env = env
    yield start
    for node in reversed(nodes):
        node.terminate()
    for node in nodes:
        try:
            node.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(node.pid, signal.SIGKILL)


def many(folder, count):
    """`count` names for eight images."""
    data = make_images(folder, 8)
    for i in range(8, count):
        os.link(data / f"val/img_{i % 8}.png", data / f"val/img_{i}.png")
    lines = [f"img_{i}.png {i % 8 * 7}\n" for i in range(count)]
    (data / "val_label.txt").write_text("".join(lines))
    return data


def start(model, data, out, env):
    """Start a driver on the cluster."""
    words = command(model, data, out, "--address", "127.0.0.1:6377")
    return subprocess.Popen(words, cwd=ROOT, env=env, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True)


def wait_for_parts(folder, count, process):
    """Wait until `folder` holds `count` parts; returns how many it has."""
    for _ in range(1200):
        found = len(list(folder.glob("part-*.parquet")))
        if found >= count:
            return found
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    raise AssertionError("no parts come")


def lose(node):
    """Kill the raylet of a node: its host is gone."""
    import psutil

    next(p for p in psutil.Process(node.pid).children() if p.name() == "raylet").kill()


@needs_ray
@pytest.mark.slow
def test_a_host_and_a_driver_are_lost(model, tmp_path, cluster):
    cluster("--num-cpus=1")
    second = cluster("--num-cpus=1")
    data, killed, lost = many(tmp_path / "data", 3200), tmp_path / "killed", tmp_path / "lost"
    first = start(model[0], data, killed, cluster.env)
    before = wait_for_parts(killed, 40, first)
    first.kill()
    first.wait()
    assert len(list(killed.glob("part-*.parquet"))) < 200, "it was too quick to be killed"
    said = scale(model[0], data, killed, "--address", "127.0.0.1:6377", env=cluster.env)
    assert int(said.split(" are there already")[0].split()[-1]) >= before and "good=" in said

    run = start(model[0], data, lost, cluster.env)
    wait_for_parts(lost, 40, run)
    lose(second)
    said = run.communicate(timeout=300)[0]
    assert run.returncode == 0 and said.strip().splitlines()[-1].endswith("total=3200"), said
    parts = [[p.read_bytes() for p in sorted(f.glob("part-*.parquet"))] for f in (killed, lost)]
    assert parts[0] == parts[1] and len(parts[0]) == 200


@needs_ray
@pytest.mark.slow
def test_npus_of_a_cluster(model, tmp_path, cluster, fake_ascend):
    """Each NPU has an actor that sees it alone; when a host goes with its NPUs, the others do its
    blocks."""
    path, _ = fake_om(model, tmp_path)
    ours = f"{FAKES / 'site'}:{FAKES}:{os.environ.get('PYTHONPATH', '')}"
    more = {"PYTHONPATH": ours, "FAKE_ASCEND_LOG": str(fake_ascend.log), "ASCEND_HOME_PATH": "/"}
    cluster("--num-cpus=3", "--resources={\"NPU\": 2}", **more)
    second = cluster("--num-cpus=3", "--resources={\"NPU\": 2}", **more)
    run = start(path, many(tmp_path / "data", 3200), tmp_path / "out", cluster.env)
    wait_for_parts(tmp_path / "out", 60, run)
    lose(second)
    said = run.communicate(timeout=300)[0]
    assert run.returncode == 0 and "4 devices" in said, said
    assert said.strip().splitlines()[-1].endswith("total=3200")
    sessions = [c["argv"][0] for c in fake_ascend.calls("InferSession")]
    assert len({s["pid"] for s in sessions}) >= 4 and {s["device_id"] for s in sessions} == {0}
    assert {s["visible"] for s in sessions} == {"0", "1"}
