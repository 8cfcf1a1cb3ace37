"""Faults in what make is told: every one is refused in one line before anything is done, and nothing in a value is ever run."""
import os
import shutil
import subprocess

import pytest
from conftest import ROOT

from faults.standin import environment, play, refused


@pytest.fixture(params=["", "spnasnet"], ids=["at the top", "in a folder"])
def where(request):
    return ROOT / request.param


def make(folder, *words, env=None):
    return play(["make", "--no-print-directory", *words], folder, env)


REFUSED = [
    ("BATCH=8", "unknown variable BATCH"), ("bs=8", "unknown variable bs"), ("LIMITS=5", "unknown variable LIMITS"),
    ("CC=gcc", "unknown variable CC"), ("VERBOSE=1", "unknown variable VERBOSE"),
    ("SHELL=/bin/sh", "unknown variable SHELL"), (".SHELLFLAGS=-c", "unknown variable .SHELLFLAGS"),
    ("om=x", "unknown variable om"), ("result=/", "unknown variable result"), ("py=touch", "unknown variable py"),
    ("BATCH=8  given=", "unknown variable BATCH"), ("BATCH=8  unknown=", "unknown variable BATCH"), ("infer=x",
    "unknown variable infer"),
    ("BS=08", "BS=08: choose one of"), ("BS=0", "BS=0: choose one of"), ("BS=-1", "BS=-1: choose one of"),
    ("BS=", "BS=: choose one of"), ("BS=8 16", "BS=8 16: choose one of"), ("BS=8.0", "BS=8.0: choose one of"),
    ("BS=٨", "BS=٨: choose one of"), ("BS=%", "BS=%: choose one of"), ("ENGINE=", "ENGINE=: choose one of"),
    ("ENGINE=OpenVINO", "ENGINE=OpenVINO: choose one of"), ("ENGINE=auto ascend", "choose one of"),
    ("LIMIT=0", "LIMIT=0: give a positive whole number"), ("LIMIT=-5", "LIMIT=-5: give a positive"),
    ("LIMIT=1e3", "LIMIT=1e3: give a positive"), ("JOBS=all", "JOBS=all: give a positive"), ("LOOP=+5",
    "LOOP=+5: give a positive"),
    ("OPSET=10", "OPSET=10: choose one of"), ("DEVICE=", "DEVICE=: give a device number"), ("DEVICE=a",
    "DEVICE=a: give a device"),
    ("DEVICE=0 1", "DEVICE=0 1: give a device number"), ("OUT=", "OUT=: name a folder of its own"),
    ("OUT=..", "OUT=..: name a folder"), ("OUT=/", "OUT=/: name a folder"), ("OUT=a b", "a path with spaces cannot be used"),
    ("OM=/nowhere.om", "OM=/nowhere.om does not exist"), ("DATA=/nowhere", "there are no weights"),
    ("INPUT=int8", "INPUT=int8: choose one of"), ("BINS=all", "BINS=all: choose one of"), ("NET=theirs",
    "NET=theirs: choose one of"),
    ("DEBUG=yes", "DEBUG=yes: choose one of"), ("ALLOW_PARTIAL=true", "ALLOW_PARTIAL=true: choose one of")]


@pytest.mark.parametrize("given, named", REFUSED, ids=[given for given, _ in REFUSED])
@pytest.mark.fault("make eval {given}", "one line, status 2, nothing done")
def test_refused(seen, given, named, tmp_path):
    done = make(ROOT / "spnasnet", "eval", f"OUT={tmp_path}/build", *given.split("  "))
    refused(done, named, status=2)
    assert not (tmp_path / "build").exists()
    seen(done)


@pytest.mark.parametrize("given, named", [
    ("BATCH=8", "unknown variable BATCH"), ("MODELS=Nope", "there is no Nope; choose from"), ("MODELS=", "MODELS= is empty"),
    ("MODELS= ", "MODELS= is empty"), ("MODELS=spnasnet Nope", "there is no Nope"), ("MODELS=../spnasnet",
    "there is no ../spnasnet"),
    ("VENV=/tmp/x", "unknown variable VENV"), ("ALL=spnasnet", "unknown variable ALL"), ("each=x", "unknown variable each")])
