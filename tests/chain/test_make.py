"""The Makefiles: misuse is named, nothing in a value is run, command lines are ModelZoo's."""
import subprocess
import sys

import pytest
from conftest import ROOT, copy_of, make

MODELS = sorted(p.parent.name for p in ROOT.glob("*/model.py") if (p.parent / "Makefile").exists())


@pytest.fixture(params=["", "ShiftViT"], ids=["top", "model"])
def where(request):
    return ROOT / request.param


def test_help_is_the_default(where):
    said = make(where)
    assert said == make(where, "help")
    for word in ("om ", "eval ", "bench ", "BS", "Examples"):
        assert word in said


@pytest.mark.parametrize("given, named", [
    ("BATCH=8", "unknown variable BATCH; settable are:.* BS DATA WEIGHTS"), ("bs=8", "unknown variable bs")])
def test_misspelt_variable(where, given, named):
    import re

    assert re.search(named, make(where, "-n", "eval", given, status=2))


@pytest.mark.parametrize("given, named", [
    ("BS=7", "BS=7: choose one of 1 4 8 16 32 64"), ("BS=08", "BS=08: choose one of"), ("BS=", "BS=: choose one of"),
    ("BS=4 8", "choose one of"), ("ENGINE=tensorrt", "choose one of auto ascend openvino onnxruntime"),
    ("PRECISION=int4", "f32"),
    ("PROVIDER=rocm", "cpu cuda tensorrt"),
    ("LIMIT=0", "LIMIT=0: give a positive whole number"), ("LIMIT=ten", "positive whole"), ("LOOP=-1", "positive whole"),
    ("JOBS=2.5", "positive whole"), ("OPSET=9", "choose one of 11 12"), ("OUT=a b", "a path with spaces cannot be used"),
    ("OUT=", "name a folder of its own"), ("OUT=/", "name a folder of its own"), ("OUT=..", "name a folder of its own"),
    ("NET=mine", "bundled upstream"), ("DATA=/nowhere", "there are no weights")])
def test_bad_value(given, named):
    assert named in make(ROOT / "ShiftViT", "-n", "eval", given, status=2)


@pytest.mark.parametrize("variable", ["DATA", "WEIGHTS", "OUT", "SOC", "PYTHON", "BS"])
@pytest.mark.parametrize("text", ["$(shell touch {0})", "`touch {0}`", "x; touch {0}", "x' ; touch {0} ; '", "x | touch {0}",
                                  "x\" ; touch {0}", "$$(touch {0})", "x && touch {0}", "x > {0}"])
def test_a_value_is_never_run(where, variable, text, tmp_path):
    said = make(where, "eval", f"{variable}={text.format(tmp_path / 'run')}", status=2)
    assert "is not allowed in a value" in said and not (tmp_path / "run").exists()


def test_environment_does_not_leak_in():
    leak = {"BS": "4", "OUT": "/elsewhere", "ENGINE": "ascend", "DATA": "x", "PRECISION": "z"}
    said = make(ROOT / "ShiftViT", "-n", "-B", "om", env=leak)
    assert "shiftvit2-bs8" in said and "/elsewhere" not in said and "common.cpu.atc" in said


def test_unknown_model():
    assert "there is no Nope; choose from" in make(ROOT, "om", "MODELS=Nope", status=2)
    assert "MODELS= is empty" in make(ROOT, "om", "MODELS=", status=2)


def test_dry_run_shows_every_command_and_changes_nothing(tmp_path):
    folder = copy_of("ShiftViT", tmp_path)
    said = make(folder, "-n", "eval", "BS=4")
    for part in ("common.data.demo images", "common.data.demo weights", "shiftvit_preprocess.py --data-root",
                 "shiftvit_pytorch2onnx.py -c", "modify_onnx.py -i",
                 "--framework=5 --model=build/demo/shiftvit2.onnx --output=build/demo/shiftvit2-bs4",
                 '--input_shape="input:4,3,224,224"', "-m ais_bench --model build/demo/shiftvit2-bs4.blob",
                 "shiftvit_postprocess.py"):
        assert part in said, part
    assert not (folder / "build").exists()


