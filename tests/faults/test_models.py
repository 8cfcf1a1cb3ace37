"""Faults in the ONNX file, the offline model and their records."""
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import tiny
from graphs import save_graph
from onnx import helper
from tiny import BLOB, ONNX

from common import cli, provenance
from common.cpu import atc, graph


def make(folder, *words):
    """`make om`; what it said."""
    done = tiny.make(folder, "om", *words)
    tiny.worked(done)
    return done.stdout + done.stderr


# ---- what make makes again ----

def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def older(path):
    """Put another content in place with the size and time of the old one, as `cp -p` does."""
    old = path.stat()
    flip(path)
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))


def case(name, harm, again):
    mark = pytest.mark.fault(name, f"{again} is made again, the same as before")
    return pytest.param(harm, again, marks=mark, id=name.replace(" ", "-"))


@pytest.mark.parametrize("harm, again", [
    case("offline model with a flipped bit", lambda f: flip(f / BLOB), BLOB),
    case("offline model replaced by one of its time", lambda f: older(f / BLOB), BLOB),
    case("offline model that is a folder", lambda f: (f / BLOB).unlink() or (f / BLOB).mkdir(),
         BLOB),
    case("record of the offline model lost", lambda f: (f / f"{BLOB}.json").unlink(), BLOB),
    case("record that is a list", lambda f: (f / f"{BLOB}.json").write_text("[1, 2]"), BLOB),
])
def test_made_again(whole, built, seen, harm, again):
    harm(built)
    said = make(built)
    seen(next(line for line in said.splitlines() if line.startswith("again: ")))
    assert f"again: {again} " in said
    for name in (ONNX, BLOB):
        assert (built / name).read_bytes() == (whole / name).read_bytes(), name
    assert f"om: {BLOB} is up to date" in make(built)


def library(record):
    """The engine's library as a record names it: asked of the engine, not of the record."""
    import openvino._pyopenvino

    path = str(Path(openvino._pyopenvino.__file__).resolve())
    return record["made"]["from"][path]


def upgrade(folder):
    """The engine was another release when the model was compiled."""
    record = json.loads((folder / f"{BLOB}.json").read_text())
    library(record).update(sha256="0" * 64, stat=[0, 0, 0, 0])
    record["engine_version"] = "2020.1"
    cli.write_json(folder / f"{BLOB}.json", record)


def edit(name):
    """A function that changes a file by a byte that changes no result."""
    def harm(folder):
        with open(folder / name, "a", encoding="utf-8") as f:
            f.write("\n")
    return harm


def swap(other):
    """A function that puts another offline model in the place of the one for batch 4."""
    def harm(folder):
        tiny.worked(tiny.make(folder, "om", *other[1:]))
        for ending in ("", ".json"):
            os.replace(folder / f"build/{other[0]}{ending}", folder / f"{BLOB}{ending}")
    return harm


@pytest.mark.parametrize("harm, again", [
    case("engine upgraded since", upgrade, BLOB),
    case("code of the export changed", edit("common/model/export.py"), ONNX),
    case("code of the compiler changed", edit("common/cpu/rewrites.py"), BLOB),
    case("offline model of another batch under this name",
         swap(("spnasnet_100_bs1.blob", "BS=1")), BLOB),
    case("offline model of another input type under this name",
         swap(("spnasnet_100_bs4_uint8.blob", "INPUT=uint8")), BLOB),
])
def test_made_again_from_what_is_at_hand(built, seen, harm, again):
    harm(built)
    said = make(built)
    seen(next(line for line in said.splitlines() if line.startswith("again: ")))
    assert f"again: {again} " in said
    record = provenance.read(built / BLOB)
    assert record["batch"] == 4 and record["inputs"][0]["dtype"] == "float32"
    assert record["engine_version"] != "2020.1"
    assert f"om: {BLOB} is up to date" in make(built)


@pytest.mark.slow
@pytest.mark.fault("CALIB= replaced, or another one", "the int8 model is made again")
def test_another_calibration(built, seen):
    from PIL import Image

    int8 = "build/spnasnet_100_bs4_int8.blob"
    shutil.copytree(built / "data/val", built / "other")
    make(built, "PRECISION=int8", "CALIB=data/val")
    said = make(built, "PRECISION=int8", "CALIB=other")
    assert f"again: {int8} was made with other settings" in said
    Image.new("RGB", (300, 260)).save(built / "other" / tiny.NAMES[0])
    said = make(built, "PRECISION=int8", "CALIB=other")
    seen(said.splitlines()[-1])
    assert f"again: {int8} was made from another other" in said
    assert "is up to date" in make(built, "PRECISION=int8", "CALIB=other")


# ---- by hand, in process ----

def network(path, weight=1.0, op="Relu"):
    """An ONNX of two operators: `op`, then the mean over each of a thousand pieces."""
    rng = np.random.default_rng(0)
    w = rng.standard_normal((196, 1000), dtype=np.float32) * np.float32(weight)
    nodes = [helper.make_node(op, ["actual_input_1"], ["y"]),
             helper.make_node("AveragePool", ["y"], ["z"], kernel_shape=[16, 16],
                              strides=[16, 16]),
             helper.make_node("Slice", ["z", "from", "to", "axis"], ["s"]),
             helper.make_node("Flatten", ["s"], ["f"]),
             helper.make_node("MatMul", ["f", "w"], ["class"])]
    ints = {k: np.array([v]) for k, v in (("from", 0), ("to", 1), ("axis", 1))}
    save_graph(path, nodes, {"actual_input_1": ["n", 3, 224, 224]}, {"class": ["n", 1000]},
               {"w": w, **ints})


def bad(name, content, said):
    mark = pytest.mark.fault(name, "exit 1, no offline model")
    return pytest.param(content, said, marks=mark, id=name.replace(" ", "-"))


@pytest.mark.parametrize("content, said", [
    bad(".onnx with NaN weights", {"weight": float("nan")}, "error of nan"),
    bad(".onnx with an operator that nobody knows", {"op": "Frobnicate"},
        "cannot compile other.onnx for batch 4"),
])
def test_foreign_onnx(tmp_path, monkeypatch, capsys, seen, content, said):
    monkeypatch.chdir(tmp_path)
    network("other.onnx", **content)
    monkeypatch.setattr(sys, "argv", [
        "atc", "--framework=5", "--model=other.onnx", "--output=x",
        "--input_shape=actual_input_1:4,3,224,224"])
    with pytest.raises(cli.Failure, match=said) as e:
        atc.main()
    seen(f"exit 1: error: {e.value}")
    assert [p.name for p in tmp_path.iterdir()] == ["other.onnx"]


@pytest.mark.fault(".onnx whose weights are in another file, which is absent",
                   "exit 1, that file named")
def test_external_weights_absent(tmp_path, monkeypatch, seen):
    monkeypatch.chdir(tmp_path)
    network("other.onnx")
    onnx.save(onnx.load("other.onnx"), "other.onnx", save_as_external_data=True,
              location="weights.bin", size_threshold=0)
    os.remove("weights.bin")
    with pytest.raises(cli.Failure, match="weights.bin") as e:
        graph.read("other.onnx")
    seen(f"exit 1: error: {e.value}")
