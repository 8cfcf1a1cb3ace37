"""Faults of the machine and its settings, played on the real commands over a stand-in for a network (standin.py)."""
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from faults.standin import (
    STEPS,
    command,
    difference,
    environment,
    files,
    good,
    hidden,
    model_folder,
    play,
    refused,
)

# The export takes long to start; what is not about it is played on it offline only.
FEW = [pytest.param(step, marks=[pytest.mark.offline] * (step == "onnx")) for step in STEPS]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """(folder of the stand-in, what all its steps build)."""
    folder = model_folder(tmp_path_factory.mktemp("machine") / "stand-in")
    good(play(command("eval"), folder))
    return folder, files(folder / "build")


@pytest.fixture
def fresh(built, tmp_path):
    """fresh(step) is a copy of the stand-in where everything but `step` is built, and the content of a whole build."""
    def until(step, name="stand-in"):
        folder = tmp_path / name
        shutil.copytree(built[0], folder, symlinks=True)
        wipe(folder, step)
        return folder, built[1]
    return until


def wipe(folder, step):
    """Delete what `step` has built."""
    for pattern in STEPS[step]:
        for path in (folder / "build").glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def no_partial(folder, wanted):
    left = files(folder / "build")
    assert not [n for n in left if left[n] != wanted.get(n) and not n.endswith((".cfg", "filler"))], "partial files"


def same(folder, wanted, step="eval"):
    """The step, run again, ends well, and with the bytes of an undisturbed run."""
    good(play(command(step), folder))
    assert difference(files(folder / "build"), wanted) == [] and hidden(folder / "build") == []


def limited(step, limits):
    """The command line of a step under ulimit."""
    return ["bash", "-c", f"ulimit {limits}; exec {shlex.join(command(step))}"]


def mount(folder, options="size=40m"):
    """Move build/ onto a file system of its own; skips where that is not allowed."""
    shutil.move(folder / "build", folder / "kept")
    (folder / "build").mkdir()
    done = play(["mount", "-t", "tmpfs", "-o", options, "none", str(folder / "build")], folder)
    if done.returncode:
        pytest.skip(f"mounting is not allowed here: {done.stdout.strip()}")
    shutil.copytree(folder / "kept", folder / "build", dirs_exist_ok=True)


@pytest.fixture
def unmounted(tmp_path):
    yield
    subprocess.run(["umount", str(tmp_path / "stand-in/build")], stderr=subprocess.DEVNULL)


# ---- room and rights ----

