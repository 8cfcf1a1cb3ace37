"""Make's own manners: verbs, settings, values, OUT=, the last lines; nothing here builds much."""
import json
import re
import shutil
import subprocess
import sys

import pytest
import tiny
from conftest import ROOT

MODELS = sorted(p.parent.name for p in ROOT.glob("*/model.py"))
SETTINGS = re.findall(r"^## .*\n([A-Z_]+) :=", (ROOT / "common/settings.mk").read_text(), re.M)


def make(folder, *words, env=None):
    """Run make with these words alone."""
    return subprocess.run(["make", "--no-print-directory", *words], cwd=folder, text=True,
                          env=tiny.environment(**(env or {})), capture_output=True)


@pytest.fixture(scope="module")
def top(tmp_path_factory):
    """A repository of two stand-ins in a path with a space; nothing is built in it."""
    return tiny.repository(tmp_path_factory.mktemp("a place") / "top", "Tiny", "Small")


@pytest.mark.parametrize("where", [".", *MODELS])
def test_help_fits_a_terminal_and_names_every_verb_and_setting(where):
    said = make(ROOT / where).stdout
    assert max(map(len, said.splitlines())) <= 80
    for name in ["demo", "eval", "sweep"] + (SETTINGS if where != "." else ["MODELS"]):
        assert re.search(rf"\b{name}\b", said), name


@pytest.mark.parametrize("where", [".", "ShiftViT"])
@pytest.mark.parametrize(
    "words, named",
    [
        (["eval", "BATCH=8"], "unknown variable BATCH; there are BS DATA"),
        (["evla"], "there is no verb evla; there are "),
        (["eval", "BS=513"], "BS=513: give a whole number from 1 to 512, or dynamic"),
        (["eval", "BS=8 8"], "BS=8 8 has a space"), (["eval", "BS="], "BS=: give a whole"),
        (["eval", "LIMIT=0"], "LIMIT=0: give a whole number above 0"),
        (["bench", "LOOP=1e3"], "LOOP=1e3: give a whole number"),
        (["infer", "DEVICE=0,"], "DEVICE=0,: give a number"),
        (["eval", "-i"], "make -i would go on after a failed step"),
        (["om", "PRECISION=int8", "CALIB=gone"], "CALIB=gone does not exist"),
        (["infer", "DEVICE=0,,1"], "DEVICE=0,,1: give a number"),
        (["om", "DEVICE="], "DEVICE=: give"),
        (["bench", "SECONDS=0"], "SECONDS=0: give a whole number above 0"),
        (["bench", "SECONDS=5", "LOOP=9"], "LOOP= and SECONDS=: give one of them"),
        (["sweep", "BATCHES=1 0"], "BATCHES=1 0: give whole numbers"),
        (["sweep", "BATCHES=1-2-9"], "BATCHES=1-2-9: give whole numbers"),
        (["sweep", "BATCHES=16-1"], "BATCHES=16-1: give whole numbers"),
        (["sweep", "BATCHES=1-"], "BATCHES=1-: give whole numbers"),
        (["sweep", "BATCHES="], "BATCHES=: give whole"), (["om", "OUT=."], "OUT=.: name a folder"),
        (["om", "OUT=../x"], "OUT=../x: name a folder"),
        (["om", "OUT=a:b"], "OUT=a:b: : cannot be used in a path"),
        (["om", "DATA=a%"], "DATA=a%: % cannot be used in a path"),
        (["om", "DATA=/nowhere", "OUT=new"], "DATA=/nowhere does not exist"),
        (["om", "WEIGHTS=/nowhere.pth"], "WEIGHTS=/nowhere.pth does not exist"),
        (["om", "OM=/nowhere.om"], "OM=/nowhere.om does not exist"),
        (["om", "PRECISION=int8", "ENGINE=onnxruntime"], "PRECISION=int8 needs ENGINE=openvino"),
        (["om", "PRECISION=fp16", "ENGINE=openvino"], "PRECISION=fp16 needs ENGINE=onnxruntime"),
        (["bench", "PRECISION=fp16"], "PRECISION=fp16 estimates accuracy"),
        (["profile", "PRECISION=fp16"], "PRECISION=fp16 estimates accuracy"),
        (["bench", "DEVICE=1", "ENGINE=onnxruntime"], "DEVICE=1 needs an Ascend host"),
        (["om", "PROVIDER=cuda", "ENGINE=openvino"], "PROVIDER=cuda needs ENGINE=onnxruntime")],
)
def test_wrong_calls_are_refused_at_once(where, words, named):
    more = ["MODELS=ShiftViT"] if where == "." else []
    done = make(ROOT / where, *words, *more)
    assert done.returncode == 2 and f"*** {named}" in done.stderr, done.stderr
    assert not (ROOT / "x").exists()


