"""The repository's verbs on real commands: predict from anywhere, a short sweep, push and pull."""
import json
import os
import re
import shutil
import sys
from types import SimpleNamespace

import pytest
import tiny
from ascend import FakeAscend
from conftest import make
from PIL import Image

from tools.report import record

PY = f"PYTHON={sys.executable}"


@pytest.fixture(scope="module")
def top(tmp_path_factory):
    """A repository in a path with a space, whose one model is the small network; a photograph."""
    top = tiny.repository(tmp_path_factory.mktemp("place") / "a checkout", "Net")
    image = next((top / "Net/data/val").iterdir())
    Image.open(image).save(top / "my photo.png")
    return top


def given(folder="data", weights="tiny.pth"):
    return [f"DATA={folder}", f"WEIGHTS={weights}", "ENGINE=openvino", PY]


def shares(said):
    """What predict printed for its images, without names of engines."""
    return [line for line in said.splitlines() if re.match(r"  [1-5]  ", line)]


def test_predict_from_the_top_and_from_the_folder(top):
    """Relative paths mean the folder make was called in; nobody waits for a batch to be filled."""
    words = ["DATA=Net/data", "WEIGHTS=Net/tiny.pth", "ENGINE=openvino", PY]
    said = make(top, "predict", "MODEL=Net", "IMAGE=my photo.png", "PNG=answer.png", *words)
    assert "my photo.png" in said and len(shares(said)) == 5
    assert (top / "answer.png").exists() and (top / "Net/build/spnasnet_100_bs1.blob").exists()
    inside = make(top / "Net", "predict", "IMAGE=../my photo.png", "BS=4", *given())
    assert shares(inside) == shares(said)
    om = make(top / "Net", "predict", "IMAGE=../my photo.png",
              "OM=build/spnasnet_100_bs4.blob", *given())
    assert shares(om) == shares(said)
    assert "IMAGE= is needed" in make(top / "Net", "predict", *given(), status=2)
    shutil.rmtree(top / "Net/build")
    failed = make(top / "Net", "predict", "IMAGE=gone.png", *given(), status=2)
    assert "error: no such image: gone.png" in failed and not (top / "Net/build").exists()


@pytest.mark.slow
def test_predict_on_an_ascend_host(top, tmp_path_factory):
    """The same answers, where CANN's own PYTHONPATH has ais_bench."""
    base = tmp_path_factory.mktemp("npu")
    os.chmod(base, 0o755)
    fake = FakeAscend(base / "ascend")
    words = ["DATA=data", "WEIGHTS=tiny.pth", PY, "IMAGE=../my photo.png"]
    folder = base / "a" / "Net"
    tiny.repository(base / "a", "Net")
    os.link(top / "my photo.png", base / "a/my photo.png")
    said = make(folder, "predict", "SOC=Ascend310P3", *words, env=fake.env())
    here = make(folder, "predict", "ENGINE=openvino", *words)
    assert "CANN" in said and "Ascend310P3" in said
    assert [line.split()[2:] for line in shares(said)] == [
        line.split()[2:] for line in shares(here)]


def test_a_short_sweep_is_kept(top):
    """All are compiled before the first is timed; both figures are kept."""
    said = make(top / "Net", "sweep", "BATCHES=1 8", "LOOP=2", *given())
    assert said.rindex("common.cpu.atc") < said.index("common.speed.bench")
    path = record.path_in(top / "results")
    first = {r["batch"]: r for r in record.read(path)}
    assert set(first) == {1, 8}
    for r in first.values():
        assert r["model"] == "spnasnet_100" and r["engine"] == "openvino" and r["demo"] is False
        rounds = [len(r[part]["repeats"]) for part in ("compute_only", "from_bin")]
        assert rounds == [6, 6]  # two rounds of three
        assert r["from_bin"]["images"] == 8 and len(r["weights"]["sha256"]) == 64
        assert r["compute_only"]["ms"]["min"] <= r["compute_only"]["ms"]["p99"]


