"""What several files of faults use."""
import os
import shutil

import pytest
import tiny


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """The stand-in after `make eval`; copy it before you harm it."""
    folder = tiny.make_folder(tmp_path_factory.mktemp("whole"))
    assert tiny.last_line(tiny.make(folder, "eval")) == tiny.LINE
    return folder


@pytest.fixture
def built(whole, tmp_path):
    """A copy of that for one test."""
    return tiny.fresh(whole, tmp_path / "spnasnet")


@pytest.fixture
def as_owner():
    """Words before a command that make root's rights those of any owner."""
    if os.geteuid():
        return ()
    if not shutil.which("setpriv"):
        pytest.skip("root may read anything, and setpriv is not here to take that away")
    return "setpriv", "--bounding-set", "-dac_override,-dac_read_search"