def test_int8_takes_the_engine_that_has_it():
    """spnasnet's own engine on a CPU is ONNX Runtime."""
    for words, ending in (["PRECISION=f32"], "bs8.ort"), (["PRECISION=int8"], "bs8_int8.blob"):
        done = make(ROOT / "spnasnet", "-p", "-n", "help", *words)
        assert re.search(rf"^om := \S*{ending}$", done.stdout, re.M), done.stderr


TEXTS = ["$(shell touch {0})", "`touch {0}`", "x;touch {0}", "x'", 'x"', "x|touch {0}",
         "x&touch {0}", "x>{0}", "x\ntouch {0}", "$(error x)", "x\\", "val(1)", "a*"]


@pytest.mark.parametrize("variable, text", [
    *(("DATA", text) for text in TEXTS),
    *((name, TEXTS[0]) for name in ("WEIGHTS", "OUT", "SOC", "PYTHON", "OM", "ATC_FLAGS"))])
def test_a_value_is_never_run(variable, text, tmp_path):
    done = make(ROOT / "ShiftViT", "om", f"{variable}={text.format(tmp_path / 'hit')}")
    assert done.returncode == 2 and f"*** {variable}=" in done.stderr
    assert not (tmp_path / "hit").exists()


def test_the_environment_is_ignored_and_that_is_said():
    done = make(ROOT / "ShiftViT", "evla", env={"BS": "$(shell touch hit)", "DATA": "x"})
    assert re.findall("note: (.*?) of the environment is ignored", done.stdout) == ["BS", "DATA"]
    assert not (ROOT / "ShiftViT/hit").exists()


def test_the_environment_is_not_let_in_by_a_flag():
    done = make(ROOT / "ShiftViT", "-e", "om", env={"BS": "5"})
    assert done.returncode == 2 and "make -e takes BS from the environment" in done.stderr


def test_what_is_done_by_hand_may_lie_in_build(top):
    """The READMEs' steps by hand write to build/by-hand."""
    (top / "Tiny/mine/by-hand").mkdir(parents=True)
    tiny.worked(make(top / "Tiny", "prep", "OUT=mine", "DATA=data", "WEIGHTS=tiny.pth"))


def test_the_next_command_keeps_the_flags_for_atc(top):
    said = make(top / "Tiny", "prep", "OUT=flags", "DATA=data", "WEIGHTS=tiny.pth",
                "ATC_FLAGS=--log=debug --x").stdout
    assert 'ATC_FLAGS="--log=debug --x"' in said.splitlines()[-1]


def test_weights_and_more_at_once_is_not_the_demo(top):
    said = make(top / "Tiny", "weights", "bench").stderr
    assert "say make weights alone first" in said


def test_a_model_that_is_not_there():
    assert "there is no model Shift; there are Convmixer" in make(ROOT, "om", "MODELS=Shift").stderr


def test_a_copied_folder_says_what_needs_the_repository(tmp_path):
    shutil.copytree(ROOT / "ShiftViT", tmp_path / "ShiftViT")
    said = make(tmp_path / "ShiftViT", "compare").stderr
    assert "compare needs the whole repository" in said


@pytest.mark.parametrize("out", ["./.", "common/..", "common"])
def test_clean_takes_only_what_make_marked(out, top):
    before = tiny.content(top / "Tiny")
    assert make(top / "Tiny", "clean", f"OUT={out}").returncode == 2
    assert tiny.content(top / "Tiny") == before


def test_an_out_inside_of_out_is_no_stranger(top):
    """make OUT=build/x first, then make: build/ holds what make made, but is not ours to delete."""
    words = ["-C", "Tiny", "prep", "DATA=data", "WEIGHTS=tiny.pth"]
    tiny.worked(make(top, *words, "OUT=new/inner"))
    assert "make did not make" in make(top / "Tiny", "clean", "OUT=new").stderr
    assert (top / "Tiny/new/inner/prep").is_dir()
    tiny.worked(make(top, *words, "OUT=new"))


