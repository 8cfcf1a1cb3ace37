"""`--help` of every script answers without the packages that take a second or more to import, or
that only some have."""
import json
import subprocess
import sys

import pytest
from conftest import ROOT

HEAVY = {"torch", "torchvision", "timm", "onnx", "onnxruntime", "onnxslim", "openvino", "nncf",
         "numba", "cv2", "pyarrow", "ray", "psutil", "matplotlib"}
ROOMS = ("*/*.py", "common/*/*.py", "common/cpu/ais_bench/__main__.py", "tools/*/*.py")
PARTS = ("ArgumentParser(", 'if __name__ == "__main__"')
SCRIPTS = sorted(
    path.relative_to(ROOT).as_posix() for pattern in ROOMS for path in ROOT.glob(pattern)
    if path.parts[len(ROOT.parts)] != "tests"
    and all(part in path.read_text(encoding="utf-8") for part in PARTS))
# Runs each script as people do, in a fork of a process that has numpy already; prints its status,
# what it said, and what it imported.
HARNESS = """
import contextlib, io, json, os, runpy, sys
import numpy
for script in sys.argv[1:]:
    if os.fork():
        os.wait()
        continue
    module = script[:-3].replace("/", ".")
    out, status = io.StringIO(), None
    sys.argv = [script, "--help"]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            if f"-m {module}" in open(script, encoding="utf-8").read():
                sys.path.insert(0, "")
                runpy.run_module(module, run_name="__main__", alter_sys=True)
            else:
                folder, name = os.path.split(script)
                os.chdir(folder)
                sys.path.insert(0, os.getcwd())
                runpy.run_path(name, run_name="__main__")
    except SystemExit as e:
        status = e.code
    except Exception as e:
        status = repr(e)
    packages = sorted({m.split(".")[0] for m in sys.modules})
    print(json.dumps([status, out.getvalue(), packages]), flush=True)
    os._exit(0)
"""


@pytest.fixture(scope="module")
def helped():
    """{script: (exit status, what --help printed, the packages that were imported)}"""
    done = subprocess.run([sys.executable, "-c", HARNESS, *SCRIPTS], cwd=ROOT,
                          capture_output=True, text=True, check=True)
    return dict(zip(SCRIPTS, map(json.loads, done.stdout.splitlines()), strict=True))


def test_all_scripts_are_found():
    assert {"ShiftViT/shiftvit_pytorch2onnx.py", "spnasnet/benchmark.py", "tools/sync.py",
            "common/speed/online.py", "common/cpu/atc.py", "benchmarks/score.py",
            "tools/inspect/compare.py", "tools/scale/scale_out.py"} <= set(SCRIPTS)


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_teaches_and_imports_nothing_heavy(helped, script):
    status, said, packages = helped[script]
    assert status in (0, None) and said.startswith("usage:"), (status, said)
    assert not HEAVY & set(packages)
    folder, name = script.split("/")[0], script.split("/")[-1]
    if (ROOT / folder / "model.py").exists():
        assert f"python3 {name}" in said
    if folder != "benchmarks" and script != "tools/sync.py":  # these need nothing of a user's
        assert "\n    cli.run(" in (ROOT / script).read_text()  # exit status 1, one line
