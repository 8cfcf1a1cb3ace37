"""Whenever a step is killed, no final name holds a partial file, and the next run ends with the
bytes of an undisturbed one. FAULT_KILLS (default 3) is how often each step is killed."""
import os
import random
import shutil
import signal
import subprocess
import time

import pytest
import tiny

pytestmark = pytest.mark.slow
KILLS = int(os.environ.get("FAULT_KILLS", 3))
SIGNALS = {"kill -9": signal.SIGKILL, "Ctrl-C": signal.SIGINT}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """(folder of the stand-in with all steps done, {step: seconds})."""
    folder = tiny.make_folder(tmp_path_factory.mktemp("kill"))
    seconds = {}
    for step in tiny.STEPS:
        start = time.perf_counter()
        tiny.worked(tiny.make(folder, step))
        seconds[step] = time.perf_counter() - start
    return folder, seconds


def killed(words, folder, seconds, which):
    """Run a command and send its process group a signal after `seconds`; whether it was at work."""
    process = subprocess.Popen(words, cwd=folder, env=tiny.environment(), start_new_session=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    time.sleep(seconds)
    caught = process.poll() is None
    try:
        os.killpg(process.pid, which)
    except ProcessLookupError:
        pass
    process.communicate(timeout=60)
    wait_until_gone(process.pid)
    return caught


def wait_until_gone(group):
    """A dead process counts as alive until the system has buried it."""
    for _ in range(200):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(.05)


def remove_young_leftovers(folder):
    """What a user may leave there: hidden files of the kill. They are swept after a day."""
    for part in (folder / "build").rglob(".*.part.*"):
        part.unlink() if part.is_file() else shutil.rmtree(part)


@pytest.mark.parametrize("which", SIGNALS)
@pytest.mark.parametrize("step", tiny.STEPS)
@pytest.mark.fault("{which} at any moment of {step}", "no partial file; then the same bytes")
def test_a_step_is_killed(seen, whole, step, which):
    folder, seconds = whole
    tiny.worked(tiny.make(folder, "eval"))
    wanted, times, caught = tiny.built(folder), random.Random(step), 0
    for _ in range(KILLS):
        tiny.wipe(folder, step)
        moment = times.uniform(0, 1.1) * seconds[step]
        caught += killed(tiny.command(step), folder, moment, SIGNALS[which])
        left = tiny.built(folder)
        results = f"result/{os.path.basename(tiny.RESULT)}/"  # belong to nothing without a record
        assert not [n for n in left if left[n] != wanted.get(n) and not n.startswith(results)]
        tiny.worked(tiny.make(folder, "eval"))
        assert tiny.difference(tiny.built(folder), wanted) == []
        remove_young_leftovers(folder)
    seen(f"{KILLS} of {KILLS} recovered, {caught} caught at work")


@pytest.mark.parametrize("step, change", [
    ("prep", "LIMIT=7"), ("onnx", "OPSET=12"), ("om", "ATC_FLAGS=--output_type=FP16")])
@pytest.mark.fault("kill -9 of {step} while {change} remakes it", "the truth with and without it")
def test_a_change_is_killed(seen, whole, step, change):
    folder, seconds = whole
    tiny.worked(tiny.make(folder, "eval"))
    wanted, times = tiny.built(folder), random.Random(change)
    for _ in range(KILLS):
        moment = times.uniform(0, 1.1) * seconds[step]
        killed(tiny.command(step, change), folder, moment, signal.SIGKILL)
        tiny.worked(tiny.make(folder, "eval"))
        assert tiny.difference(tiny.built(folder), wanted) == []
        remove_young_leftovers(folder)
    seen(f"{KILLS} of {KILLS} recovered")
