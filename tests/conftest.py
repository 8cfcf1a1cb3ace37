"""Tests import the source of common/, not a model folder's copy."""
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def make(folder, *words, status=0, env=None):
    """Run make in `folder` and return what it printed; the environment of an outer make is kept out."""
    clean = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES")}
    done = subprocess.run(["make", "--no-print-directory", *words], cwd=folder, env={**clean, **(env or {})},
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == status, f"make {' '.join(words)} ended with {done.returncode}, not {status}:\n{done.stdout}"
    return done.stdout


def last_line(text):
    return text.strip().splitlines()[-1]


def copy_of(model, folder):
    """Copy a model folder, and nothing else of the repository, to `folder`; its environment is the one of these tests."""
    shutil.copytree(ROOT / model, folder / model, ignore=shutil.ignore_patterns("build", "weights", "__pycache__"))
    (folder / model / ".venv").symlink_to(sys.prefix)
    return folder / model


@pytest.fixture(scope="session")
def shiftvit(tmp_path_factory):
    """A ShiftViT folder on its own, in a path with a space, in which `make demo` has run; .said is what that printed."""
    folder = copy_of("ShiftViT", tmp_path_factory.mktemp("a copied folder"))
    folder_said = make(folder, "demo")
    return folder, folder_said


def counts(line):
    """(good, total) of a scoring step's last line."""
    match = re.fullmatch(r"top1=[\d.]+% top5=[\d.]+% good=(\d+) total=(\d+)( .*)?", line)
    assert match, line
    return int(match[1]), int(match[2])