@pytest.mark.slow
def test_sweeps_of_two_models_end_with_one_table(top):
    """The long way is in a log for each; a model that fails is named, with its reason."""
    shutil.copytree(top / "Net", top / "Other", symlinks=True)
    words = ["sweep", "BATCHES=1", "LOOP=1", "DATA=Net/data", "ENGINE=openvino", PY]
    said = make(top, *words, "WEIGHTS=Net/tiny.pth", "MODELS=Net Other").splitlines()
    assert said[0] == "Net: sweep of batch 1, see build/sweep-Net.log"
    rows = [line.split()[:2] for line in said if line.startswith(("Net ", "Other "))]
    assert rows == [["Net", "1"], ["Other", "1"]]
    assert "Performance Summary" in (top / "build/sweep-Other.log").read_text()
    (top / "Other/model.py").write_text("raise SystemExit('error: no network')\n")
    said = make(top, *words, "WEIGHTS=Net/tiny.pth", "MODELS=Other Net", status=2)
    assert "error: no network" in said
    assert "error: the sweep of Other failed — see build/sweep-Other.log" in said
    shutil.rmtree(top / "Other")


def test_real_weights_without_images(top):
    """Then only the computation is timed; what needs images says so."""
    words = ["WEIGHTS=tiny.pth", "ENGINE=openvino", PY]
    said = make(top / "Net", "-n", "sweep", "BATCHES=16", *words)
    assert "common.speed.bench" in said and "bench_bins" not in said
    for verb in ("compare", "half", "bench-bins", "scale"):
        assert "say DATA=/path/to/imagenet" in make(top / "Net", verb, *words, status=2)


# ---- push and pull ----

RSYNC = """#!{python}
import json, os, sys
with open(os.environ["CALLS"], "a") as f:
    f.write(json.dumps(sys.argv[1:]) + "\\n")
sys.exit(int(os.environ.get("STATUS", 0)))
"""


@pytest.fixture
def rsync(top, tmp_path, monkeypatch):
    """An rsync that records how it is called; .call(verb, …) runs a verb and returns its words."""
    program = tmp_path / "bin/rsync"
    program.parent.mkdir()
    program.write_text(RSYNC.format(python=sys.executable))
    program.chmod(0o755)
    log = tmp_path / "calls"
    env = {"PATH": f"{program.parent}:{os.environ['PATH']}", "CALLS": str(log)}

    def call(*words, status=0, **more):
        log.write_text("")
        said = make(top / "Net", *words, PY, env={**env, **more}, status=status)
        calls = [json.loads(line) for line in log.read_text().splitlines()]
        return said, (calls or [None])[0]
    return SimpleNamespace(call=call)


def test_push_tightens_rights_and_leaves_out_what_is_this_hosts(rsync):
    """ais_bench refuses files that others may write. A link is sent as the file that it leads
    to."""
    said, words = rsync.call("push", "HOST=user@npu")
    assert words[-2:] == ["./", "user@npu:Net/"] and "--chmod=go-w" in words
    short = "".join(w[1:] for w in words if re.fullmatch("-[A-Za-z]+", w))
    assert {"r", "p", "t", "L"} <= set(short)
    assert {"--exclude=.venv", "--exclude=.git", "--exclude=.*.part.*"} <= set(words)
    assert said.strip().splitlines()[-1].startswith("push: user@npu:Net has what is here")
    assert rsync.call("push", "HOST=npu", "REMOTE_DIR=/srv/x")[1][-1] == "npu:/srv/x/"


def test_pull_takes_results_into_the_build_folder_and_no_links(rsync):
    said, words = rsync.call("pull", "HOST=user@npu")
    assert words[-2:] == ["user@npu:Net/build/", "build/"] and "--no-links" in words
    assert "--exclude=*" in words and "--chmod=go-w" in words
    taken = {w.split("=", 1)[1] for w in words if w.startswith("--include=")}
    assert {"*.om", "*.json", "result/**"} <= taken and "*" not in taken
    assert not any("L" in w for w in words if re.fullmatch("-[A-Za-z]+", w))


@pytest.mark.parametrize("verb", ["push", "pull"])
@pytest.mark.parametrize("code, named", [(2, True), (12, True), (255, False), (23, False)])
def test_a_shell_that_prints_a_banner_is_named(rsync, verb, code, named):
    said, _ = rsync.call(verb, "HOST=user@npu", status=2, STATUS=str(code))
    assert ("~/.bashrc" in said and "ssh user@npu true" in said) == named
    assert "has what is here" not in said and f"Error {code}" in said


def test_push_needs_a_host(rsync):
    said, words = rsync.call("push", status=2)
    assert "HOST= is needed" in said and words is None