@pytest.mark.fault("at the top: make eval {given}", "one line, status 2, nothing done")
def test_refused_at_the_top(seen, given, named):
    done = make(ROOT, "eval", given)
    refused(done, named, status=2)
    seen(done)


@pytest.mark.fault("unknown verb", "make names it, status 2")
def test_unknown_verb(seen, where):
    done = make(where, "evaluate")
    refused(done, "No rule to make target 'evaluate'", status=2)
    seen(done)


VARIABLES = ["BS", "DATA", "WEIGHTS", "ENGINE", "LIMIT", "SOC", "OM", "ATC_FLAGS", "OUT", "PYTHON", "HOST", "VERB",
             "REMOTE_DIR", "SSH",
             "DEVICE", "JOBS"]
# Unquoted in a recipe, quoted in one, and read by make itself; all of them offline.
FEW = {"om": ["ATC_FLAGS", "DATA"], "help": ["OUT"]}
TEXTS = {"$(shell)": "$(shell touch {0})", "${{shell}}": "${{shell touch {0}}}", "$(eval)": "$(eval $(shell touch {0}))",
         "backticks": "`touch {0}`", "$()": "$$(touch {0})", ";": "8; touch {0}", "&&": "8 && touch {0}", "|": "8 | touch {0}",
         ">": "8 > {0}", "quote": "8' ; touch {0} ; '", "double quote": '8" ; touch {0} ; "', "newline": "8\ntouch {0}",
         "newline and tab": "8\n\ttouch {0}\n", "carriage return": "8\r\ntouch {0}", "#": "8 # \ntouch {0}",
         "backslash": "8\\\ntouch {0}",
         "$(file)": "$(file >{0},x)", "background": "8 & touch {0}", "!": "!touch {0}", "(": "(touch {0})",
         "braces": "{{touch,{0}}}"}


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.fault("a value with {kind}, in every variable, here and at the top", "never run; refused or used as a name")
def test_never_run(seen, kind, tmp_path):
    marker, ended = tmp_path / "marker", []
    for folder, verb in ((ROOT / "spnasnet", "om"), (ROOT, "om"), (ROOT / "spnasnet", "help"), (ROOT / "spnasnet", "remote")):
        for variable in VARIABLES if "FAULT_CASES" in os.environ else FEW.get(verb, ()):
            done = make(folder, *["-n"] * (verb != "help"), verb, f"{variable}={TEXTS[kind].format(marker)}")
            assert not marker.exists(), f"{variable} ran: {done.stdout}"
            assert "Traceback" not in done.stdout
            ended.append(done.returncode)
    seen(f"{sum(map(bool, ended))} of {len(ended)} refused, none run")


@pytest.mark.parametrize("kind", ["newline", "newline and tab", "#", "(", "braces", "!", "carriage return"])
@pytest.mark.fault("a real build of values with {kind}", "never run")
def test_never_run_for_real(seen, kind, tmp_path):
    folder, marker = tmp_path / "m", tmp_path / "marker"
    shutil.copytree(ROOT / "spnasnet", folder, ignore=shutil.ignore_patterns("build", "weights", "__pycache__"))
    for variable in ("SOC", "OUT", "PYTHON"):
        words = ["check-net" if variable == "PYTHON" else "clean", "WEIGHTS=demo", f"{variable}={TEXTS[kind].format(marker)}"]
        done = make(folder, *words, env=environment(PATH=f"{tmp_path}:/usr/bin:/bin"))
        assert not marker.exists(), f"{variable} ran: {done.stdout}"
    seen("none run")


NAMES = ["BS", "DATA", "WEIGHTS", "ENGINE", "OUT", "PYTHON", "SOC", "OM", "VERB", "HOST", "MODELS", "LIMIT", "ATC_FLAGS",
         "RUNNERS", "ATC_OWN",
         "ATC_LOG", "SOURCE", "DEMO_LIMIT", "CC", "VENV", "py", "engine", "prep", "result", "SHELL", "SHELLFLAGS", "given",
         "INPUT_NAME",
         "VERBS", "PASSED", "was"]


