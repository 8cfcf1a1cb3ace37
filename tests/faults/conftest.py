"""Fixtures of the faults in data: made once a worker, copied for each test."""
import pytest

from faults import data


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A model folder with a small network, its images and checkpoint; nothing is built in it. Copy it before you harm it."""
    return data.make_folder(tmp_path_factory.mktemp("tiny folder"))


@pytest.fixture(scope="session")
def built(tiny, tmp_path_factory):
    """As `tiny`, after `make eval`: what an undisturbed run leaves. Copy it before you harm it."""
    folder = data.fresh(tiny, tmp_path_factory.mktemp("built") / "spnasnet")
    data.worked(data.make(folder, "eval"))
    return folder
