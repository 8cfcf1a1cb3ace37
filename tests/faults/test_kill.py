"""Steps that are killed or interrupted at any moment: nothing half-written has a final name, and the next run ends with the
bytes of an undisturbed one.

FAULT_KILLS sets how often each step is killed; the moments are drawn over the step's duration, so that a slow machine is
hit in the same places. The steps are those of a stand-in for a network (standin.py); their commands are the real ones.
"""
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from test_weights import Server

from common import cli
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
    timed,
)

KILLS = int(os.environ.get("FAULT_KILLS", 3))
SIGNALS = {"kill -9": signal.SIGKILL, "Ctrl-C": signal.SIGINT}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """(folder of the stand-in with all steps done, {step: seconds})."""
    folder = model_folder(tmp_path_factory.mktemp("kill") / "stand-in")
    return folder, {step: timed(command(step), folder) for step in STEPS}


def share(which):
    """How many of KILLS are of one signal: most by kill -9, at least one by Ctrl-C."""
    interrupts = max(1, KILLS // 3)
    return interrupts if which == "Ctrl-C" else max(1, KILLS - interrupts)


def broken_off(words, folder, seconds, which, env=None):
    """Run a command and send its process group a signal after `seconds`; return whether it was still at work."""
    process = subprocess.Popen(words, cwd=folder, env=env or environment(), start_new_session=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    time.sleep(seconds)
    caught = process.poll() is None
    try:
        os.killpg(process.pid, which)
    except ProcessLookupError:
        pass
    said = process.communicate(timeout=60)[0].decode("utf-8", "replace")
    for _ in range(100):  # until the system has buried them: a dead process's number counts as alive before
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            break
        time.sleep(.05)
    # Ctrl-C while Python is importing, or before a script's first line, shows Python's own traceback; nothing of ours runs yet.
    early = ("import" in said or "line 0, in <module>" in said) and "cli.run(main)" not in said and "Process-" not in said
    assert "Traceback" not in said or which == signal.SIGINT and early, said
    assert not caught or process.returncode != 0 or which == signal.SIGINT
    return caught


def pythons(process):
    """The Python processes of a make that was started in a session of its own, oldest first."""
    listed = subprocess.run(["pgrep", "-g", str(process.pid), "python"], stdout=subprocess.PIPE, text=True).stdout
    return [int(pid) for pid in listed.split()]


def wipe(folder, step):
    for pattern in STEPS[step]:
        for path in (folder / "build").glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize("which", SIGNALS)
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.fault("{which} at any moment of {step}", "no partial file; the next run has the same bytes")
def test_fresh(seen, whole, step, which):
    folder, seconds = whole
    good(play(command("eval"), folder))
    wanted, times, caught = files(folder / "build"), random.Random(step), 0
    for _ in range(share(which)):
        wipe(folder, step)
        caught += broken_off(command(step), folder, times.uniform(0, 1.1) * seconds[step], SIGNALS[which])
        left = files(folder / "build")
        assert not [n for n in left if left[n] != wanted.get(n) and not n.endswith(".cfg")], "a partial file has a final name"
        good(play(command(step), folder))
        assert difference(files(folder / "build"), wanted) == []
        assert hidden(folder / "build") == []
    seen(f"{share(which)} of {share(which)} recovered, {caught} caught at work")


@pytest.mark.parametrize("step, change", [("prep", "LIMIT=7"), ("onnx", "OPSET=12"), ("om", "ATC_FLAGS=--output_type=FP16")])
@pytest.mark.fault("kill -9 of {step} while {change} remakes what is there",
                   "each file is the older or the newer one; the next run has the same bytes, with the change and without")
def test_change(seen, whole, step, change):
    folder, seconds = whole
    good(play(command(step), folder))
    before = files(folder / "build")
    good(play(command(step, change), folder))
    after, times = files(folder / "build"), random.Random(step)
    good(play(command(step), folder))
    assert difference(files(folder / "build"), before) == [] and difference(before, after)
    for _ in range(KILLS):
        broken_off(command(step, change), folder, times.uniform(0, 1.1) * seconds[step], signal.SIGKILL)
        left = files(folder / "build")
        assert not [n for n in left if left[n] not in (before.get(n), after.get(n)) and not n.endswith(".cfg")]
        if times.random() < .5:
            good(play(command(step, change), folder))
            assert difference(files(folder / "build"), after) == []
        good(play(command(step), folder))
        assert difference(files(folder / "build"), before) == []
    seen(f"{KILLS} of {KILLS} recovered")


@pytest.mark.parametrize("which", SIGNALS)
@pytest.mark.fault("{which} at any moment of a download", "no partial file; the next run goes on and has the same bytes")
def test_download(seen, tmp_path, which):
    server = Server()
    server.slow = True
    (tmp_path / "published.json").write_text(json.dumps({"weights": {"file": "net.pth", "urls": [server.url], "sha256": None}}))
    words = [sys.executable, "-m", "common.model.weights", "--published", "published.json", "--dest", "w"]
    env = environment(PYTHONPATH=str(cli.__file__).rsplit("/common/", 1)[0])
    seconds, times = timed(words, tmp_path, env=env), random.Random(which)
    wanted = {p.name: p.read_bytes() for p in (tmp_path / "w").iterdir()}
    assert wanted["net.pth"] == server.content
    for _ in range(share(which)):
        shutil.rmtree(tmp_path / "w")
        broken_off(words, tmp_path, times.uniform(0, 1.1) * seconds, SIGNALS[which], env)
        left = tmp_path / "w/net.pth"
        assert not left.exists() or left.read_bytes() == server.content
        good(play(words, tmp_path, env))
        assert {p.name: p.read_bytes() for p in (tmp_path / "w").iterdir()} == wanted
    seen(f"{share(which)} of {share(which)} recovered, {sum(1 for asked in server.asked if asked)} went on where they stopped")
    server.shutdown()


@pytest.mark.fault("the same kill twice, then Ctrl-C, then a run", "the same bytes")
def test_again_and_again(seen, whole):
    folder, seconds = whole
    good(play(command("eval"), folder))
    wanted = files(folder / "build")
    shutil.rmtree(folder / "build")
    for which, part in ((signal.SIGKILL, .3), (signal.SIGKILL, .6), (signal.SIGINT, .8)):
        broken_off(command("eval"), folder, part * sum(seconds.values()), which)
    good(play(command("eval"), folder))
    assert difference(files(folder / "build"), wanted) == [] and hidden(folder / "build") == []
    seen("the same bytes")


@pytest.mark.fault("make itself killed, its step goes on; another make at once", "the second waits or redoes; the same bytes")
def test_orphan(seen, whole):
    folder, seconds = whole
    good(play(command("eval"), folder))
    wanted = files(folder / "build")
    for step in ("prep", "onnx", "om"):
        wipe(folder, step)
        process = subprocess.Popen(command(step), cwd=folder, env=environment(), start_new_session=True,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(seconds[step] / 2)
        process.kill()
        process.wait()
        good(play(command(step), folder))
        while pythons(process):  # until the orphan has ended too
            time.sleep(.1)
        assert difference(files(folder / "build"), wanted) == [] and hidden(folder / "build") == []
    seen("the same bytes")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.fault("the step's own process killed (by the kernel, for its memory): {step}",
                   "make stops and says Killed; no partial file; the next run has the same bytes")
def test_worker(seen, whole, step):
    folder, seconds = whole
    good(play(command("eval"), folder))
    wanted = files(folder / "build")
    for part in (.5, .3, .1):  # another moment when this host has become quicker in the meantime
        wipe(folder, step)
        process = subprocess.Popen(command(step), cwd=folder, env=environment(), start_new_session=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        time.sleep(seconds[step] * part)
        while process.poll() is None and not pythons(process):
            time.sleep(.01)
        for python in pythons(process)[-1:]:
            os.kill(python, signal.SIGKILL)
        said = process.communicate()[0].decode()
        if process.returncode:
            break
    done = subprocess.CompletedProcess([], process.returncode, said)
    assert done.returncode == 2 and "Killed" in done.stdout, done.stdout
    left = files(folder / "build")
    assert not [n for n in left if left[n] != wanted.get(n) and not n.endswith(".cfg")]
    good(play(command(step), folder))
    assert difference(files(folder / "build"), wanted) == [] and hidden(folder / "build") == []
    seen(done)


@pytest.mark.fault("SIGTERM during prep", "exit at once, no partial file, nothing left over; the next run has the same bytes")
def test_terminated(seen, whole):
    folder, seconds = whole
    good(play(command("eval"), folder))
    wanted = files(folder / "build")
    for step in ("prep", "onnx", "om"):
        wipe(folder, step)
        broken_off(command(step), folder, seconds[step] * .7, signal.SIGTERM)
        left = files(folder / "build")
        assert not [n for n in left if left[n] != wanted.get(n) and not n.endswith(".cfg")]
        good(play(command(step), folder))
        assert difference(files(folder / "build"), wanted) == []
    seen("the same bytes")


LATE = """
import os, sys, threading
from common import cli
threading._register_atexit(lambda: os.kill(os.getpid(), int(sys.argv[1])))
cli.run(lambda: None)
"""


IN_DESTRUCTOR = """
import os, sys, time
from common import cli
class Held:
    def __del__(self):
        os.kill(os.getpid(), int(sys.argv[1]))
        list(range(9))
def main():
    held = Held()
    del held
    time.sleep(9)
cli.run(main)
"""


IN_EXTENSION = """
import os, sys, time
from common import cli
def main():
    try:
        os.kill(os.getpid(), int(sys.argv[1]))
        time.sleep(9)
    except BaseException:
        raise sys.argv[2] == "ImportError" and ImportError("initialization failed") or RecursionError
cli.run(main)
"""


@pytest.mark.parametrize("which, status", [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["SIGTERM", "Ctrl-C"])
@pytest.mark.parametrize("when, script", [("in a destructor, where Python drops what is raised", IN_DESTRUCTOR),
                                          ("while OpenVINO loads, which makes an ImportError of it", IN_EXTENSION),
                                          ("while numpy loads, which makes a RecursionError of it", IN_EXTENSION)],
                         ids=["destructor", "OpenVINO", "numpy"])
@pytest.mark.fault("{which} {when}", "exit {status}, no traceback")
def test_what_is_made_of_a_signal(seen, whole, which, status, when, script):
    done = subprocess.run([sys.executable, "-c", script, str(int(which)), *re.findall(r"\w+Error", when)], cwd=whole[0],
                          capture_output=True, text=True)
    assert done.returncode == status and "Traceback" not in done.stderr
    seen(done)


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
@pytest.mark.fault("{which} while Python ends, all being done", "an end without a traceback")
def test_at_the_very_end(seen, whole, which):
    done = subprocess.run([sys.executable, "-c", LATE, str(int(which))], cwd=whole[0], capture_output=True, text=True)
    assert done.returncode == -which and done.stderr == ""
    seen(f"status {128 + which}")


@pytest.mark.fault("a result file taken away after the run", "scoring names the image; make infer after a touch mends it")
def test_result_gone(seen, whole):
    folder, _ = whole
    good(play(command("eval"), folder))
    wanted = files(folder / "build")
    gone = next((folder / "build/result/bs8_openvino").glob("val_00000003_0.*"))
    gone.unlink()
    next((folder / "build").glob("eval_*.json")).unlink()
    done = play(command("eval"), folder)
    refused(done, "1 images without a result", "val_00000003")
    (folder / "build/result/bs8_openvino.done").unlink()
    good(play(command("eval"), folder))
    assert difference(files(folder / "build"), wanted) == []
    seen(done)
