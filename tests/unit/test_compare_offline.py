"""make compare LAYERS=1 on the offline model: on a CPU with its layers as outputs, on an NPU by
msprobe, whose program is a stand-in here. msprobe_result.csv was not recorded on an NPU: it is made
from the vendor's documents and the source of mindstudio-probe 26.2.0, which have its flags,
columns, joined names of fused operators, the * of an operator that only the NPU has, and NaN."""
import csv
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from PIL import Image
from test_compare import Deep, exported, seeded
from torch import nn

from common import cli, toolchain
from common.cpu import host, rewrites
from common.data import transforms
from common.data.manifest import Manifest, Row
from common.model import facts
from tools.inspect import by_layer, npu_layers

NO_BF16 = pytest.mark.skipif("avx512_bf16" not in host.cpu()[1], reason="no bfloat16")
TABLE = Path(__file__).with_name("msprobe_result.csv")


class Norms(nn.Module):
    """Convolutions with a GroupNorm of one group between them, as ShiftViT has it."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3), nn.GroupNorm(1, 8)
        self.body, self.head = nn.Conv2d(8, 8, 3), nn.Linear(8, 5)

    def forward(self, x):
        return self.head(torch.relu(self.body(self.norm(self.stem(x)))).mean((2, 3)))


class Tokens(nn.Module):
    """Channels last around a perceptron, as SPACH has it."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm, self.fc = nn.Conv2d(3, 8, 3), nn.LayerNorm(8), nn.Linear(8, 8)
        self.body, self.head = nn.Conv2d(8, 8, 3), nn.Linear(8, 5)

    def forward(self, x):
        x = self.fc(self.norm(self.stem(x).permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        return self.head(torch.relu(self.body(x)).mean((2, 3)))


def look(net, theirs=None, **meta):
    """by_layer.look() for a network and the record `meta` of its offline model, in the current
    folder; the logits of the offline model are torch's, unless they are given."""
    images = exported(seeded(net, constants=True), "m.onnx")
    model = onnx.load("m.onnx")
    recipe = transforms.Recipe(resize=16, crop=16)
    facts.write(model, {"preprocessing": recipe.as_dict()})
    onnx.save(model, "m.onnx")
    with torch.no_grad():
        logits = net(torch.from_numpy(images)).numpy()
    Path("bins").mkdir(exist_ok=True)
    for i, image in enumerate(images):
        image.tofile(f"bins/i{i}.bin")
    rows = [Row(f"i{i}.png", f"i{i}", 0, 0) for i in range(len(images))]
    info = {"dtype": "float32", "shape": [3, 16, 16], "recipe": recipe.as_dict()}
    manifest = Manifest(rows, {row.file: 1 for row in rows}, info)
    cli.write_json("m.blob.json", meta)
    args = SimpleNamespace(onnx="m.onnx", model="m.blob", bins="bins", json="c.json", device="0")
    found = by_layer.look(args, net, manifest, [0, 1], logits if theirs is None else theirs)
    json.dumps(found)
    return found


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("net", [Norms, Tokens, Deep])
def test_a_good_model_is_not_accused(net, engine):
    found = look(net(), engine=engine, precision="f32")
    assert f"; nor does one of {engine} f32 (at most " in found["finding"]
    assert found["first_offline"] is None and found["logits_apart"] < 1e-5
    assert [x["module"] for x in found["layers"]] == [x["module"] for x in found["offline_layers"]]


def wrong_epsilon(model):
    done = rewrites.right_norm(model)
    for weight in model.graph.initializer:
        if weight.name.endswith("_epsilon"):
            weight.CopyFrom(numpy_helper.from_array(np.float32([10]), weight.name))
    return done


def wrong_exit(model):
    """Height and width are exchanged where the tokens become an image again."""
    done = rewrites.right_tokens(model)
    last = [n for n in model.graph.node if n.op_type == "Transpose"][-1]
    last.attribute[0].ints[:] = [0, 3, 2, 1]
    return done


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("net, rewrite, wrong, name, operators", [
    (Norms, "group_norm_as_formula", wrong_epsilon, "norm", ["Sub", "ReduceMean", "Sqrt", "Div"]),
    (Tokens, "flat_tokens", wrong_exit, "body", ["/Transpose_1", "/body/Conv"])])
def test_a_broken_rewrite_is_found_in_its_layer(monkeypatch, capsys, net, rewrite, wrong, name,
                                                operators, engine):
    monkeypatch.setattr(rewrites, {"norm": "right_norm", "body": "right_tokens"}[name],
                        getattr(rewrites, rewrite), raising=False)
    monkeypatch.setattr(rewrites, rewrite, wrong)
    found = look(net(), engine=engine, precision="f32")
    assert found["first_offline"] == name and found["first_jump"] is None
    assert f"the first layer that {engine} f32 computes with more than 0.001: {name} (" \
        in found["finding"]
    said = capsys.readouterr().out
    line, = [line for line in said.splitlines() if "the engine's graph has" in line]
    assert all(operator in line for operator in operators), line
    assert "first above 0.001" in said


def test_results_that_no_layer_explains():
    found = look(Norms(), np.ones((2, 5), np.float32), engine="openvino", precision="f32")
    assert "but its results are, by" in found["finding"] and found["logits_apart"] > 0.1


def calibration():
    Path("images").mkdir()
    rng = np.random.default_rng(0)
    for i in range(30):
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(f"images/{i}.png")
    return {"folder": "images"}


@pytest.mark.parametrize("precision", [
    pytest.param("bf16", marks=NO_BF16), "int8"])
def test_the_worst_layers_of_a_lower_precision_are_named(monkeypatch, capsys, precision):
    """All are within what a whole model may be off; with a narrower limit the first is named."""
    meta = {"engine": "openvino", "precision": precision,
            "calibration": calibration() if precision == "int8" else None}
    found = look(Norms(), **meta)
    worst = max(found["offline_layers"], key=lambda x: x["relative"])
    assert 1e-4 < worst["relative"] < toolchain.TOLERANCE[precision]
    assert found["first_offline"] is None
    assert f"the worst: {worst['module']} ({worst['relative']:.1e})" in found["finding"]
    assert f"openvino {precision}" in capsys.readouterr().out
    monkeypatch.setitem(toolchain.TOLERANCE, precision, worst["relative"] * .99)
    found = look(Norms(), **meta)
    assert found["first_offline"] == worst["module"]
    assert f"openvino {precision} computes with more than" in found["finding"]


@pytest.mark.parametrize("meta, said", [
    ({}, "it has no record"),
    ({"engine": "onnxruntime", "precision": "fp16", "device": "CPU"}, "its float16 is an estimate"),
    ({"engine": "ascend", "batch": 2}, "msprobe is not installed — pip"),
    ({"engine": "openvino", "precision": "int8", "calibration": {"folder": "gone"}},
     "image folder gone")])
def test_what_cannot_be_compared_is_said(meta, said):
    found = look(Norms(), **meta)
    assert f"the layers of m.blob are not compared: {said}" in found["finding"]
    assert found["finding"].startswith("no layer of the ONNX differs from torch")


# ---- on an NPU ----

MSPROBE = """#!/usr/bin/env python3
import os, shutil, sys
open("called", "w").write(chr(10).join(sys.argv[1:]))
given = dict(zip(sys.argv[2::2], sys.argv[3::2]))
shutil.copy(given["--input_data"], "taken.bin")
os.makedirs(given["-o"] + "/20261125")
if os.environ.get("TABLE"):
    shutil.copy(os.environ["TABLE"], given["-o"] + "/20261125/result_20261125093011.csv")
else:
    sys.exit("msprobe: no device")
"""


@pytest.fixture
def msprobe(tmp_path, monkeypatch):
    """A stand-in for msprobe on the PATH; it gives the table of the variable TABLE."""
    program = tmp_path / "bin/msprobe"
    program.parent.mkdir()
    program.write_text(MSPROBE)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setenv("TABLE", str(TABLE))
    return monkeypatch


NPU = {"engine": "ascend", "batch": 2}


def test_an_npus_first_wrong_layer_is_named_and_kept(tmp_path, msprobe, capsys):
    found = look(Deep(), **NPU)
    called = Path("called").read_text().splitlines()
    here = str(tmp_path)
    assert called[:7] == ["compare", "-m", "offline_model", "-gp", f"{here}/m.onnx", "-tp",
                          f"{here}/m.blob"]
    assert called[9:15] == ["--input_shape", "x:2,3,16,16", "--onnx_fusion_switch", "False",
                            "--rank", "0"]
    image = np.fromfile("bins/i0.bin", np.float32)
    np.testing.assert_array_equal(np.fromfile("taken.bin", np.float32), np.tile(image, 2))
    # The rows of inputs, and those of operators that only the NPU has, are no layers.
    assert [x["module"] for x in found["offline_layers"]] == [
        "stem.0 + stem.1", "stem.2", "again", "/ReduceMean", "head"]
    assert found["first_offline"] == "stem.2"
    assert Path("c_keep_dtype.txt").read_text().split() == ["/stem/stem.2/Conv", "/Relu"]
    assert "(cosine 0.9713, distance 2.4e-01); to keep its own type: make om " \
           "ATC_FLAGS=--keep_dtype=c_keep_dtype.txt" in found["finding"]
    Path("next.csv").write_text(TABLE.read_text().replace("0.971344", "1").replace("0.238411", "0"))
    msprobe.setenv("TABLE", "next.csv")
    assert look(Deep(), **NPU)["first_offline"] == "/ReduceMean"
    assert Path("c_keep_dtype.txt").read_text().split() == ["/stem/stem.2/Conv", "/Relu",
                                                            "/ReduceMean"]
    said = capsys.readouterr().out
    assert "1 operators could not be compared: The shape of my output" in said
    assert Path("c_msprobe.csv").read_bytes() == Path("next.csv").read_bytes()
    assert not list(tmp_path.glob("tmp*"))


@pytest.mark.parametrize("figures, beyond", [
    ({}, "/stem/stem.2/Conv"),
    ({"CosineSimilarity": "nan", "RelativeEuclideanDistance": "nan"}, "/stem/stem.2/Conv"),
    ({"CosineSimilarity": "NaN", "RelativeEuclideanDistance": "1.0",
      "CompareFailReason": "All the data is zero in Conv.2."}, "/stem/stem.2/Conv"),
    ({"CosineSimilarity": "NaN", "RelativeEuclideanDistance": "0.0",
      "CompareFailReason": "All the data is zero in Conv.2.npy."}, "/ReduceMean")],
    ids=["wrong", "overflow", "zeros", "torch has zeros"])
def test_what_an_npu_computes_without_figures(figures, beyond):
    """msprobe's cosine of a NaN or infinity is nan, without a reason."""
    with open(TABLE, newline="") as file:
        lines = list(csv.DictReader(file))
    lines[4].update(figures)
    with open("t.csv", "w", newline="") as file:
        table = csv.DictWriter(file, lines[0])
        table.writeheader()
        table.writerows(lines)
    exported(seeded(Deep()), "m.onnx")
    rows = npu_layers.read("t.csv", onnx.load("m.onnx"))
    assert next(x for x in rows if not x.reason and x.beyond()).nodes[0] == beyond


def test_an_npu_that_is_within_the_limits(tmp_path, msprobe):
    text = TABLE.read_text()
    for wrong, right in (("0.971344", "0.999"), ("0.981007", "0.999"), ("0.987341", "0.999"),
                         ("0.238411", "0.04"), ("0.199302", "0.04"), ("0.161120", "0.04")):
        text = text.replace(wrong, right)
    Path("good.csv").write_text(text)
    msprobe.setenv("TABLE", "good.csv")
    found = look(Deep(), **NPU)
    assert "nor does one of m.blob, by a cosine of 0.99 and a distance of 0.05 " \
           "(1 operators could not be compared)" in found["finding"]
    assert not Path("c_keep_dtype.txt").exists()


def test_msprobe_that_fails(msprobe):
    msprobe.setenv("TABLE", "")
    assert "not compared: msprobe wrote no table (status 1)" in look(Deep(), **NPU)["finding"]
    Path("other.csv").write_text(TABLE.read_text().replace("/", "_"))
    msprobe.setenv("TABLE", "other.csv")
    assert "names no operator of the ONNX" in look(Deep(), **NPU)["finding"]
    assert "is for several batches" in look(Deep(), **{**NPU, "batch": None})["finding"]