@pytest.mark.parametrize("value", ["4", "ascend", "$(shell touch marker)"])
@pytest.mark.fault("the environment has {value} in every name that the Makefiles use", "as without")
def test_environment(seen, where, value):
    env = {name: value for name in NAMES if name not in ("SHELL",)}
    done, plain = make(where, "-n", "om", "BS=8", env=environment(**env)), make(where, "-n", "om", "BS=8")
    assert done.stdout == plain.stdout and done.returncode == plain.returncode == 0
    assert not (where / "marker").exists()
    seen("as without")


@pytest.mark.parametrize("flags, same", [("-j8", True), ("-k", True), ("-s", True), ("-B", False), ("-r", True), ("-R", True)])
@pytest.mark.fault("MAKEFLAGS={flags} in the environment", "works")
def test_makeflags(seen, where, flags, same):
    done, plain = make(where, "-n", "om", env=environment(MAKEFLAGS=flags)), make(where, "-n", "om")
    assert done.returncode == 0
    if same:
        assert sorted(done.stdout.splitlines()) == sorted(plain.stdout.splitlines())
    seen("works")


@pytest.mark.fault("MAKEFLAGS='BATCH=4' in the environment", "refused as on the command line")
def test_makeflags_variable(seen, where):
    done = make(where, "-n", "om", env=environment(MAKEFLAGS="-- BATCH=4"))
    refused(done, "unknown variable BATCH", status=2)
    seen(done)


@pytest.mark.parametrize("version", ["3.81", "3.82", "4.0", "4.1"])
@pytest.mark.fault("GNU Make {version}", "one line that says which is needed")
def test_old_make(seen, where, version, tmp_path):
    # The version is a variable of make's own; a file read before the Makefile stands in for an old make.
    (tmp_path / "old.mk").write_text(f"override MAKE_VERSION := {version}\n")
    done = make(where, "-f", str(tmp_path / "old.mk"), "-f", "Makefile", "help")
    refused(done, f"GNU Make 4.2 or newer is needed, this is {version}", status=2)
    seen(done)


@pytest.mark.fault("python3 is missing, no .venv", "said so, status 2")
def test_no_python(seen, tmp_path):
    folder = tmp_path / "m"
    shutil.copytree(ROOT / "spnasnet", folder, ignore=shutil.ignore_patterns("build", "weights", "__pycache__", ".venv"))
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("bash", "make", "stat", "mkdir", "printf", "env", "dirname"):
        (tools / name).symlink_to(shutil.which(name))
    done = make(folder, "prep", env=environment(PATH=str(tools)))
    assert done.returncode == 2 and "python3" in done.stdout and not (folder / ".venv").exists()
    seen(done)


@pytest.mark.fault("PYTHON= that is no Python", "named, status 2")
def test_wrong_python(seen, tmp_path):
    folder = tmp_path / "m"
    shutil.copytree(ROOT / "spnasnet", folder, ignore=shutil.ignore_patterns("build", "weights", "__pycache__"))
    done = make(folder, "prep", "PYTHON=/nowhere/python")
    assert done.returncode == 2 and "/nowhere/python" in done.stdout and "Traceback" not in done.stdout
    seen(done)


@pytest.mark.fault("make -n of every verb, -j8, all models", "changes nothing, status 0")
def test_dry(seen):
    before = subprocess.run(["git", "status", "--short", "--ignored"], cwd=ROOT, stdout=subprocess.PIPE).stdout
    done = make(ROOT, "-n", "-j8", "prep", "onnx", "om", "infer", "eval", "online", "bench")
    assert done.returncode == 0
    assert subprocess.run(["git", "status", "--short", "--ignored"], cwd=ROOT, stdout=subprocess.PIPE).stdout == before
    seen("changes nothing")
