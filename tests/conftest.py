"""Tests import the source of common/, not a model folder's copy."""
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ascend import fake_ascend  # noqa: F401  a fixture for all tests
from fault_table import (  # noqa: F401  pytest finds hooks and fixtures here
    pytest_addoption,
    pytest_configure,
    pytest_runtest_logreport,
    pytest_terminal_summary,
    seen,
)
from scored import chain, score  # noqa: F401  fixtures for tests of scoring

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def make(folder, *words, status=0, env=None):
    """Run make in `folder` and return what it printed; the environment of an outer make is kept
    out."""
    clean = {
        k: v
        for k, v in os.environ.items()
        if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES")
    }
    done = subprocess.run(
        ["make", "--no-print-directory", *words], cwd=folder, env={**clean, **(env or {})},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == status, (
        f"make {' '.join(words)} ended with {done.returncode}, not {status}:\n{done.stdout}")
    return done.stdout


def last_line(text):
    return text.strip().splitlines()[-1]


def copy_of(model, folder):
    """Copy a model folder, and nothing else of the repository, to `folder`; its environment is the
    one of these tests."""
    shutil.copytree(
        ROOT / model, folder / model,
        ignore=shutil.ignore_patterns("build", "weights", "__pycache__"))
    (folder / model / ".venv").symlink_to(sys.prefix)
    return folder / model


def counts(line):
    """(good, total) of a scoring step's last line."""
    match = re.fullmatch(r"top1=[\d.]+% top5=[\d.]+% good=(\d+) total=(\d+)( .*)?", line)
    assert match, line
    return int(match[1]), int(match[2])


def load(path, name):
    """Import a file as a module that nothing else finds by its name."""
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def script(monkeypatch, capsys):
    """script(model folder, file name) imports a script with that folder's model.py; the function
    that comes back runs its main() with these words as command line and returns what it printed.
    Failures come as exceptions."""

    def of(folder, name):
        monkeypatch.setitem(sys.modules, "model", load(ROOT / folder / "model.py", "model"))
        module = load(ROOT / folder / name, name.removesuffix(".py"))

        def run(*words):
            monkeypatch.setattr(sys, "argv", [name, *map(str, words)])
            capsys.readouterr()
            module.main()
            return capsys.readouterr().out
        run.module = module
        return run
    return of


def odd_images(folder):
    """Fill `folder`/images with one file of every kind that ImageNet has in places; label file
    beside it. Returns the images' paths and {stem: class index}."""
    from test_transforms import modes, picture

    (folder / "images").mkdir(parents=True)
    paths = []
    for i, (_, content) in enumerate(modes(), 1):
        path = folder / "images" / f"ILSVRC2012_val_{i:08d}.JPEG"
        path.write_bytes(content)
        paths.append(path)
    for i, size in enumerate(
        [(40, 300), (223, 999), (224, 224), (233, 256), (256, 233), (501, 375)], len(paths) + 1):
        path = folder / "images" / f"ILSVRC2012_val_{i:08d}.JPEG"
        picture(*size).save(path, quality=95)
        paths.append(path)
    labels = {p.stem: 37 * i % 1000 for i, p in enumerate(paths, 11)}
    (folder / "val_label.txt").write_text(
        "".join(f"{stem}.JPEG {label}\n" for stem, label in labels.items()))
    return paths, labels
