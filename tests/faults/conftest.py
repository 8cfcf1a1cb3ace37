"""What several files of faults use."""
import os
import shutil

import pytest


@pytest.fixture
def as_owner():
    """Words before a command that make root's rights those of any owner."""
    if os.geteuid():
        return ()
    if not shutil.which("setpriv"):
        pytest.skip("root may read anything, and setpriv is not here to take that away")
    return "setpriv", "--bounding-set", "-dac_override,-dac_read_search"
