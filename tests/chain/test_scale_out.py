"""The chain over a Ray cluster. What needs Ray is skipped where it is not installed: `make test-scale` installs it."""
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

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ascend import FAKES
from conftest import ROOT, copy_of, make
from PIL import Image
from test_host import make_onnx

from common import cli
from common.cpu import engine
from common.data import transforms
from common.score import metrics
from tools.scale import scale_blocks, scale_list, scale_out, scale_stages, size_cluster

RECIPE = transforms.Recipe(resize=36, crop=32, interpolation="bilinear")
needs_ray = pytest.mark.skipif(not importlib.util.find_spec("ray"), reason="ray is an optional extra: make test-scale")


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """A small model for batches of 4 that was compiled for this CPU: (path, its sidecar)."""
    folder = tmp_path_factory.mktemp("model")
    make_onnx(folder / "tiny.onnx", 1000, shape=(3, 32, 32), preprocessing=json.dumps(RECIPE.as_dict()), demo="true")
    engine.compile_onnx(folder / "tiny.onnx", 4, "openvino", folder / "tiny.blob")
    return folder / "tiny.blob", json.loads((folder / "tiny.blob.json").read_text())


def make_images(folder, count, suffix="png"):
    """A flat folder of `count` images with labels; returns the folder that holds val/."""
    (folder / "val").mkdir(parents=True)
    for i in range(count):
        picture = Image.fromarray(np.random.default_rng(i).integers(0, 256, (40 + i % 7, 50, 3), dtype=np.uint8))
        picture.save(folder / f"val/img_{i}.{suffix}")
    (folder / "val_label.txt").write_text("".join(f"img_{i}.{suffix} {i * 7 % 1000}\n" for i in range(count)))
    return folder


def rows(folder):
    """All rows of a folder of parts."""
    return [row for part in sorted(folder.glob("part-*.parquet")) for row in pq.read_table(part).to_pylist()]


# ---- the listing ----

def test_a_folder_is_listed_in_natural_order_with_its_labels(tmp_path):
    images, demo = scale_list.listing(make_images(tmp_path, 12))
    assert [i.name for i in images] == [f"img_{i}.png" for i in range(12)] and not demo
    assert [i.label for i in images] == [i * 7 for i in range(12)]


def test_a_uri_is_searched_with_its_folders(tmp_path):
    make_images(tmp_path / "with space", 3)
    (tmp_path / "with space/val/sub").mkdir()
    (tmp_path / "with space/val/img_1.png").rename(tmp_path / "with space/val/sub/a #1.png")
    images, _ = scale_list.listing(f"file://{tmp_path}/with%20space/val")
    assert [i.name for i in images] == ["img_0.png", "img_2.png", "sub/a #1.png"]
    assert scale_stages.load(images[2].path).tobytes() == Image.open(tmp_path / "with space/val/sub/a #1.png").tobytes()
    assert {i.label for i in images} == {None}
    (tmp_path / "with space/val/sub/a #1.png").write_bytes(b"not an image")
    _, errors, _ = scale_stages.pixels(images, RECIPE, "uint8")
    assert errors == {2: "cannot identify image file <_io.BufferedReader name='sub/a #1.png'>"}, "no temporary name"
    (tmp_path / "with space/val/img_0.png").unlink()
    assert scale_stages.pixels(images[:1], RECIPE, "uint8")[1] == {0: "is gone"}
    with pytest.raises(cli.Failure, match="cannot be listed"):
        scale_list.listing(f"file://{tmp_path}/none")
    with pytest.raises(cli.Failure, match="a URI that pyarrow reads"):
        scale_list.listing("ftp://host/folder")


def test_lists_of_paths(tmp_path):
    make_images(tmp_path, 3)
    (tmp_path / "list.txt").write_text(f"val/img_2.png\n\n{tmp_path}/val/img_0.png\nfile://{tmp_path}/val/img_1.png\n")
    images, _ = scale_list.listing(tmp_path / "list.txt", tmp_path / "val_label.txt")
    assert sorted(i.label for i in images) == [0, 7, 14]
    assert all(scale_stages.load(i.path).size == (50, 40 + int(i.name[-5])) for i in images)
    pq.write_table(pa.table({"path": ["val/img_1.png", "val/img_0.png"], "label": [5, 6]}), tmp_path / "list.parquet")
    images, _ = scale_list.listing(tmp_path / "list.parquet")
    assert [(i.name, i.label) for i in images] == [("val/img_0.png", 6), ("val/img_1.png", 5)]