def test_hidden_files_are_strangers_too(top):
    (top / "Tiny/own/.git").mkdir(parents=True)
    for verb in ("prep", "clean"):
        said = make(top / "Tiny", verb, "OUT=own", "DATA=data", "WEIGHTS=tiny.pth").stderr
        assert "OUT=own holds files that make did not make" in said
    for verb in ("help", "doctor", "run-name"):  # they make nothing there
        assert "make did not make" not in make(top / "Tiny", verb, "OUT=own").stderr
    assert (top / "Tiny/own/.git").is_dir()


def test_what_cannot_be_deleted_ends_make(top):
    """Else a figure of before would be shown for what is asked now."""
    (top / "Tiny/kept").mkdir()
    (top / "Tiny/kept/.made-for").write_text("spnasnet_100\n")
    (top / "Tiny/denied").write_text("#!/bin/sh\necho 'error: Permission denied' >&2; exit 1\n")
    (top / "Tiny/denied").chmod(0o755)
    done = make(top / "Tiny", "eval", "OUT=kept", "DATA=data", "WEIGHTS=tiny.pth",
                "PYTHON=./denied")
    assert done.returncode == 2 and "what is stale in kept could not be deleted" in done.stderr


@pytest.mark.parametrize("words, line", [
    # f32's own run is the one beside; its folder's name is not made by cutting words out of OUT.
    (["eval", "PRECISION=fp16", "ENGINE=onnxruntime", "PROVIDER=cann"],
     "--against build/demo/result/bs8_onnxruntime\n"),
    (["eval", "PRECISION=int8", "OUT=out_int8"],
     "--against out_int8/demo/result/bs8_openvino\n"),
    (["demo", "INPUT=uint8", "ENGINE=openvino"], "--of . bs8_openvino_uint8\n"),
    (["demo", "ENGINE=openvino"], " --seconds 1 "),
    (["bench", "ENGINE=openvino"], " --seconds 5 ")])
def test_the_run_that_is_meant_is_named(top, words, line):
    said = make(top / "Tiny", "-n", *words, "WEIGHTS=demo").stdout
    assert line in said, said


def test_packages_that_the_environment_names_are_kept(top):
    said = make(top / "Tiny", "-n", "bench", "WEIGHTS=demo", "ENGINE=openvino",
                env={"PYTHONPATH": "/my own"}).stdout
    assert 'env PYTHONPATH=common/cpu:"/my own" ' in said


def test_one_model_has_no_f32_beside_it(top):
    (top / "Tiny/x.blob").touch()
    said = make(top / "Tiny", "eval", "OM=x.blob", "PRECISION=int8", "DATA=data").stderr
    assert "OM= is one model, in a precision of its own" in said
    said = make(top / "Tiny", "bench", "OM=x.blob", "ENGINE=onnxruntime", "DATA=data").stderr
    assert "OM=x.blob: ENGINE=onnxruntime runs files that end in .ort" in said


