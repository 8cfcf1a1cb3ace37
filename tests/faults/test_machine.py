"""Faults of the machine and its settings, on the real commands over the stand-in network."""
import os
import re
import shlex
import shutil
import subprocess

import pytest
import tiny

pytestmark = pytest.mark.slow
FEW = [step for step in tiny.STEPS if step != "onnx"]  # the export takes long to start


@pytest.fixture(scope="module")
def done(whole):
    """(folder of the stand-in, what all its steps build)."""
    return whole, tiny.built(whole)


@pytest.fixture
def fresh(done, tmp_path):
    """fresh(step): a copy of the stand-in where everything but `step` is built."""
    def until(step, name="spnasnet"):
        folder = tiny.fresh(done[0], tmp_path / name)
        tiny.wipe(folder, step)
        return folder
    yield until
    build = tmp_path / "spnasnet/build"
    subprocess.run(["umount", str(build)], stderr=subprocess.DEVNULL)


def same_again(folder, wanted):
    """The chain, run again, ends well and with the bytes of an undisturbed run."""
    tiny.worked(tiny.make(folder, "eval"))
    assert tiny.difference(tiny.built(folder), wanted) == []
    tiny.no_leftovers(folder)


def mount(folder, options="size=40m"):
    """Move build/ onto a file system of its own; skips where that is not allowed."""
    shutil.move(folder / "build", folder / "kept")
    (folder / "build").mkdir()
    words = ["mount", "-t", "tmpfs", "-o", options, "none", str(folder / "build")]
    mounted = subprocess.run(words, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"mounting is not allowed here: {mounted.stderr.strip()}")
    shutil.copytree(folder / "kept", folder / "build", dirs_exist_ok=True)


