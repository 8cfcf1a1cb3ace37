"""Fixtures of the faults: made once a worker, copied for each test."""
import os
import shutil

import pytest
import tiny as runner


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """The stand-in model folder; nothing is built in it. Copy it before you harm it."""
    return runner.make_folder(tmp_path_factory.mktemp("tiny folder"))


@pytest.fixture(scope="session")
def built(tiny, tmp_path_factory):
    """As `tiny`, after `make eval`: what an undisturbed run leaves. Copy it before you harm it."""
    folder = runner.fresh(tiny, tmp_path_factory.mktemp("built") / "spnasnet")
    runner.worked(runner.make(folder, "eval"))
    return folder


@pytest.fixture
def as_owner():
    """Words before a command that make root's rights those of any owner."""
    if os.geteuid():
        return ()
    if not shutil.which("setpriv"):
        pytest.skip("root may read anything, and setpriv is not here to take that away")
    return "setpriv", "--bounding-set", "-dac_override,-dac_read_search"
