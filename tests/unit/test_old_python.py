"""What an Ascend host runs works on Python 3.8 with numpy, Pillow and tqdm alone: no torch, onnx or cv2.

The interpreters are those on this machine that have these packages, and those that PYTHONS names (colons between).
"""
import ast
import functools
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from common.score import metrics

SHARED = ("cli dataset preprocess transforms fast results metrics bench bench_bins record table doctor infer remote soc atc "
          "atc_errors onnx_file check_ops aipp class_names predict draw").split()
SCRIPTS = ["ShiftViT/shiftvit_preprocess.py", "ShiftViT/shiftvit_postprocess.py", "SPACH/SPACH_preprocess.py",
           "SPACH/SPACH_postprocess.py", "Convmixer/convmixer_preprocess.py", "Convmixer/convmixer_eval_acc.py",
           "Twins-SVT-L/Twins_preprocess.py", "Twins-SVT-L/Twins_postprocess.py",
           "spnasnet/preprocess_spnasnet_100_pytorch.py", "spnasnet/get_info.py", "spnasnet/vision_metric_ImageNet.py"]
FILES = [f"common/{name}.py" for name in SHARED] + SCRIPTS
# Younger than 3.8, and not told by the grammar.
YOUNG = {"removeprefix", "removesuffix", "file_digest", "UTC", "pairwise", "batched", "bit_count"}


@pytest.mark.parametrize("name", FILES)
def test_written_for_python_3_8(name):
    tree = ast.parse((ROOT / name).read_text(), feature_version=(3, 8))
    for node in ast.walk(tree):
        assert not (isinstance(node, ast.Attribute) and node.attr in YOUNG), f"{name}:{node.lineno}: {node.attr}"
        assert not (isinstance(node, ast.Call) and any(k.arg == "strict" for k in node.keywords)
                    and getattr(node.func, "id", "") == "zip"), f"{name}:{node.lineno}: zip(strict=)"
        if isinstance(node, (ast.Import, ast.ImportFrom)) and node.col_offset == 0:
            names = [a.name for a in node.names] + [getattr(node, "module", "") or ""]
            assert not {n.split(".")[0] for n in names} & {"torch", "torchvision", "timm", "onnx", "onnxruntime", "openvino",
                                                           "cv2", "numba"}, f"{name}:{node.lineno}"


@functools.lru_cache(maxsize=None)
def interpreters():
    names = [f"python3.{minor}" for minor in range(8, 15)] + os.environ.get("PYTHONS", "").split(":")
    found = {}
    for path in filter(None, map(shutil.which, filter(None, names))):
        done = subprocess.run([path, "-c", "import sys, numpy, PIL, tqdm; print(sys.version_info[:2])"], capture_output=True,
                              text=True)
        if done.returncode == 0:
            found.setdefault(done.stdout.strip(), path)
    return found


def test_preprocess_and_postprocess_there(tmp_path):
    """Every other Python here: bins equal ours in every bit (whether or not they have cv2 and numba), scores too."""
    others = interpreters()
    if not others:
        pytest.skip("no other Python with numpy, Pillow and tqdm here; PYTHONS=/path/to/python3.8 names one")
    data = tmp_path / "data/val"
    data.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(4):
        Image.fromarray(rng.integers(0, 256, (240 + i, 300, 3), dtype=np.uint8)).save(data / f"img_{i}.png")
    (tmp_path / "data/val_label.txt").write_text("".join(f"img_{i}.png {i}\n" for i in range(4)))
    results = tmp_path / "results"
    results.mkdir()
    for i in range(4):
        logits = np.zeros(1000, np.float32)
        logits[i if i else 9] = 1
        logits.tofile(results / f"img_{i}_0.bin")

    def run(python, *words):
        done = subprocess.run([python, *map(str, words)], cwd=ROOT / "ShiftViT", capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    bins = {}
    for version, python in {"ours": sys.executable, **others}.items():
        out = tmp_path / version
        run(python, "shiftvit_preprocess.py", "--data-root", tmp_path / "data", "--save-dir", out, "--gt-path", f"{out}-gt.npy")
        bins[version] = {p.name: p.read_bytes() for p in out.glob("*.bin")}
        said = run(python, "shiftvit_postprocess.py", "--result-dir", results, "--gt-path", f"{out}-gt.npy", "--manifest", out,
                   "--json", tmp_path / "r.json")
        assert said.strip().splitlines()[-1] == metrics.Score([3, 4, 4, 4, 4], 4).line()
    assert len(bins["ours"]) == 4 and all(b == bins["ours"] for b in bins.values())


def test_txt_results_there(tmp_path):
    """Numbers in TXT are the same on every Python and numpy: the fast way has integers of 8 and 16 bits, which numpy 1 and 2
    promote by other rules."""
    values = np.random.default_rng(0).normal(0, 30, (40, 1000)).astype(np.float32)
    for i, row in enumerate(values):
        (tmp_path / f"img_{i:02d}_0.txt").write_text("%f " * 1000 % tuple(row) + "\n")
    code = ("import pathlib, sys; from common.score import results; from common.data.dataset import Manifest, Row\n"
            "stems = [f'img_{i:02d}' for i in range(40)]\n"
            "m = Manifest([Row(s + '.png', s, 0, 0) for s in stems], dict.fromkeys(stems, 1), {})\n"
            "texts = [p.read_bytes() for p in sorted(pathlib.Path(sys.argv[1]).iterdir())]\n"
            "assert results._printed(texts, 1, 1000) is not None\n"
            "sys.stdout.buffer.write(results.read(sys.argv[1], m).logits.tobytes())")
    want = np.array([[float(f"{v:f}") for v in row] for row in values]).astype("f4")
    for python in [sys.executable, *interpreters().values()]:
        done = subprocess.run([python, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True)
        assert done.returncode == 0, done.stderr.decode()
        np.testing.assert_array_equal(np.frombuffer(done.stdout, "f4").reshape(40, 1000), want, err_msg=python)
