"""The whole way, on a model folder alone: demo, every batch size and engine, rebuilds, faults in the results."""
import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT, counts, last_line, make

pytestmark = pytest.mark.xdist_group("shiftvit")


def stamps(folder):
    """{path: mtime} of what the pipeline made, without the bins and results themselves."""
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in (folder / "build/demo").iterdir() if p.is_file()}


def remade(folder, *words):
    """Names of the files in build/demo that `make *words` wrote."""
    before = stamps(folder)
    make(folder, *words)
    return {os.path.basename(p) for p, t in stamps(folder).items() if before.get(p) != t}


def test_demo(shiftvit):
    folder, said = shiftvit
    good, total = counts(last_line(said))
    assert total == 240 and good >= 0.9 * total
    row = next(line for line in said.splitlines() if line.startswith("ShiftViT-T/light "))
    assert row.split()[5] == "yes" and "862.72" in row and "Demo: generated images" in said
    online = json.loads((folder / "build/demo/online.json").read_text())
    offline = json.loads((folder / "build/demo/eval_bs8_openvino.json").read_text())
    assert online["counts"] == offline["counts"] and offline["demo"] and online["demo"]
    made_by = offline["produced_by"]
    assert made_by["engine"] == "openvino" and made_by["precision"] == "f32" and made_by["batch"] == 8
    assert made_by["onnx"]["metadata"]["weights"] == "shiftvit_tiny_light_demo.pth"
    assert not list((folder / "build").glob("*.*")), "the demo leaves nothing where real files go"


def test_second_call_has_nothing_to_do(shiftvit):
    folder, said = shiftvit
    before = stamps(folder)
    for verb in ("prep", "onnx", "om", "infer", "online", "bench"):
        assert f"{verb}: nothing to do" in make(folder, verb)
    again = make(folder, "eval")
    assert "eval: nothing to do" in again and last_line(again) == last_line(said)
    assert stamps(folder) == before


@pytest.mark.parametrize("words", [("BS=1",), ("BS=64",), ("ENGINE=onnxruntime", "BS=8"), ("BINS=batch", "BS=8"),
                                   ("BINS=batch", "BS=64"), ("BINS=batch", "BS=64", "ENGINE=onnxruntime")], ids=" ".join)
def test_same_counts_everywhere(shiftvit, words):
    folder, said = shiftvit
    assert counts(last_line(make(folder, "eval", *words))) == counts(last_line(said))


def test_both_layouts_score_the_same(shiftvit):
    folder, said = shiftvit
    flat = make(folder, "eval", "WEIGHTS=demo", "DATA=build/demo/data/flat")
    assert counts(last_line(flat)) == counts(last_line(said))
    # Results of these bins must not pass for results of the others, though they lie under one name.
    assert "ais_bench --model" in make(folder, "-n", "eval")
    assert "common.speed.online" in make(folder, "-n", "online", "DATA=build/demo/data/flat", "WEIGHTS=demo")


def test_a_changed_variable_remakes_what_depends_on_it(shiftvit):
    folder, said = shiftvit
    limit = remade(folder, "eval", "LIMIT=50")
    assert {"prep.cfg", "prep-gt.npy", "eval_bs8_openvino.json"} <= limit
    assert not limit & {"shiftvit1.onnx", "shiftvit2.onnx", "shiftvit2-bs8.blob"}
    result = json.loads((folder / "build/demo/eval_bs8_openvino.json").read_text())
    assert result["total"] == 50 and result["subset"] and "subset of 50 of 240" in " ".join(result["notes"])
    full = make(folder, "eval")
    assert "50 of 240 bins are there already" in full and counts(last_line(full)) == counts(last_line(said))

    assert remade(folder, "om", "BS=4") == {"shiftvit2-bs4.blob", "shiftvit2-bs4.blob.json"}
    assert remade(folder, "bench", "BS=4", "LOOP=3") == {"perf_bs4_openvino.json", "perf_bs4_openvino.cfg"}
    assert remade(folder, "onnx", "OPSET=12") == {"onnx.cfg", "shiftvit1.onnx", "shiftvit2.onnx"}
    assert {"shiftvit2-bs4.blob"} <= remade(folder, "om", "BS=4", "OPSET=12")
    assert "opset 11" in make(folder, "onnx")  # and back


