"""`--help` of every script answers without the packages that take a second or more to import, or that only some have."""
import json
import subprocess
import sys

import pytest
from conftest import ROOT

HEAVY = {"torch", "torchvision", "timm", "onnx", "onnxruntime", "onnxslim", "openvino", "nncf", "numba", "cv2",
         "pyarrow", "ray", "psutil"}
FILES = [path for pattern in ("*/*.py", "common/cpu/*.py", "common/cpu/*/__main__.py") for path in ROOT.glob(pattern)
         if path.parent.name != "tests"]
SCRIPTS = sorted(path.relative_to(ROOT).as_posix() for path in FILES
                 if all(word in path.read_text(encoding="utf-8") for word in ("ArgumentParser(", 'if __name__ == "__main__"')))
# Runs each script as people do, in a fork of a process that has numpy already; prints its status and what it imported.
HARNESS = """
import contextlib, io, json, os, runpy, sys
import numpy
for script in sys.argv[1:]:
    if os.fork():
        os.wait()
        continue
    folder, name = os.path.split(script)
    out, status, trace = io.StringIO(), None, ""
    sys.argv = [name, "--help"]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            if folder == "common" or f"-m {folder}.{name[:-3]}" in open(script, encoding="utf-8").read():
                sys.path.insert(0, "")
                runpy.run_module(f"{folder}.{name[:-3]}", run_name="__main__", alter_sys=True)
            else:
                sys.path.insert(0, os.path.abspath(folder))
                if not folder.startswith("common"):
                    os.chdir(folder)
                    script = name
                runpy.run_path(script, run_name="__main__")
    except SystemExit as e:
        status = e.code
    except Exception as e:
        status = repr(e)
    print(json.dumps([status, out.getvalue(), sorted({m.split(".")[0] for m in sys.modules})]), flush=True)
    os._exit(0)
"""


@pytest.fixture(scope="module")
def helped():
    """{script: (exit status, what --help printed, the packages that were imported)}"""
    done = subprocess.run([sys.executable, "-c", HARNESS, *SCRIPTS], cwd=ROOT, capture_output=True, text=True, check=True)
    return dict(zip(SCRIPTS, map(json.loads, done.stdout.splitlines()), strict=True))


def test_all_scripts_are_found():
    assert {"ShiftViT/shiftvit_pytorch2onnx.py", "ShiftViT/modify_onnx.py", "spnasnet/pthtar2onnx.py", "common/speed/online.py",
            "common/cpu/atc.py", "benchmarks/score.py", "tools/sync.py"} <= set(SCRIPTS)


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_imports_nothing_heavy(helped, script):
    status, said, packages = helped[script]
    assert status in (0, None) and said.startswith("usage:"), (status, said)
    assert not HEAVY & set(packages)