@pytest.mark.parametrize("paths, labels, said", [
    (["a.png", "b.png", "a.png"], None, "1 names that come twice: a.png"),
    ([], None, "names no images"),
    (["a.png", "b.png"], [1, None], "1 of 2 images have no label: b.png"),
    (["a.png"], [1000], r"labels outside 0…999: a.png \(1000\)"),
])
def test_a_list_that_does_not_add_up_is_refused(tmp_path, paths, labels, said):
    columns = {"path": pa.array(paths, pa.string()), **({"label": labels} if labels else {})}
    pq.write_table(pa.table(columns), tmp_path / "list.parquet")
    with pytest.raises(cli.Failure, match=said):
        scale_list.listing(tmp_path / "list.parquet")


def test_files_that_are_no_list_are_refused(tmp_path):
    pq.write_table(pa.table({"file": ["a"]}), tmp_path / "other.parquet")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    for name, said in (("other.parquet", "no column `path`"), ("bytes.txt", "no list of images"), ("gone.txt", "not exist")):
        with pytest.raises(cli.Failure, match=said):
            scale_list.listing(tmp_path / name)


def test_a_label_file_cannot_tell_two_folders_apart(tmp_path):
    (tmp_path / "list.txt").write_text("x/a.png\ny/a.png\n")
    (tmp_path / "val_label.txt").write_text("a.png 1\n")
    assert len(scale_list.listing(tmp_path / "list.txt")[0]) == 2
    with pytest.raises(cli.Failure, match="label file cannot tell apart: y/a.png"):
        scale_list.listing(tmp_path / "list.txt", tmp_path / "val_label.txt")


# ---- settings and parts ----

def test_a_folder_of_other_settings_is_refused(tmp_path):
    images = [scale_list.Image("a", "a", 1)]
    meta = {"engine": "openvino", "engine_version": "1", "precision": "f32", "batch": 8, "sha256": "0"}
    first = scale_blocks.settings(images, 64, meta, recipe=RECIPE.as_dict(), logits=False)
    scale_blocks.accept(tmp_path, first)
    (tmp_path / ".ab.part-000000.parquet").write_text("half")
    scale_blocks.accept(tmp_path, first)
    assert not (tmp_path / ".ab.part-000000.parquet").exists()
    others = {"block": (images, 32, meta, RECIPE), "sha256": (images, 64, {**meta, "sha256": "1"}, RECIPE),
              "precision": (images, 64, {**meta, "precision": "f16"}, RECIPE),
              "bicubic": (images, 64, meta, transforms.Recipe()),
              "listing": ([dataclasses.replace(images[0], path="b")], 64, meta, RECIPE)}
    for word, (*other, recipe) in others.items():
        with pytest.raises(cli.Failure, match=f"other settings: .*{word}"):
            scale_blocks.accept(tmp_path, scale_blocks.settings(*other, recipe=recipe.as_dict(), logits=False))
    (tmp_path / "_settings.json").unlink()
    (tmp_path / "part-000000.parquet").write_text("")
    with pytest.raises(cli.Failure, match="no _settings.json"):
        scale_blocks.accept(tmp_path, first)


