"""What an Ascend host runs works on Python 3.8 with numpy, Pillow and tqdm: no torch, onnx or
cv2."""

import ast

import pytest
from conftest import ROOT

ROOMS = ("common/*.py", "common/data/*.py", "common/score/*.py", "common/ascend/*.py",
         "common/speed/bench.py", "common/speed/table.py")
SCRIPTS = ("*/*preprocess*.py", "*/*postprocess*.py", "*/*eval_acc.py", "*/vision_metric*.py",
           "*/get_info.py", "*/benchmark.py")
FILES = sorted(path.relative_to(ROOT).as_posix() for pattern in (*ROOMS, *SCRIPTS)
               for path in ROOT.glob(pattern) if path.name != "demo_weights.py")
# Younger than 3.8, and not told by the grammar.
YOUNG = {"removeprefix", "removesuffix", "file_digest", "UTC", "pairwise", "batched", "bit_count"}
ABSENT = {"torch", "torchvision", "timm", "onnx", "onnxruntime", "openvino", "cv2", "numba"}


@pytest.mark.parametrize("name", FILES)
def test_written_for_python_3_8(name):
    tree = ast.parse((ROOT / name).read_text(), feature_version=(3, 8))
    for node in ast.walk(tree):
        where = f"{name}:{getattr(node, 'lineno', '')}"
        assert getattr(node, "attr", "") not in YOUNG, where
        if isinstance(node, ast.Call):
            strict = any(k.arg == "strict" for k in node.keywords)
            assert not (strict and getattr(node.func, "id", "") == "zip"), where
        if isinstance(node, (ast.Import, ast.ImportFrom)) and node.col_offset == 0:
            names = [a.name for a in node.names] + [getattr(node, "module", "") or ""]
            assert not {n.split(".")[0] for n in names} & ABSENT, where