@pytest.mark.parametrize("step", tiny.STEPS)
@pytest.mark.fault("disk full: {step}", "one line with the file; with room again the same bytes")
def test_disk_full(seen, fresh, done, step):
    folder = fresh(step)
    later = list(tiny.STEPS)[list(tiny.STEPS).index(step):]
    for one in later:  # make would delete what comes of it, and so find room
        tiny.wipe(folder, one)
    mount(folder)
    filler = folder / "build/.filler"
    with open(filler, "wb", buffering=0) as f:
        try:
            while True:
                f.write(bytes(1 << 16))
        except OSError:
            pass
    os.truncate(filler, filler.stat().st_size // 4096 * 4096 - (0 if step == "eval" else 8192))
    ended = tiny.make(folder, step)
    tiny.failed(ended, "No space left on device", "build/", status=2)
    filler.unlink()
    same_again(folder, done[1])
    seen(ended)


@pytest.mark.parametrize("step", tiny.STEPS)
@pytest.mark.fault("read-only output: {step}", "said with the file's name; writable: same bytes")
def test_read_only(seen, fresh, done, step):
    folder = fresh(step)
    mount(folder)
    subprocess.run(["mount", "-o", "remount,ro", str(folder / "build")], check=True)
    ended = tiny.make(folder, step)
    text = ended.stdout + ended.stderr
    assert ended.returncode == 2 and "Traceback" not in text
    assert re.search("Read-only file system: .", text)
    subprocess.run(["mount", "-o", "remount,rw", str(folder / "build")], check=True)
    same_again(folder, done[1])
    seen(ended)


@pytest.mark.parametrize("step, limit", [
    ("prep", "-f 100"), ("onnx", "-f 8"), ("om", "-f 8"), ("infer", "-f 4"), ("eval", "-f 1")])
@pytest.mark.fault("ulimit {limit}: {step}", "one line with the file; without it the same bytes")
def test_limits(seen, fresh, done, step, limit):
    folder = fresh(step)
    words = f"ulimit {limit}; exec {shlex.join(tiny.command(step))}"
    env = tiny.environment(PYTHONDONTWRITEBYTECODE="1")
    ended = subprocess.run(["bash", "-c", words], cwd=folder, env=env, capture_output=True,
                           text=True)
    tiny.failed(ended, "File too large", status=2)
    same_again(folder, done[1])
    seen(ended)


@pytest.mark.parametrize("step", FEW)
@pytest.mark.parametrize("where", ["| head -1", "> /dev/full", ">&-"])
@pytest.mark.fault(
    "{step} with its output {where}", "no traceback; the next run has the same bytes")
def test_output_that_nobody_takes(seen, fresh, done, step, where):
    folder = fresh(step)
    ended = subprocess.run(["bash", "-c", f"{shlex.join(tiny.command(step))} {where}"], cwd=folder,
                           env=tiny.environment(), capture_output=True, text=True)
    assert "Traceback" not in ended.stdout + ended.stderr
    assert "Exception ignored" not in ended.stderr
    same_again(folder, done[1])
    seen(ended)


@pytest.mark.parametrize("env", [
    {"LC_ALL": "C", "LANG": None, "PYTHONUTF8": "0"}, {"HOME": None}, {"PYTHONSAFEPATH": "1"},
    {"TMPDIR": "/nowhere"}, {"PYTHONPATH": "/nowhere"}, {"B": "x", "prep": "y", "om": "z"}])
@pytest.mark.fault("environment {env}", "same bytes")
def test_environment(seen, fresh, done, env):
    folder = fresh("prep")
    for step in ("infer", "eval"):
        tiny.wipe(folder, step)
    ended = tiny.make(folder, "eval", env=env)
    assert tiny.last_line(ended) == tiny.LINE
    assert tiny.difference(tiny.built(folder), done[1]) == []
    seen(ended)


@pytest.mark.parametrize("name", ["with a space", "with 'quotes'", "mit-ümläuten", "#hash"])
@pytest.mark.fault("a checkout called {name}", "same bytes")
def test_path(seen, fresh, done, name):
    folder = fresh("prep", name)
    tiny.wipe(folder, "infer")
    ended = tiny.make(folder, "eval")
    assert tiny.last_line(ended) == tiny.LINE
    assert tiny.difference(tiny.built(folder), done[1]) == []
    seen(ended)


@pytest.mark.parametrize("umask", ["000", "077"])
@pytest.mark.fault("umask {umask}", "same bytes")
def test_umask(seen, fresh, done, umask):
    folder = fresh("prep")
    words = f"umask {umask}; exec {shlex.join(tiny.command('eval'))}"
    ended = subprocess.run(["bash", "-c", words], cwd=folder, env=tiny.environment(), text=True,
                           capture_output=True)
    assert tiny.last_line(ended) == tiny.LINE
    assert tiny.difference(tiny.built(folder), done[1]) == []
    seen(ended)


@pytest.mark.parametrize("name", [tiny.BLOB, tiny.ONNX, tiny.EVAL, f"{tiny.PREP}/manifest.json"])
@pytest.mark.fault("a folder where {name} belongs", "said by name; without it the same bytes")
def test_folder_in_the_way(seen, fresh, done, name):
    folder = fresh("eval")
    (folder / name).unlink(missing_ok=True)
    (folder / name / "x").mkdir(parents=True)
    ended = tiny.make(folder, "eval")
    if ended.returncode:
        text = ended.stdout + ended.stderr
        assert "Traceback" not in text and os.path.basename(name) in text
        shutil.rmtree(folder / name)
    same_again(folder, done[1])
    seen(ended)


@pytest.mark.fault("no python3 for .venv", "make says so and stops")
def test_no_python(seen, tmp_path):
    folder = tiny.make_folder(tmp_path)
    (folder / ".venv").unlink()
    (folder / "bin").mkdir()
    for tool in ("make", "bash", "awk", "sed", "mkdir", "seq"):
        (folder / "bin" / tool).symlink_to(shutil.which(tool))
    ended = tiny.make(folder, "prep", env={"PATH": str(folder / "bin")})
    assert ended.returncode == 2 and "python3" in ended.stdout + ended.stderr
    seen(ended)
