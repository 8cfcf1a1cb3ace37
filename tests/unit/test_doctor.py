"""make doctor: each line of it true, one command for one problem, and nothing that hangs."""
import re
import subprocess
import sys

import pytest
from ascend import FAKES
from conftest import ROOT

from common import cli
from common import doctor as module

PINNED = "torch==2.15.0\nnot-a-package==1.0\nneither-this==2.0\n"


@pytest.fixture
def doctor(tmp_path, fake_ascend):
    """doctor(status, *words, …) runs it in a folder of its own; returns what it printed."""
    folder = tmp_path / "m"
    (folder / "weights").mkdir(parents=True)
    (folder / "published.json").write_text('{"model": "m", "weights": {"file": "w.pth"}}')

    def run(status, *words, env=None):
        env = env or fake_ascend.env(loaded=False, HOME=tmp_path)
        env = {**env, "PYTHONPATH": f"{ROOT}:{env.get('PYTHONPATH', '')}"}
        done = subprocess.run(
            [sys.executable, "-m", "common.doctor", *words], cwd=folder, env=env, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
        assert done.returncode == status, done.stdout
        assert "Traceback" not in done.stdout
        return done.stdout

    run.folder = folder
    (fake_ascend.bin / "npu-smi").rename(tmp_path / "npu-smi")
    return run


def line(said, what):
    found, = [row for row in said.splitlines() if re.match(rf" . {what}  ", row)]
    return found


def test_a_host_without_an_npu(doctor):
    said = doctor(0, "--engine", "onnxruntime")
    assert said.strip().endswith("0 things to fix; engine: onnxruntime")
    assert "not needed for the CPU engines" in line(said, "CANN") and "ais_bench" not in said


@pytest.mark.parametrize("gigabytes, mark", [(50, "✓"), (3, "·"), (0.5, "✗")])
def test_little_room_is_a_problem_only_where_nothing_fits(monkeypatch, capsys, gigabytes, mark):
    usage = module.shutil.disk_usage(".")._replace(free=int(gigabytes * 1e9))
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage)
    monkeypatch.setattr(module, "problems", [])
    module.host()
    said = line(capsys.readouterr().out, "disk")
    assert said.startswith(f" {mark}") and ("ImageNet's bins 30 GB" in said) == (gigabytes < 40)


def test_missing_packages_are_one_thing(doctor):
    (doctor.folder / "requirements.txt").write_text(PINNED)
    said = doctor(1)
    packages = line(said, "packages")
    assert "2 of 3 not installed: not-a-package, neither-this — make setup" in packages
    assert "1 thing to fix" in said


@pytest.mark.parametrize("name, size, found", [
    ("w.pth", 9, True), ("other.pth.tar", 9, False), ("w.pth.json", 9, False),
    ("w.pth", None, False)])
def test_what_counts_as_weights(doctor, name, size, found):
    path = doctor.folder / "weights" / name
    path.mkdir() if size is None else path.write_bytes(b"x" * size)
    said = line(doctor(0), "m weights")
    assert (f"✓ m weights                weights/{name}" in said) == found
    assert ("make weights; until then the demo's are used" in said) != found


def test_a_model_without_published_weights(doctor):
    cli.write_json(doctor.folder / "published.json", {"model": "M", "weights": None})
    assert "make weights; until then" in line(doctor(0), "m weights")


def npu(fake, tmp_path, **more):
    (tmp_path / "npu-smi").rename(fake.bin / "npu-smi")
    return fake.env(**more)


def test_a_host_that_has_everything(doctor, fake_ascend, tmp_path):
    said = doctor(0, env={**npu(fake_ascend, tmp_path), "FAKE_ACL": "Ascend310P3Vir02"})
    assert "✓ ais_bench                of python3" in said
    assert "✓ chip                     Ascend310P3Vir02 (from pyACL)" in said
    assert "✓ CANN                     7.0.0 in " in said and "engine: ascend" in said
    assert line(said, "atc").endswith("/latest/bin/atc")


def test_cann_that_is_not_loaded(doctor, fake_ascend, tmp_path):
    said = doctor(1, env=npu(fake_ascend, tmp_path, loaded=False))
    folder = fake_ascend.root / "ascend-toolkit"
    cann = line(said, "CANN")
    assert f"✗ CANN                     7.0.0 in {folder}, not loaded" in cann
    assert cann.endswith(f" — source {folder}/set_env.sh")
    assert "✓ chip                     Ascend310P3 (from npu-smi)" in said
    bench = line(said, "ais_bench")
    assert "No module named 'aclruntime' (status 1) — install it: pip install mindst" in bench


@pytest.mark.parametrize("table, said", [
    ("none", "npu-smi: dcmi module initialize failed. ret is -8005 (status 255)"),
    ("hang", "npu-smi: no answer in 3 s, killed")])
def test_a_driver_that_fails_or_hangs(doctor, fake_ascend, tmp_path, monkeypatch, capsys,
                                      table, said):
    """The status counts: npu-smi says what is wrong on stdout, once taken for its version."""
    monkeypatch.setattr(module, "SECONDS", 3)
    monkeypatch.setattr(module, "problems", [])
    (tmp_path / "npu-smi").rename(fake_ascend.bin / "npu-smi")
    fake_ascend.enter(monkeypatch, FAKE_NPU_SMI=tmp_path / table)
    module.ascend()
    chip = line(capsys.readouterr().out, "chip")
    assert " ✗ chip" in chip and said in chip and module.problems == ["chip"]


@pytest.mark.parametrize("script, good, said", [
    ("echo usage", True, "/bin/atc"), ("echo E10007 >&2; exit 1", False, "E10007 (status 1)"),
    ("exec $(dirname $0)/elf", False,
     "Exec format error (status 126) — install the one for the processor")])
def test_the_status_of_atc_counts(doctor, fake_ascend, monkeypatch, capsys, script, good, said):
    folder = fake_ascend.root / "ascend-toolkit/latest/bin"
    atc = f"#!/bin/bash\necho 7.0 >&2\n{script}\n"
    for name, text in (("atc", atc), ("elf", "\x7fELF of another")):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    fake_ascend.enter(monkeypatch, site=FAKES / "llm")
    module.ascend()
    out = capsys.readouterr().out
    assert (" ✓ atc" in out) == good and said in line(out, "atc")
    assert "No module named 'aclruntime' (status 1) — install it" in line(out, "ais_bench")


def test_the_status_of_a_version_counts(tmp_path, monkeypatch):
    tool = tmp_path / "tool"
    tool.write_text("#!/bin/sh\necho version 1.2; exit $1\n")
    tool.chmod(0o755)
    assert module.version_of(str(tool), "0") == "version 1.2"
    assert module.version_of(str(tool), "3") is None and module.version_of("no-such-tool") is None