def test_parts_resume_and_score(tmp_path):
    rng = np.random.default_rng(0)
    images = [scale_list.Image(f"img_{i}", f"/img_{i}", int(rng.integers(10))) for i in range(20)]
    blocks = [images[i:i + 8] for i in range(0, 20, 8)]
    logits = rng.integers(0, 4, (20, 1000)).astype(np.float32)  # many are equal
    assert scale_blocks.pending(tmp_path, blocks, False) == [0, 1, 2]
    for i, errors in ((0, {}), (2, {1: "broken"})):
        scale_blocks.write_part(scale_blocks.part_path(tmp_path, i), blocks[i], logits[8 * i:8 * i + 8], errors, i == 0)
    assert scale_blocks.pending(tmp_path, blocks, True) == [1]
    assert scale_blocks.pending(tmp_path, blocks, False) == [1, 2], "mended images get another try"
    with pytest.raises(cli.Failure, match="part-000001.parquet is missing"):
        scale_blocks.read_results(tmp_path, blocks)
    scale_blocks.write_part(scale_blocks.part_path(tmp_path, 1), blocks[1], logits[8:16], {}, False)
    score, bad = scale_blocks.read_results(tmp_path, blocks)
    good = [i for i in range(20) if i != 17]
    assert score.counts == metrics.topk(logits[good], np.array([images[i].label for i in good])) and score.total == 19
    assert bad == {"img_17": "broken"} and score.line().endswith("total=19 missing=1 partial")
    found = rows(tmp_path)
    assert [r["name"] for r in found] == [i.name for i in images]
    assert found[17]["top5"] is None and found[17]["error"] == "broken" and found[17]["scores"] is None
    assert np.array_equal(found[3]["logits"], logits[3]) and "logits" not in found[9]
    assert found[9]["top5"][0] == logits[9].argmax() and found[9]["scores"] == sorted(logits[9])[::-1][:5]
    before = scale_blocks.part_path(tmp_path, 0).read_bytes()
    scale_blocks.write_part(scale_blocks.part_path(tmp_path, 0), blocks[0], logits[:8], {}, True)
    assert scale_blocks.part_path(tmp_path, 0).read_bytes() == before, "a block that is done twice changes nothing"
    scale_blocks.part_path(tmp_path, 1).write_bytes(before)
    with pytest.raises(cli.Failure, match="does not hold the names of its block"):
        scale_blocks.read_results(tmp_path, blocks)