def test_a_deleted_file_is_made_again(shiftvit):
    folder, _ = shiftvit
    make(folder, "om")
    (folder / "build/demo/shiftvit2.onnx").unlink()
    assert {"shiftvit2.onnx", "shiftvit2-bs8.blob"} <= remade(folder, "om")


@pytest.fixture
def score(shiftvit, tmp_path):
    """Scores a copy of the results after `harm(copy)`; returns (exit status, all that was printed)."""
    folder, _ = shiftvit
    make(folder, "eval")

    def run(harm, *words):
        shutil.copytree(folder / "build/demo/result/bs8_openvino", tmp_path / "result")
        harm(tmp_path / "result")
        done = subprocess.run([folder / ".venv/bin/python", "shiftvit_postprocess.py", "--result-dir", tmp_path / "result",
                               "--gt-path", "build/demo/prep-gt.npy", "--json", tmp_path / "r.json", *words],
                              cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert "Traceback" not in done.stdout and (done.returncode == 0) == (tmp_path / "r.json").exists()
        return done.returncode, done.stdout
    return run


@pytest.mark.parametrize("harm, message", [
    (lambda d: (d / "demo_val_00000007_0.bin").unlink(), "1 images without a result: demo_val_00000007.JPEG"),
    (lambda d: shutil.copy(d / "demo_val_00000007_0.bin", d / "other_0.bin"), "1 result files of no image: other_0.bin"),
    (lambda d: (d / "demo_val_00000007_0.bin").write_bytes(b""), "1 broken result files: demo_val_00000007_0.bin (is empty)"),
    (lambda d: os.truncate(d / "demo_val_00000007_0.bin", 1600), "1 broken result files: demo_val_00000007_0.bin"),
    (lambda d: (d / "demo_val_00000007_0.bin").write_bytes(b"\xff" * 4000), "demo_val_00000007_0.bin (holds NaN"),
    (lambda d: [f.unlink() for f in d.iterdir()], "holds no result files")])
def test_results_that_do_not_add_up(score, harm, message):
    status, said = score(harm)
    assert status == 1 and message in said and "top1=" not in said


def test_allow_partial_says_so(score):
    status, said = score(lambda d: (d / "demo_val_00000007_0.bin").unlink(), "--allow-partial")
    assert status == 0 and re.search(r"total=239 missing=1 partial$", last_line(said)) and "1 of 240 images" in said


def test_interrupted_prep_ends_with_the_same_bytes(shiftvit):
    folder, _ = shiftvit
    words = ["prep", "OUT=build/cut", "WEIGHTS=demo", "DATA=build/demo/data"]
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MAKE") and k != "MFLAGS"}
    for seconds in (0.6, 0.9, 1.2):
        process = subprocess.Popen(["make", *words, "JOBS=1"], cwd=folder, env=clean, start_new_session=True,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
            assert not (folder / "build/cut/prep/manifest.json").exists()
    make(folder, *words)
    make(folder, *(w.replace("build/cut", "build/whole") for w in words))

    def content(name):
        return {p.name: p.read_bytes() for p in (folder / name / "prep").iterdir() if p.name != ".lock"}
    assert content("build/cut") == content("build/whole")


def test_the_first_command_of_the_readme(tmp_path):
    """`make demo` at the top of a checkout, whose path has a space, with the tests' own interpreter."""
    top = tmp_path / "a checkout"
    for name in ("common", "tools", "spnasnet"):
        shutil.copytree(ROOT / name, top / name, ignore=shutil.ignore_patterns("build", "__pycache__", ".*"))
    for name in ("Makefile", "requirements.txt"):
        shutil.copy(ROOT / name, top)
    said = make(top, "demo", "MODELS=spnasnet", f"PYTHON={sys.executable}", "LIMIT=40", "BS=4")
    assert re.search(r"^spnasnet_100 +40 +\S+% +\S+% +\S+% +yes ", said, re.M) and counts(last_line(said))[1] == 40


def test_clean_keeps_what_it_did_not_make(tmp_path):
    from conftest import copy_of

    folder = copy_of("ShiftViT", tmp_path)
    (folder / "build/demo").mkdir(parents=True)
    (folder / "build/mine.txt").write_text("x")
    (folder / "weights").mkdir()
    make(folder, "clean")
    assert (folder / "build/mine.txt").exists() and (folder / "weights").exists() and not (folder / "build/demo").exists()