@pytest.mark.parametrize("step", STEPS)
@pytest.mark.fault("disk full: {step}", "one line with the file; no partial file; with room again the same bytes")
def test_disk_full(seen, fresh, unmounted, step):
    folder, wanted = fresh(step)
    mount(folder)
    with open(folder / "build/filler", "wb", buffering=0) as f:
        try:
            while True:
                f.write(bytes(1 << 16))
        except OSError:
            pass
    room = 0 if step == "eval" else 8192
    os.truncate(folder / "build/filler", (folder / "build/filler").stat().st_size // 4096 * 4096 - room)
    done = play(command(step), folder)
    refused(done, "No space left on device", "build/")
    no_partial(folder, wanted)
    (folder / "build/filler").unlink()
    same(folder, wanted, step)
    seen(done)


@pytest.mark.parametrize("step, kilobytes", [("prep", 100), ("onnx", 8), ("om", 8), ("infer", 4), ("eval", 1)])
@pytest.mark.fault("files limited to {kilobytes} KB: {step}",
                   "one line with the file; no partial file; without the limit the same bytes")
def test_file_limit(seen, fresh, step, kilobytes):
    folder, wanted = fresh(step)
    done = play(limited(step, f"-f {kilobytes}"), folder, environment(PYTHONDONTWRITEBYTECODE="1"))
    refused(done, "File too large", "build/")
    no_partial(folder, wanted)
    same(folder, wanted, step)
    seen(done)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.fault("read-only output: {step}", "said so with the file's name; writable again the same bytes")
def test_read_only(seen, fresh, unmounted, step):
    folder, wanted = fresh(step)
    mount(folder)
    good(play(["mount", "-o", "remount,ro", str(folder / "build")], folder))
    done = play(command(step), folder)
    assert done.returncode == 2 and "Traceback" not in done.stdout and "Read-only file system" in done.stdout
    assert "build/" in next(line for line in done.stdout.splitlines() if "Read-only file system" in line)
    good(play(["mount", "-o", "remount,rw", str(folder / "build")], folder))
    same(folder, wanted, step)
    seen(done)


@pytest.mark.fault("read-only checkout, OUT elsewhere", "works, nothing is written into the checkout")
def test_read_only_checkout(seen, fresh, tmp_path):
    folder, wanted = fresh("prep")
    shutil.rmtree(folder / "build")
    out = tmp_path / "out"
    words = shlex.join(command("eval", f"OUT={out}"))
    script = f"mount --bind {folder} {folder} && mount -o remount,bind,ro {folder} && cd {folder} && ! touch x && {words}"
    done = play(["unshare", "-m" if os.getuid() == 0 else "-rm", "bash", "-c", script], tmp_path)
    if "unshare" in done.stdout or "mount:" in done.stdout:
        pytest.skip(f"mounting is not allowed here: {done.stdout.strip()}")
    good(done)
    left = files(out)
    assert left.keys() == wanted.keys() and left["spnasnet_100.onnx"] == wanted["spnasnet_100.onnx"]
    assert left["prep/val_00000003.bin"] == wanted["prep/val_00000003.bin"]
    seen("works")


@pytest.mark.fault("no temporary folder can be written", "works, the same bytes")
def test_no_tmp(seen, fresh, tmp_path):
    if Path(sys.prefix).resolve().is_relative_to("/tmp"):
        pytest.skip("the environment itself lies in /tmp, which this test takes away")
    folder, wanted = fresh("prep")
    script = (f"mount --bind {folder} /mnt && mount -t tmpfs -o ro none /tmp && mount -t tmpfs -o ro none /var/tmp && "
              f"cd /mnt && ! touch /tmp/x && {shlex.join(command('eval'))}")
    done = play(["unshare", "-m" if os.getuid() == 0 else "-rm", "bash", "-c", script], folder, environment(TMPDIR=None))
    if "unshare" in done.stdout or "mount:" in done.stdout:
        pytest.skip(f"mounting is not allowed here: {done.stdout.strip()}")
    good(done)
    same(folder, wanted)
    seen("works")


@pytest.mark.parametrize("step", FEW)
@pytest.mark.fault("40 files may be open: {step}", "works, or one line; afterwards the same bytes")
def test_few_descriptors(seen, fresh, step):
    folder, wanted = fresh(step)
    done = play(limited(step, "-n 40"), folder)
    if done.returncode:
        refused(done, "Too many open files")
    no_partial(folder, wanted)
    same(folder, wanted, step)
    seen(done)


@pytest.mark.fault("umask 077", "the same bytes, for nobody else's eyes")
def test_umask(seen, fresh):
    folder, wanted = fresh("prep")
    shutil.rmtree(folder / "build")
    good(play(["bash", "-c", f"umask 077; exec {shlex.join(command('eval'))}"], folder))
    assert not [p for p in (folder / "build").rglob("*") if p.stat().st_mode & 0o077]
    same(folder, wanted)
    seen("the same bytes")


# ---- names and settings ----

@pytest.mark.fault("a checkout path with spaces, umlauts, Chinese and a quote", "works, the same bytes")
def test_path(seen, fresh):
    folder, wanted = fresh("prep", "ünï cödé 'q' 空 %s")
    same(folder, wanted)
    seen("works")


@pytest.mark.parametrize("change", [
    {"LC_ALL": "C", "LANG": None, "PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}, {"HOME": None},
    {"HOME": "/nonexistent"}, {"TMPDIR": "/proc/nowhere"}, {"TZ": "Pacific/Kiritimati", "COLUMNS": "1"},
    {"PYTHONSAFEPATH": "1"}, {"PYTHONHASHSEED": "7"}, {"CDPATH": "/usr", "POSIXLY_CORRECT": "1"}],
    ids=lambda change: " ".join(f"{k}={v}" for k, v in change.items()))
@pytest.mark.fault("environment: {change}", "works, the same bytes")
def test_environment(seen, fresh, change):
    folder, wanted = fresh("prep")
    steps = STEPS if "HOME" in change else ("prep", "om", "infer", "eval")
    for step in steps:
        wipe(folder, step)
        good(play(command(step), folder, environment(**change)))
    assert difference(files(folder / "build"), wanted) == []
    seen("works")


@pytest.mark.fault("ENGINE=ascend without HOME", "says that there is no atc; no shell error")
def test_no_home_ascend(seen, fresh):
    folder, _ = fresh("om")
    done = play(command("om", "ENGINE=ascend", "SOC=Ascend310P3"), folder, environment(HOME=None))
    refused(done, "there is no atc")
    assert "unbound variable" not in done.stdout
    seen(done)


@pytest.mark.fault("scripts called from another directory", "the same bytes")
def test_elsewhere(seen, fresh, tmp_path):
    folder, wanted = fresh("prep")
    (tmp_path / "else").mkdir()

    def run(script, *words):
        return good(play([sys.executable, str(folder / script), *map(str, words)], tmp_path / "else"))
    run("preprocess_spnasnet_100_pytorch.py", folder / "images", "bins")
    run("pthtar2onnx.py", folder / "weights/model_best.pth.tar", "x.onnx")
    assert (tmp_path / "else/bins/val_00000003.bin").read_bytes() == wanted["prep/val_00000003.bin"]
    assert (tmp_path / "else/x.onnx").read_bytes() == wanted["spnasnet_100.onnx"]
    said = good(play(["make", "-C", str(folder), *command("eval")[1:]], tmp_path))
    assert difference(files(folder / "build"), wanted) == [] and "top1=" in said
    seen("the same bytes")


# ---- where the output goes ----

@pytest.mark.parametrize("step", FEW)
@pytest.mark.fault("output into `head -1`: {step}", "ends by itself, no traceback; then the same bytes")
def test_head(seen, fresh, step):
    folder, wanted = fresh(step)
    done = play(["bash", "-c", f"{shlex.join(command(step))} 2>said | head -1"], folder)
    said = (folder / "said").read_text()
    assert "Traceback" not in said and "Exception ignored" not in said, said
    no_partial(folder, wanted)
    same(folder, wanted, step)
    seen(done)


@pytest.mark.parametrize("step", FEW)
@pytest.mark.parametrize("where", [pytest.param(">&-", marks=pytest.mark.offline), "<&- >&- 2>&-"])
@pytest.mark.fault("output closed ({where}): {step}", "the same bytes")
def test_closed(seen, fresh, step, where):
    folder, wanted = fresh(step)
    done = play(["bash", "-c", f"exec {shlex.join(command(step))} {where}"], folder)
    assert "Traceback" not in done.stdout
    no_partial(folder, wanted)
    same(folder, wanted, step)
    seen(f"exit {done.returncode}")


@pytest.mark.parametrize("step", FEW)
@pytest.mark.fault("output to a full disk (/dev/full): {step}", "one line; then the same bytes")
def test_dev_full(seen, fresh, step):
    folder, wanted = fresh(step)
    done = play(["bash", "-c", f"{shlex.join(command(step))} 2>&1 >/dev/full"], folder)
    refused(done, "No space left on device")
    no_partial(folder, wanted)
    same(folder, wanted, step)
    seen(done)


# ---- several at once ----

def at_once(words, folder, count=2, **more):
    """Start a command `count` times at once; the CompletedProcesses."""
    running = [subprocess.Popen(words, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                text=True, **more) for _ in range(count)]
    return [subprocess.CompletedProcess(words, p.returncode, said) for p in running for said in [p.communicate()[0]]]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.fault("two makes at once: {step}", "both end well, the same bytes")
def test_two_makes(seen, fresh, step):
    folder, wanted = fresh(step)
    for done in at_once(command(step), folder):
        good(done)
    same(folder, wanted, step)
    seen("both end well")


@pytest.mark.fault("three makes of everything at once", "all end well, the same bytes")
def test_three_makes(seen, fresh):
    folder, wanted = fresh("prep")
    shutil.rmtree(folder / "build")
    for done in at_once(command("eval"), folder, 3):
        assert "top1=" in good(done)
    same(folder, wanted)
    seen("all end well")


@pytest.mark.fault("two batch sizes at once", "both end well, each with its own files")
def test_two_sizes(seen, fresh):
    folder, wanted = fresh("om")
    running = [subprocess.Popen(command("eval", f"BS={bs}"), cwd=folder, env=environment(), stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True) for bs in (4, 8)]
    lines = {good(subprocess.CompletedProcess([], p.returncode, said)).splitlines()[-1]
             for p in running for said in [p.communicate()[0]]}
    assert len(lines) == 1 and difference({n: c for n, c in files(folder / "build").items() if n in wanted}, wanted) == []
    seen("both end well")


@pytest.fixture
def repository(built, tmp_path):
    """A repository of two stand-ins, with the real Makefile at its top."""
    top = tmp_path / "repository"
    for name in ("one", "two"):
        shutil.copytree(built[0], top / name, ignore=shutil.ignore_patterns("build"))
    for name in ("Makefile", "requirements.txt"):
        shutil.copy(ROOT / name, top)
    shutil.copytree(ROOT / "common", top / "common", ignore=shutil.ignore_patterns("__pycache__"))
    return top


@pytest.mark.fault("make -j8 over two models", "the same bytes as one after the other")
def test_jobs(seen, built, repository):
    words = ["make", "-j8", "eval", f"DATA={repository}/one/images", f"WEIGHTS={repository}/one/weights/model_best.pth.tar",
             f"PYTHON={sys.executable}"]
    good(play(words, repository))
    for name in ("one", "two"):
        left = files(repository / name / "build")
        assert left.keys() == built[1].keys()
        for file in ("spnasnet_100.onnx", "spnasnet_100_bs8.blob", "prep/val_00000003.bin"):
            assert left[file] == built[1][file]
    seen("the same bytes")


@pytest.mark.fault("make -j8 with several verbs in one folder", "each step once, the same bytes")
def test_jobs_of_one(seen, fresh):
    folder, wanted = fresh("prep")
    shutil.rmtree(folder / "build")
    said = good(play(["make", "-j8", "eval", "om", "prep", "onnx", "infer", *command("eval")[3:]], folder))
    assert said.count("pthtar2onnx.py") == said.count("-m ais_bench") == said.count("-m common.cpu.atc") == 1
    assert difference(files(folder / "build"), wanted) == []
    seen("each step once")


@pytest.mark.fault("one model of two fails, make -k", "the other is made; status 2")
def test_keep_going(seen, repository):
    (repository / "one/weights/model_best.pth.tar").write_bytes(b"x")
    (repository / "one/model.py").write_text("raise SystemExit('broken')")
    weights = f"WEIGHTS={repository}/two/weights/model_best.pth.tar"
    done = play(["make", "-k", "onnx", weights, f"PYTHON={sys.executable}"], repository)
    assert done.returncode == 2 and not (repository / "one/build/spnasnet_100.onnx").exists()
    assert (repository / "two/build/spnasnet_100.onnx").exists()
    seen(done)


# ---- time ----

def set_times(folder, seconds):
    """Move the times of all files of a folder by `seconds`."""
    for path in folder.rglob("*"):
        if not path.is_symlink():
            s = path.stat()
            os.utime(path, ns=(s.st_atime_ns + seconds * 10 ** 9, s.st_mtime_ns + seconds * 10 ** 9))


@pytest.mark.fault("clock set back: images, weights and scripts of the future", "made once, not again; the same bytes")
def test_future_inputs(seen, fresh):
    folder, wanted = fresh("prep")
    set_times(folder / "images", 86400)
    set_times(folder / "weights", 86400)
    good(play(command("eval"), folder))
    said = good(play(command("eval"), folder))
    assert "nothing to do" in said
    ours = {n: c for n, c in files(folder / "build").items() if not n.endswith(".cfg")}  # .cfg holds the inputs' times
    assert difference(ours, {n: c for n, c in wanted.items() if not n.endswith(".cfg")}) == []
    seen("made once")


@pytest.mark.fault("clock set back: everything built is of the future, a variable changes",
                   "make warns of the clock; after make clean all is right")
def test_future_outputs(seen, fresh):
    folder, wanted = fresh("prep")
    good(play(command("eval"), folder))
    set_times(folder / "build", 86400)
    done = play(command("onnx", "OPSET=12"), folder)
    assert "Clock skew detected" in done.stdout or "opset 12" in done.stdout
    good(play(command("clean"), folder))
    assert "opset 12" in good(play(command("onnx", "OPSET=12"), folder))
    seen(done)


@pytest.mark.fault("an image replaced by an older one", "made again")
def test_older_image(seen, fresh):
    folder, wanted = fresh("prep")
    good(play(command("prep"), folder))
    image = folder / "images/val_00000003.JPEG"
    image.unlink()
    shutil.copyfile(folder / "images/val_00000004.JPEG", image)
    os.utime(image, (10 ** 9, 10 ** 9))
    said = good(play(command("prep"), folder))
    assert "11 of 12 bins are there already" in said
    assert (folder / "build/prep/val_00000003.bin").read_bytes() == wanted["prep/val_00000004.bin"]
    seen(said.splitlines()[-1])


# ---- left-overs ----

@pytest.mark.fault("left-overs of a killed process beside the ONNX", "gone with the next run; those of a live process stay")
def test_left_overs(seen, fresh):
    import platform

    folder, wanted = fresh("onnx")
    dead = subprocess.Popen(["true"])
    dead.wait()
    for pid in (dead.pid, os.getpid()):
        (folder / f"build/.{pid}-{platform.node()}.spnasnet_100.onnx").write_bytes(b"half")
    good(play(command("onnx"), folder))
    assert hidden(folder / "build") == [f".{os.getpid()}-{platform.node()}.spnasnet_100.onnx"]
    seen("gone")


@pytest.mark.parametrize("name", ["manifest.json", ".journal", "val_00000003.bin"])
@pytest.mark.fault("prep/{name} emptied", "made again by prep when what it has to see is gone; the same bytes")
def test_emptied(seen, fresh, name):
    folder, wanted = fresh("onnx")
    path = folder / "build/prep" / name
    path.write_bytes(b"")
    good(play(["make", "-W", "build/prep.cfg", *command("prep")[1:]], folder))
    assert difference({n: c for n, c in files(folder / "build").items() if n.startswith("prep/")},
                      {n: c for n, c in wanted.items() if n.startswith("prep/")}) == []
    seen("made again")


@pytest.mark.parametrize("name, told", [
    ("spnasnet_100_bs8.blob", "damaged, or is not the file"), ("spnasnet_100_bs8.blob.json", "is not JSON"),
    ("prep/manifest.json", "is not JSON"), ("prep/val_00000003.bin", "0 bytes")])
@pytest.mark.fault("build/{name} emptied before infer", "refused in one line with the file; mended, the same bytes")
def test_emptied_before_infer(seen, fresh, name, told):
    folder, wanted = fresh("infer")
    whole = (folder / "build" / name).read_bytes()
    (folder / "build" / name).write_bytes(b"")
    done = play(command("infer"), folder)
    refused(done, told, name.split("/")[-1])
    (folder / "build" / name).write_bytes(whole)
    same(folder, wanted)
    seen(done)


@pytest.mark.fault("a folder where the ONNX should be", "one line with its name")
def test_folder_in_the_way(seen, fresh):
    folder, wanted = fresh("onnx")
    (folder / "build/spnasnet_100.onnx").mkdir()
    done = play(["make", "-W", "build/onnx.cfg", *command("onnx")[1:]], folder)
    refused(done, "build/spnasnet_100.onnx")
    (folder / "build/spnasnet_100.onnx").rmdir()
    same(folder, wanted)
    seen(done)


@pytest.mark.fault("a file where build/ should be", "said so with its name")
def test_file_in_the_way(seen, fresh):
    folder, wanted = fresh("prep")
    shutil.move(folder / "build", folder / "kept")
    (folder / "build").write_text("mine")
    done = play(command("prep"), folder)
    assert done.returncode == 2 and "build" in done.stdout and "Traceback" not in done.stdout
    assert (folder / "build").read_text() == "mine"
    seen(done)


@pytest.mark.fault("the download's folder is full", "one line with the file; with room again it goes on")
def test_download_full(seen, tmp_path, unmounted):
    from test_weights import Server

    folder = tmp_path / "stand-in"
    (folder / "build").mkdir(parents=True)
    if play(["mount", "-t", "tmpfs", "-o", "size=600k", "none", str(folder / "build")], folder).returncode:
        pytest.skip("mounting is not allowed here")
    server = Server()
    (folder / "published.json").write_text(json.dumps({"weights": {"file": "net.pth", "urls": [server.url]}}))
    words = [sys.executable, "-m", "common.model.weights", "--published", "published.json", "--dest", "build"]
    env = environment(PYTHONPATH=str(ROOT))
    done = play(words, folder, env)
    refused(done, "No space left on device", "net.pth", status=1)
    assert not (folder / "build/net.pth").exists()
    good(play(["mount", "-o", "remount,size=8m", str(folder / "build")], folder))
    good(play(words, folder, env))
    assert (folder / "build/net.pth").read_bytes() == server.content
    server.shutdown()
    seen(done)
