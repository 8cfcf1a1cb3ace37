"""A host with an NPU as the tests see one: a toolkit, npu-smi, pyACL and ais_bench that record how
they are called.

    def test_…(fake_ascend):
        make(folder, "eval", env=fake_ascend.env())
        atc, = fake_ascend.calls("atc")

What each stand-in can be told with environment variables is in its docstring (tests/fake_ascend/).
"""
import json
import os
import shlex
import stat
import sys
from pathlib import Path

import pytest

FAKES = Path(__file__).resolve().parent / "fake_ascend"
# Atlas 300I Duo: two chips on one card, and a process.
DUO = """\
+--------------------------------------------------------------------------------------------------------+
| npu-smi 25.2.0                                   Version: 25.2.0                                       |
+-------------------------------+-----------------+------------------------------------------------------+
| NPU     Name                  | Health          | Power(W)     Temp(C)           Hugepages-Usage(page) |
| Chip    Device                | Bus-Id          | AICore(%)    Memory-Usage(MB)                        |
+===============================+=================+======================================================+
| 2       310P3                 | OK              | NA           45                0     / 0             |
| 0       0                     | 0000:01:00.0    | 0            1529 / 44280                            |
+-------------------------------+-----------------+------------------------------------------------------+
| 2       310P3                 | OK              | NA           43                0     / 0             |
| 1       1                     | 0000:01:00.0    | 0            1412 / 43693                            |
+===============================+=================+======================================================+
+-------------------------------+-----------------+------------------------------------------------------+
| NPU     Chip                  | Process id      | Process name             | Process memory(MB)        |
+===============================+=================+======================================================+
| 2       0                     | 4021            | python3                  | 1020                      |
+===============================+=================+======================================================+
"""
SET_ENV = """\
export ASCEND_TOOLKIT_HOME={latest}
export ASCEND_HOME_PATH={latest}
export PYTHONPATH={site}:$PYTHONPATH
export PATH={latest}/bin:$PATH
"""
# The vendor's own (hicann/ge at ffdcbc9, api/atc/atc): no exec, so a killed atc.bin is status 137.
ATC = """\
#!/bin/bash
real_path=$(realpath "$0")
PKG_PATH=$(cd $(dirname "$real_path")/..; pwd)
export LD_LIBRARY_PATH="${PKG_PATH}/lib64:${LD_LIBRARY_PATH}"
export PYTHONPATH="${PKG_PATH}/python/site-packages:${PYTHONPATH}"

${PKG_PATH}/bin/atc.bin "$@"
"""


class FakeAscend:
    """`root` is what /usr/local/Ascend is on a host; `log` has the calls."""

    def __init__(self, folder):
        self.home, self.bin, self.log = folder / "home", folder / "bin", folder / "calls.jsonl"
        self.root, self.table = self.home / "Ascend", folder / "npu-smi.txt"
        self.home.mkdir(parents=True)
        self.table.write_text(DUO)
        self.script(self.bin / "npu-smi", FAKES / "npu_smi.py")
        self.script(self.bin / "python3")
        self.toolkit()

    def script(self, path, program=None):
        """Make `path` run a Python program (or be a Python) with the interpreter of these tests."""
        path.parent.mkdir(parents=True, exist_ok=True)
        words = [sys.executable] + ([str(program)] if program else [])
        path.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        path.chmod(0o755)

    def toolkit(self, kind="ascend-toolkit", atc=True, site=FAKES / "site", release="7.0.0"):
        """Lay out a toolkit: kind cann or ascend-toolkit, or nnrt with atc=False."""
        latest = self.root / kind / "latest"
        (latest / "bin").mkdir(parents=True, exist_ok=True)
        if atc:
            self.script(latest / "bin/atc.bin", FAKES / "atc.py")
            (latest / "bin/atc").write_text(ATC)
            (latest / "bin/atc").chmod(0o755)
            self.script(latest / "bin/amct_onnx", FAKES / "amct_onnx.py")
        info = latest / "x86_64-linux/ascend_toolkit_install.info"
        info.parent.mkdir(exist_ok=True)
        info.write_text(f"package_name=Ascend-cann-toolkit\nversion={release}\narch=x86_64\n")
        (self.root / kind / "set_env.sh").write_text(
            SET_ENV.format(latest=shlex.quote(str(latest)), site=shlex.quote(str(site))))
        return self.root / kind

    def env(self, loaded=True, kind="ascend-toolkit", site=FAKES / "site", **more):
        """The environment: ours without CANN's variables, the stand-ins, and, when `loaded`, what
        the set_env.sh of the toolkit `kind` sets."""
        others = ("ASCEND", "FAKE_", "PYTHONPATH", "CONDA")
        clean = {k: v for k, v in os.environ.items() if not k.startswith(others)}
        env = {**clean, "PATH": f"{self.bin}:{clean['PATH']}", "HOME": str(self.home),
               "FAKE_ASCEND_LOG": str(self.log), "FAKE_NPU_SMI": str(self.table)}
        if loaded:
            latest = str(self.root / kind / "latest")
            env.update(ASCEND_TOOLKIT_HOME=latest, ASCEND_HOME_PATH=latest, PYTHONPATH=str(site),
                       PATH=f"{latest}/bin:{env['PATH']}")
        return {**env, **{k: str(v) for k, v in more.items()}}

    def enter(self, monkeypatch, **more):
        """Set the environment for this process."""
        for name, value in self.env(**more).items():
            monkeypatch.setenv(name, value)

    def calls(self, tool):
        """Return the recorded calls of `tool` as [{argv, cwd}]."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [call for call in map(json.loads, lines) if call["tool"] == tool]


@pytest.fixture
def fake_ascend(tmp_path):
    return FakeAscend(tmp_path / "ascend")


def rights(path):
    return stat.S_IMODE(path.stat().st_mode)