def test_out_of_another_model_is_refused(top, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/.made-for").write_text("SPACH-Conv-MS-S\n")
    (tmp_path / "out/prep").mkdir()
    for verb in ("prep", "clean"):
        done = make(top / "Tiny", verb, f"OUT={tmp_path}/out")
        assert done.returncode == 2 and "holds files that make did not make" in done.stderr
    assert (tmp_path / "out/prep").exists()


def test_a_folder_that_cannot_be_written_names_another():
    ended = make(ROOT / "ShiftViT", "prep", "OUT=/proc/nowhere/x")
    assert ended.returncode == 2 and "give another folder: OUT=/path" in ended.stderr


def test_relative_paths_and_absolute_out_at_the_top(top):
    said = make(top, "-n", "prep", "MODELS=Tiny", "DATA=Tiny/data", "WEIGHTS=Tiny/tiny.pth",
                f"OUT={top.parent}/o".replace(" ", ""))
    assert "has a space" not in said.stderr
    assert re.search(r"DATA=\S*/Tiny/data", said.stdout), said.stdout + said.stderr
    assert "/o/Tiny" in said.stdout


def test_a_verb_ends_with_its_product_and_the_next_command(top):
    words = ["prep", "DATA=data", "WEIGHTS=tiny.pth"]
    said = tiny.worked(make(top, "-C", "Tiny", *words, env={"PWD": str(top)})).splitlines()
    assert "8 bins" in said[-2]
    wanted = "next: make -C Tiny onnx DATA=data WEIGHTS=tiny.pth"
    assert set(said[-1].split()) == set(wanted.split())


def test_old_make_is_refused(tmp_path):
    done = make(ROOT / "ShiftViT", "MAKE_VERSION=3.81")
    assert "GNU Make 4.2 or newer is needed" in done.stderr


def test_sync_check_names_file_and_command(tmp_path):
    for name in ("common", "tools", "ShiftViT"):
        shutil.copytree(ROOT / name, tmp_path / name,
                        ignore=shutil.ignore_patterns("__pycache__", "build"))
    for name in ("requirements.txt", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)

    def check(*words):
        return subprocess.run([sys.executable, "tools/sync.py", *words], cwd=tmp_path, text=True,
                              capture_output=True)
    assert check("--check").returncode == 0
    (tmp_path / "ShiftViT/common/cli.py").write_text("edited")
    (tmp_path / "ShiftViT/common/more.py").write_text("new")
    done = check("--check")
    assert done.returncode == 1 and "make sync" in done.stderr
    assert "ShiftViT/common/cli.py differs" in done.stderr and "more.py has no" in done.stderr
    check()
    assert check("--check").returncode == 0
    assert not (tmp_path / "ShiftViT/common/more.py").exists()


@pytest.mark.parametrize("model", MODELS)
def test_every_folder_has_the_same_kinds_of_files(model):
    names = {p.name for p in (ROOT / model).iterdir()}
    wanted = {"Makefile", "README.md", "README.zh-CN.md", "model.py", "published.json",
              "requirements.txt", "requirements.lock", "common"}
    assert wanted <= names
    assert len((ROOT / model / "Makefile").read_text().splitlines()) <= 34
    published = json.loads((ROOT / model / "published.json").read_text())
    assert {"model", "preprocessing", "weights", "top1", "fps", "chip"} <= set(published)
    own = dict(re.findall(r"^(\w+) := (.*)", (ROOT / model / "Makefile").read_text(), re.M))
    assert own["WEIGHTS_FILE"] == published["weights"]["file"]
    assert f'INPUT, OUTPUT = "{own["INPUT_NAME"]}"' in (ROOT / model / "model.py").read_text()
    assert int(own.get("SIZE", 224)) == published["preprocessing"]["crop"]


# ---- make source: five lines of Make around git ----
@pytest.fixture
def upstream(tmp_path):
    """A repository of two commits; the first one, with its patch, is the one to clone."""
    def git(*words):
        return subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=tmp_path / "up",
            check=True, capture_output=True, text=True).stdout

    (tmp_path / "up").mkdir()
    git("init", "-q")
    (tmp_path / "up/net.py").write_text("old\n")
    git("add", "-A"), git("commit", "-qm", "one")
    commit = git("rev-parse", "HEAD").strip()
    (tmp_path / "up/net.py").write_text("new\n")
    patch = git("diff")
    git("commit", "-qam", "two")
    folder = tiny.make_folder(tmp_path)
    (folder / "net.patch").write_text(patch.replace("+new", "+patched"))
    text = (folder / "Makefile").read_text()
    (folder / "Makefile").write_text(text.replace("PREPROCESS =", f"SOURCE_URL := {tmp_path}/up\n"
                                     f"SOURCE_COMMIT := {commit}\nSOURCE_DIR := net\n"
                                     "PATCHES := net.patch\nPREPROCESS ="))
    return folder


def test_source_is_the_pinned_commit_patched(upstream):
    said = tiny.worked(make(upstream, "source"))
    assert (upstream / "net/net.py").read_text() == "patched\n" and "source: net is at" in said
    again = make(upstream, "source")
    assert again.returncode == 2 and "net is there" in again.stdout + again.stderr


def test_a_patch_that_does_not_apply_leaves_no_clone(upstream):
    (upstream / "net.patch").write_text((upstream / "net.patch").read_text().replace("old", "odd"))
    assert make(upstream, "source").returncode == 2
    assert not (upstream / "net").exists()


def test_demo_weights_are_no_folder_of_that_name(top):
    (top / "demo").mkdir()
    said = make(top, "-n", "onnx", "WEIGHTS=demo", "PYTHON=/x", "MODELS=Tiny")
    assert "build/demo/" in said.stdout, said.stderr
    (top / "demo").rmdir()
