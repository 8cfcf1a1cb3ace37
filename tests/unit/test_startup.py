"""`--help` of every script answers without the packages that take a second or more to import."""
import json
import subprocess
import sys

import pytest
from conftest import ROOT

HEAVY = {"torch", "torchvision", "timm", "onnx", "onnxruntime", "onnxslim", "openvino", "nncf",
         "numba", "cv2", "pyarrow", "ray", "psutil"}
MARKS = ("ArgumentParser(", 'if __name__ == "__main__"')
SCRIPTS = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*/*.py", "common/*/*.py", "common/*/*/__main__.py", "tools/*/*.py")
    for path in ROOT.glob(pattern)
    if path.parent.name not in ("tests", "template", "build")
    and all(mark in path.read_text(encoding="utf-8") for mark in MARKS))
# Runs each script in a fork of a process that has numpy already; prints its status, what it
# printed and what it imported. Scripts of common/, tools/ and benchmarks/ are run as modules.
HARNESS = """
import contextlib, io, json, os, runpy, sys
import numpy
for script in sys.argv[1:]:
    if os.fork():
        os.wait()
        continue
    folder, name = os.path.split(script)
    out, status = io.StringIO(), None
    sys.argv = [name, "--help"]
    sys.path.insert(0, "")
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            if folder.split("/")[0] in ("common", "tools", "benchmarks"):
                module = script[:-3].replace("/", ".")
                runpy.run_module(module, run_name="__main__", alter_sys=True)
            else:
                os.chdir(folder)
                runpy.run_path(name, run_name="__main__")
    except SystemExit as e:
        status = e.code
    except Exception as e:
        status = repr(e)
    imported = sorted({m.split(".")[0] for m in sys.modules})
    print(json.dumps([status, out.getvalue(), imported]), flush=True)
    os._exit(0)
"""


@pytest.fixture(scope="module")
def helped():
    """{script: (exit status, what --help printed, the packages that were imported)}"""
    done = subprocess.run([sys.executable, "-c", HARNESS, *SCRIPTS], cwd=ROOT, text=True,
                          capture_output=True, check=True)
    return dict(zip(SCRIPTS, map(json.loads, done.stdout.splitlines()), strict=True))


def test_all_scripts_are_found():
    assert {"ShiftViT/shiftvit_pytorch2onnx.py", "ShiftViT/modify_onnx.py", "tools/sync.py",
            "spnasnet/pthtar2onnx.py", "common/speed/online.py", "common/cpu/atc.py",
            "benchmarks/score.py", "tools/inspect/predict.py"} <= set(SCRIPTS)


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_imports_nothing_heavy(helped, script):
    status, said, packages = helped[script]
    assert status in (0, None) and said.startswith("usage:"), (status, said)
    assert not HEAVY & set(packages)