def test_a_part_is_whole_or_absent(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        scale_blocks.write_part(tmp_path / "part-000000.parquet", [scale_list.Image("a", "a")], np.zeros((1, 1000), np.float32),
                                {}, False)
    assert not list(tmp_path.iterdir())


# ---- what the workers do ----

@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_pixels_are_the_recipes(tmp_path, dtype):
    images, _ = scale_list.listing(make_images(tmp_path, 5))
    (tmp_path / "val/img_1.png").write_bytes(b"not an image")
    (tmp_path / "val/img_3.png").unlink()
    found, errors, seconds = scale_stages.pixels(images, RECIPE, dtype)
    assert found.dtype == dtype and errors[3] == "is gone" and "img_1.png" in errors[1] and str(tmp_path) not in errors[1]
    for i in (0, 2, 4):
        picture = transforms.load(images[i].path)
        np.testing.assert_array_equal(found[i], RECIPE.pixels(picture) if dtype == "uint8" else RECIPE(picture))
    assert not found[1].any() and not found[3].any()
    assert seconds["decode"] > 0 and seconds["transform_cpu"] > 0


def test_predict_equals_whole_batches(model):
    path, meta = model
    run = scale_stages.open_model(path, meta)
    images = np.random.default_rng(0).standard_normal((10, 3, 32, 32), dtype=np.float32)
    found = scale_stages.predict(run, images, np.full((4, 3, 32, 32), np.nan, np.float32))
    want = [engine.load(path).run([np.concatenate([images, images[:2]])[i:i + 4]])[0].copy() for i in (0, 4, 8)]
    np.testing.assert_array_equal(found, np.concatenate(want)[:10])


def test_another_file_on_a_host_is_refused(model, tmp_path):
    path, meta = model
    with pytest.raises(cli.Failure, match="another file on one of the hosts"):
        scale_stages.open_model(path, {**meta, "sha256": "0"})
    with pytest.raises(cli.Failure, match="not on every host"):
        scale_stages.open_model(tmp_path / "gone.blob", meta)


def fake_om(model, folder):
    """The same network as an .om of the stand-ins: (path, sidecar)."""
    sys.path.insert(0, str(FAKES))
    import om

    path = folder / "tiny.om"
    om.write(path, model[0].with_suffix(".onnx"), soc="Ascend310P3", inputs={"input": [4, 3, 32, 32]}, output_type=None,
             aipp=None)
    meta = {**model[1], "engine": "ascend", "sha256": cli.sha256(path), "size": path.stat().st_size}
    cli.write_json(f"{path}.json", meta)
    return path, meta


def test_an_om_goes_to_infersession(model, tmp_path, monkeypatch, fake_ascend):
    """Device 0, because Ray shows an actor its own NPU alone; whole batches; the sidecar's size is checked."""
    for name in [m for m in sys.modules if m.split(".")[0] == "ais_bench"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(FAKES / "site")
    monkeypatch.setenv("FAKE_ASCEND_LOG", str(fake_ascend.log))
    path, meta = fake_om(model, tmp_path)
    run = scale_stages.open_model(path, meta)
    images = np.random.default_rng(0).standard_normal((6, 3, 32, 32), dtype=np.float32)
    found = scale_stages.predict(run, images, np.zeros((4, 3, 32, 32), np.float32))
    want = scale_stages.predict(engine.load(model[0]).run, images, np.zeros((4, 3, 32, 32), np.float32))
    np.testing.assert_allclose(found, want, atol=1e-3)
    opened, = fake_ascend.calls("InferSession")
    assert opened["argv"][0]["device_id"] == 0 and opened["argv"][0]["model"] == str(path)
    assert [c["argv"][0]["shapes"] for c in fake_ascend.calls("infer")] == [[[4, 3, 32, 32]]] * 2
    with pytest.raises(cli.Failure, match="its sidecar says 24576"):
        scale_stages.open_model(path, {**meta, "inputs": [{**meta["inputs"][0], "shape": [2, 3, 32, 32]}]})
    monkeypatch.setitem(sys.modules, "ais_bench.infer.interface", None)
    with pytest.raises(cli.Failure, match="ais_bench does not load on one of the hosts"):
        scale_stages.open_model(path, meta)


def test_devices(monkeypatch):
    """One actor an NPU, one a host without; never more actors than NPUs."""
    class Ray:
        def __init__(self, *resources):
            self.resources = resources

        def nodes(self):
            return [{"Alive": True, "Resources": r} for r in self.resources] + [{"Alive": False, "Resources": {"NPU": 8}}]

    def of(name, *resources, **more):
        args = scale_out.get_args(["--model", name, "--data", "d", "--out", "o"])
        return scale_out.actors(Ray(*resources), type("A", (), {**vars(args), **more}))

    assert of("m.om", {"CPU": 8, "NPU": 4}, {"CPU": 8, "NPU": 2}) == (6, {"resources": {"NPU": 1}, "num_cpus": 1}, None)
    assert of("m.om", {"CPU": 8, "NPU": 4}, devices=9)[0] == 4
    with pytest.raises(cli.Failure, match="Ray sees no NPU"):
        of("m.om", {"CPU": 8})
    assert of("m.blob", {"CPU": 8}, {"CPU": 8}) == (2, {"num_cpus": 0}, 8)
    assert of("m.blob", {"CPU": 8}, devices=4) == (4, {"num_cpus": 0}, 2)


# ---- sizing ----

def test_the_simulation_reaches_each_limit():
    base = size_cluster.Cluster(hosts=2, cores=16, npus=2, prepare=0.004, infer=0.001, storage=1e9, network=1.25e9)
    cases = {"npus": {}, "cores": {"prepare": 0.05}, "network": {"network": 2e8}, "storage": {"storage": 5e7}}
    for name, change in cases.items():
        c = dataclasses.replace(base, **change)
        bound, rate = next(iter(size_cluster.limits(c).items()))
        assert bound == name
        assert 0.93 * rate < 100_000 / size_cluster.simulate(c, 100_000) <= rate * 1.001, name
    shared = size_cluster.Cluster(cores=2, actors=2, threads=1, prepare=0.004, infer=0.008)
    assert next(iter(size_cluster.limits(shared))) == "cores"
    assert size_cluster.simulate(shared, 64_000) == pytest.approx(64_000 * 0.012 / 2, rel=0.02)
    with_ray = dataclasses.replace(shared, ray=0.002)
    assert size_cluster.simulate(with_ray, 64_000) == pytest.approx(64_000 * 0.014 / 2, rel=0.02)
    assert next(iter(size_cluster.limits(with_ray).values())) == pytest.approx(2 / 0.014)
    alone = dataclasses.replace(shared, actors=1)
    assert next(iter(size_cluster.limits(alone))) == "engine"
    assert size_cluster.simulate(alone, 64_000) == pytest.approx(64_000 * 0.008, rel=0.02)


def test_the_simulation_counts_the_first_and_the_last_block():
    c = size_cluster.Cluster(cores=4, npus=2, prepare=0.01, infer=0.02, block=10)
    fetch = 10 * c.jpeg / c.storage
    assert size_cluster.simulate(c, 10) == pytest.approx(fetch + 10 * 0.03)
    assert size_cluster.simulate(c, 30) == pytest.approx(fetch + 10 * 0.01 + 2 * 10 * 0.02, rel=0.05), "three blocks, two NPUs"
    assert size_cluster.simulate(c, 5) == pytest.approx(fetch / 2 + 5 * 0.03)


def test_sizing_from_a_summary(tmp_path, monkeypatch, capsys):
    seconds = {"decode": 9, "decode_cpu": 1, "transform": 9, "transform_cpu": 3, "infer": 4, "infer_cpu": 8, "write": 0}
    cli.write_json(tmp_path / "s.json", {"images": 1000, "seconds": seconds})
    assert size_cluster.costs(tmp_path / "s.json", 0) == (0.004, 0.008)
    assert size_cluster.costs(tmp_path / "s.json", 8) == (0.004, 0.004)
    monkeypatch.setattr(sys, "argv", ["x", "--images", "24000", "--cores", "2", "--ray", "0",
                                      "--summary", str(tmp_path / "s.json")])
    size_cluster.main()
    assert capsys.readouterr().out.splitlines()[-1] == \
        "24000 images: 154 s with 10 s of start, 167 images/s; held up by cores"
    monkeypatch.setattr(sys, "argv", ["x", "--images", "1", "--cores", "2"])
    with pytest.raises(cli.Usage, match="costs of an image"):
        size_cluster.main()


# ---- make ----

def test_make_scale_passes_on_what_it_is_given(tmp_path):
    words = ("-n", "scale", "MODEL=spnasnet", "WEIGHTS=demo", f"PYTHON={sys.executable}")
    said = make(ROOT, *words, "DATA=s3://bucket/val", "ADDRESS=auto", "ALLOW_PARTIAL=1")
    assert "--data 's3://bucket/val'" in said and "--address auto --allow-partial" in said
    assert f"--data '{ROOT}/lists/all.parquet'" in make(ROOT, *words, "DATA=lists/all.parquet", "BS=16")
    assert "MODEL=: choose one of" in make(ROOT, "-n", "scale", f"PYTHON={sys.executable}", status=2)
    alone = copy_of("spnasnet", tmp_path)
    assert "scale needs the whole repository" in make(alone, "-n", "scale", status=2)


# ---- over Ray ----

def command(model, data, out, *words):
    return [sys.executable, "-m", "tools.scale.scale_out", "--model", str(model), "--data", str(data), "--out", str(out),
            "--block", "16", *map(str, words)]


def scale(*words, status=0, env=None):
    done = subprocess.run(command(*words), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)
    assert done.returncode == status, done.stdout
    return done.stdout


@needs_ray
@pytest.mark.xdist_group("ray")
def test_scale_out_on_this_host(model, tmp_path):
    """Bad images have rows, the total is the input's, the bits are those of the engine here; then resume, then refuse."""
    data = make_images(tmp_path / "data", 50)
    whole = (data / "val/img_20.png").read_bytes()
    (data / "val/img_20.png").write_bytes(whole[:300])
    said = scale(model[0], data, tmp_path / "out", "--cpus", 2, "--logits", status=1)
    assert "0 are there already" in said and "bad image: img_20.png: " in said
    assert said.strip().splitlines()[-1].startswith("error: 1 of 50 images could not be read: img_20.png")
    assert "total=49 missing=1 partial" in said and "Traceback" not in said
    found = rows(tmp_path / "out")
    assert [r["name"] for r in found] == [f"img_{i}.png" for i in range(50)]
    assert [r["name"] for r in found if r["error"]] == ["img_20.png"]

    (data / "val/img_20.png").write_bytes(whole)
    said = scale(model[0], data, tmp_path / "out", "--cpus", 2, "--logits")
    assert "3 are there already" in said, "only the block with the mended image is done again"
    images, _ = scale_list.listing(data)
    pixels, _, _ = scale_stages.pixels(images, RECIPE, "float32")
    want = scale_stages.predict(engine.load(model[0]).run, pixels, np.zeros((4, 3, 32, 32), np.float32))
    assert np.array([r["logits"] for r in rows(tmp_path / "out")], np.float32).tobytes() == want.tobytes()
    score = metrics.Score(metrics.topk(want, np.array([i.label for i in images])), 50)
    assert said.strip().splitlines()[-1] == score.line()
    assert "4 are there already" in scale(model[0], data, tmp_path / "out", "--logits")
    assert "other settings: logits is true, now false" in scale(model[0], data, tmp_path / "out", status=1)
    shutil.copy(model[0], tmp_path / "other.blob")
    cli.write_json(tmp_path / "other.blob.json", {**model[1], "cpu_kind": "x86_64 none"})
    said = scale(tmp_path / "other.blob", data, tmp_path / "other", "--cpus", 2, status=1)
    assert "error: " in said.strip().splitlines()[-1] and "on a CPU with x86_64 none" in said and "Traceback" not in said


@pytest.fixture
def cluster():
    """start(*options) adds a Ray node on loopback, the first is the head; returns its process. .env is for a driver."""
    env = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0",
           "RAY_DATA_EXECUTION_NO_PROGRESS_TIMEOUT_S": "20"}
    nodes = []

    def start(*options, **more):
        where = ["--head", "--port=6377", "--include-dashboard=false"] if not nodes else ["--address=127.0.0.1:6377"]
        nodes.append(subprocess.Popen(
            [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--object-store-memory=134217728", *where,
             *options], env={**env, **more}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True))
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
    """A list of `count` names for eight images."""
    data = make_images(folder, 8)
    for i in range(8, count):
        os.link(data / f"val/img_{i % 8}.png", data / f"val/img_{i}.png")
    (data / "val_label.txt").write_text("".join(f"img_{i}.png {i % 8 * 7}\n" for i in range(count)))
    return data


def wait_for_parts(folder, count, process):
    """Wait until `folder` holds `count` parts; returns how many it has."""
    for _ in range(1200):
        found = len(list(folder.glob("part-*.parquet")))
        if found >= count:
            return found
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    raise AssertionError("no parts come")


@needs_ray
@pytest.mark.xdist_group("ray")
def test_a_host_and_a_driver_are_lost(model, tmp_path, cluster):
    import psutil

    cluster("--num-cpus=1")
    second = cluster("--num-cpus=1")
    data, address = many(tmp_path / "data", 3200), ("--address", "127.0.0.1:6377")
    first = subprocess.Popen(command(model[0], data, tmp_path / "killed", *address), cwd=ROOT, env=cluster.env,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    before = wait_for_parts(tmp_path / "killed", 40, first)
    first.kill()
    first.wait()
    assert len(list((tmp_path / "killed").glob("part-*.parquet"))) < 200, "it was too quick to be killed"
    said = scale(model[0], data, tmp_path / "killed", *address, env=cluster.env)
    assert int(said.split(" are there already")[0].split()[-1]) >= before and "good=" in said

    run = subprocess.Popen(command(model[0], data, tmp_path / "lost", *address), cwd=ROOT, env=cluster.env,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wait_for_parts(tmp_path / "lost", 40, run)
    next(p for p in psutil.Process(second.pid).children() if p.name() == "raylet").kill()
    said = run.communicate(timeout=300)[0]
    assert run.returncode == 0, said
    assert said.strip().splitlines()[-1].endswith("total=3200")
    killed, lost = ([p.read_bytes() for p in sorted((tmp_path / name).glob("part-*.parquet"))] for name in ("killed", "lost"))
    assert killed == lost and len(lost) == 200


@needs_ray
@pytest.mark.xdist_group("ray")
def test_npus_of_a_cluster(model, tmp_path, cluster, fake_ascend):
    """Each NPU has an actor that sees it alone; when a host goes with its NPUs, the others do its blocks."""
    import psutil

    path, _ = fake_om(model, tmp_path)
    more = {"PYTHONPATH": f"{FAKES / 'site'}:{FAKES}", "FAKE_ASCEND_LOG": str(fake_ascend.log), "ASCEND_HOME_PATH": "/"}
    resources = "--resources={\"NPU\": 2}"
    cluster("--num-cpus=3", resources, **more)
    second = cluster("--num-cpus=3", resources, **more)
    data = many(tmp_path / "data", 3200)
    run = subprocess.Popen(command(path, data, tmp_path / "out", "--address", "127.0.0.1:6377"), cwd=ROOT, env=cluster.env,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wait_for_parts(tmp_path / "out", 60, run)
    next(p for p in psutil.Process(second.pid).children() if p.name() == "raylet").kill()
    said = run.communicate(timeout=300)[0]
    assert run.returncode == 0 and "4 devices" in said and said.strip().splitlines()[-1].endswith("total=3200"), said
    sessions = [c["argv"][0] for c in fake_ascend.calls("InferSession")]
    assert len({s["pid"] for s in sessions}) >= 4 and {s["device_id"] for s in sessions} == {0}
    assert {s["visible"] for s in sessions} == {"0", "1"}
