"""ShiftViT's own scripts: modify_onnx.py, the ground-truth table, both spellings of the flags."""
import importlib
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from conftest import ROOT, odd_images
from onnx import TensorProto, helper, numpy_helper

from common import cli
from common.data import dataset

FOLDER = ROOT / "ShiftViT"


@pytest.fixture(autouse=True)
def in_folder(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))


def tail(ops=("Mul", "Add", "GlobalAveragePool", "Flatten", "Gemm"), swap=False):
    """A graph that ends as ShiftViT's does: norm, pool, flatten, linear."""
    rng = np.random.default_rng(0)
    weights = {"scale": rng.normal(size=(4, 1, 1)), "shift": rng.normal(size=(4, 1, 1)), "w": rng.normal(size=(3, 4)),
               "b": rng.normal(size=3)}
    inputs = {"Mul": ["scale"], "Add": ["shift"], "Gemm": ["w", "b"]}
    nodes, last = [helper.make_node("Relu", ["input"], ["normed"])], "normed"
    for op in ops:
        names = [last, *inputs.get(op, [])]
        nodes.append(helper.make_node(op, names[::-1] if swap and op in ("Mul", "Add") else names, [f"{op}_out"],
                                      **({"transB": 1} if op == "Gemm" else {})))
        last = f"{op}_out"
    graph = helper.make_graph(
        nodes, "tail", [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 4, 5, 5])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(v.astype(np.float32), k) for k, v in weights.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 12)], ir_version=7)


def modify(*words):
    return subprocess.run([sys.executable, "modify_onnx.py", *map(str, words)], cwd=FOLDER, capture_output=True, text=True)


@pytest.mark.parametrize("flags", [("-i", "-o"), ("--input-onnx-path", "--output-onnx-path"),
                                   ("--input-onnx", "--output-onnx")], ids=str)
@pytest.mark.parametrize("swap", [False, True])
def test_pow_goes_before_the_last_norm(tmp_path, flags, swap):
    onnx.save(tail(swap=swap), tmp_path / "1.onnx")
    done = modify(flags[0], tmp_path / "1.onnx", flags[1], tmp_path / "2.onnx")
    assert done.returncode == 0, done.stderr
    after = onnx.load(tmp_path / "2.onnx")
    assert [n.op_type for n in after.graph.node] == ["Relu", "Pow", "Mul", "Add", "GlobalAveragePool", "Flatten", "Gemm"]
    image = np.random.default_rng(1).normal(size=(2, 4, 5, 5)).astype(np.float32)
    one, two = (onnxruntime.InferenceSession(tmp_path / f"{i}.onnx").run(None, {"input": image})[0] for i in (1, 2))
    np.testing.assert_array_equal(one, two)


def test_second_run_changes_nothing(tmp_path):
    onnx.save(tail(), tmp_path / "1.onnx")
    modify("-i", tmp_path / "1.onnx", "-o", tmp_path / "2.onnx")
    assert modify("-i", tmp_path / "2.onnx", "-o", tmp_path / "3.onnx").returncode == 0
    assert (tmp_path / "2.onnx").read_bytes() == (tmp_path / "3.onnx").read_bytes()


@pytest.mark.parametrize("ops", [("Mul", "GlobalAveragePool", "Flatten", "Gemm"), ("Mul", "Add", "Flatten", "Gemm"),
                                 ("Mul", "Add", "GlobalAveragePool")])
def test_without_the_pattern_nothing_is_written(tmp_path, ops):
    onnx.save(tail(ops), tmp_path / "1.onnx")
    done = modify("-i", tmp_path / "1.onnx", "-o", tmp_path / "2.onnx")
    assert done.returncode == 1 and "not found" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "2.onnx").exists()


def test_no_onnx(tmp_path):
    (tmp_path / "1.onnx").write_text("<html>")
    for name, said in (("1.onnx", "is not an ONNX file"), ("0.onnx", "does not exist")):
        done = modify("-i", tmp_path / name, "-o", tmp_path / "2.onnx")
        assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr
    assert modify("-i", tmp_path / "1.onnx").returncode == 2


@pytest.mark.parametrize("batch", [1, 4])
def test_ground_truth_round_trip(tmp_path, batch):
    write, read = importlib.import_module("shiftvit_preprocess"), importlib.import_module("shiftvit_postprocess")
    rows = [dataset.Row(f"a_{i}.JPEG", f"a_{i}" if batch == 1 else f"batch-{i // 4:05d}", i % batch, i * 100) for i in range(6)]
    manifest = dataset.Manifest(rows, {r.file: batch for r in rows}, {})
    write.save_ground_truth(manifest, tmp_path / "gt.npy")
    assert read.load_ground_truth(tmp_path / "gt.npy") == manifest


def test_ground_truth_of_modelzoos_own_script(tmp_path):
    read = importlib.import_module("shiftvit_postprocess")
    np.save(tmp_path / "gt.npy", np.array([[5, 6], [7, 8]]))
    manifest = read.load_ground_truth(tmp_path / "gt.npy")
    assert [(r.file, r.row, r.label) for r in manifest.rows] == [
        ("batch-00000", 0, 5), ("batch-00000", 1, 6), ("batch-00001", 0, 7), ("batch-00001", 1, 8)]
    np.save(tmp_path / "gt.npy", np.array([0.5]))
    with pytest.raises(cli.Failure, match="holds float64"):
        read.load_ground_truth(tmp_path / "gt.npy")
    (tmp_path / "gt.npy").write_text("x")
    with pytest.raises(cli.Failure, match="is no .npy file"):
        read.load_ground_truth(tmp_path / "gt.npy")


@pytest.mark.parametrize("script", ["shiftvit_preprocess.py", "shiftvit_pytorch2onnx.py", "modify_onnx.py",
                                    "shiftvit_postprocess.py"])
def test_help_teaches(script):
    done = subprocess.run([sys.executable, script, "--help"], cwd=FOLDER, capture_output=True, text=True)
    assert done.returncode == 0 and f"python3 {script}" in done.stdout


def test_bins_are_the_documented_torchvision_recipe(tmp_path):
    from torchvision import transforms as tv
    from torchvision.datasets.folder import default_loader

    recipe = tv.Compose([tv.Resize(256, tv.InterpolationMode.BICUBIC), tv.CenterCrop(224), tv.ToTensor(),
                         tv.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))])
    paths, labels = odd_images(tmp_path)
    done = subprocess.run([sys.executable, "shiftvit_preprocess.py", "--data-root", tmp_path, "--save-dir", tmp_path / "bins",
                           "--gt-path", tmp_path / "gt.npy"], cwd=FOLDER, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for path in paths:
        got = np.fromfile(tmp_path / "bins" / f"{path.stem}.bin", np.float32).reshape(3, 224, 224)
        np.testing.assert_array_equal(got, recipe(default_loader(str(path))).numpy())
    table = np.load(tmp_path / "gt.npy").ravel()
    assert {str(r["file"]): int(r["label"]) for r in table} == labels