def test_paths_with_spaces_reach_the_scripts_whole(tmp_path):
    said = make(ROOT / "ShiftViT", "-n", "eval", f"DATA={tmp_path}/my images (2)", f"WEIGHTS={tmp_path}/my weights.pth")
    assert f"--data-root '{tmp_path}/my images (2)'" in said and f"-c '{tmp_path}/my weights.pth'" in said
    assert "build/demo" not in said


def test_relative_paths_at_the_top_mean_the_top(tmp_path):
    said = make(ROOT, "-n", "prep", "MODELS=ShiftViT", "DATA=some/images", "WEIGHTS=demo")
    assert f"--data-root '{ROOT}/some/images'" in said


def test_ascend_command_lines_are_modelzoos():
    """The commands of the ModelZoo page, with our paths in them."""
    said = make(ROOT / "ShiftViT", "-n", "eval", "ENGINE=ascend", "SOC=Ascend310P3", "BS=16")
    said = " ".join(said.replace("\\\n", " ").split())
    assert ('atc --framework=5 --model=build/demo/shiftvit2.onnx --output=build/demo/shiftvit2-bs16 --input_format=NCHW '
            '--input_shape="input:16,3,224,224" --log=error --soc_version=Ascend310P3') in said
    assert ("-m common.ascend.infer --soc Ascend310P3 --model build/demo/shiftvit2-bs16.om --input build/demo/prep "
            "--output build/demo/result --output_dirname bs16_ascend --outfmt BIN --batchsize 16") in said


def test_verbs_fan_out_over_models():
    said = make(ROOT, "-n", "om", "MODELS=ShiftViT", "BS=4")
    assert "shiftvit2-bs4" in said


def test_sync_check_names_file_and_command(tmp_path):
    import shutil

    for name in ("common", "tools", "ShiftViT"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("build", "__pycache__", ".venv"))
    shutil.copy(ROOT / "requirements.txt", tmp_path)

    def check(*words):
        done = subprocess.run([sys.executable, "tools/sync.py", *words], cwd=tmp_path, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    assert check("--check")[0] == 0
    (tmp_path / "ShiftViT/common/metrics.py").write_text("edited\n")
    (tmp_path / "ShiftViT/common/cpu/extra.py").write_text("\n")
    (tmp_path / "ShiftViT/common/cli.py").unlink()
    status, said = check("--check")
    assert status == 1 and "make sync" in said
    for name in ("metrics.py", "host/extra.py", "cli.py"):
        assert f"ShiftViT/common/{name}" in said
    assert check()[0] == 0 and check("--check")[0] == 0
    assert not (tmp_path / "ShiftViT/common/cpu/extra.py").exists()


@pytest.mark.parametrize("model", MODELS)
def test_every_folder_has_the_same_kinds_of_files(model):
    import json

    names = {p.name for p in (ROOT / model).iterdir()}
    assert {"Makefile", "README.md", "README.zh-CN.md", "model.py", "published.json", "requirements.txt", "common"} <= names
    for kind in ("*prep*.py", "*2onnx.py"):
        assert len(list((ROOT / model).glob(kind))) == 1, kind
    published = json.loads((ROOT / model / "published.json").read_text())
    assert {"model", "source", "preprocessing", "weights", "top1", "chip", "fps"} <= set(published)
    assert {"file", "urls", "page", "md5", "sha256", "size"} <= set(published["weights"])
    # A dozen lines of names and flags; what is longer belongs into common/.
    lines = [line for line in (ROOT / model / "Makefile").read_text().splitlines() if line and not line.startswith("#")]
    assert len(lines) <= 30


def test_a_verb_says_what_comes_next(tmp_path):
    folder = copy_of("spnasnet", tmp_path)
    (folder / "build/demo/prep").mkdir(parents=True)
    for made in ("build/demo/prep/manifest.json", "build/demo/spnasnet_100.onnx"):
        (folder / made).touch()
    for verb, following in (("prep", "onnx"), ("onnx", "om")):
        said = make(folder, verb, "AS_BUILT=1")
        assert said.strip().splitlines()[-1] == f"next: make {following} (with the same variables)"
    assert "next:" not in make(folder, "prep", "AS_BUILT=1", env={"MAKELEVEL": "1"})
