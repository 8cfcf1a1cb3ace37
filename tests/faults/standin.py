"""A stand-in for a model folder, quick enough to be broken off hundreds of times.

spnasnet's Makefile, scripts and common/ as they are; in place of its network one of 9 000 weights, and a dozen generated
images. Nothing here is about accuracy.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import time

import numpy as np
from conftest import ROOT
from PIL import Image

MODEL = '''\
"""A stand-in for a network: of the right inputs and outputs, and of no use."""
from pathlib import Path

from torch import nn

from common.data import transforms

NAME = "stand-in"
STEM = "model_best"
INPUT, OUTPUT = "actual_input_1", "class"
OPSET = 11
HEAD = "4"
RECIPE = transforms.published(Path(__file__).parent)


def build(net="bundled"):
    return nn.Sequential(nn.Conv2d(3, 8, 16, 16), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 1000)).eval()
'''
INPUTS = ["DATA=images", "WEIGHTS=weights/model_best.pth.tar"]
IMAGES = 12
# What each step writes, as globs in build/; later steps' files come after it.
STEPS = {"prep": ["prep"], "onnx": ["*.onnx"], "om": ["*.blob", "*.blob.json"], "infer": ["result"],
         "eval": ["eval_*.json", "result_*.json"]}


def model_folder(folder, images=IMAGES, size=(64, 48)):
    """Make the stand-in in `folder`, which is not there yet; return it."""
    folder.mkdir(parents=True)
    for path in (ROOT / "spnasnet").iterdir():
        if path.is_file() and path.name != "model.py":
            shutil.copy2(path, folder)
    shutil.copytree(ROOT / "spnasnet/common", folder / "common", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "model.py").write_text(MODEL)
    pictures(folder / "images", images, size)
    (folder / "weights").mkdir()
    rng = np.random.default_rng(0)

    import torch

    shapes = {"0.weight": (8, 3, 16, 16), "0.bias": (8,), "4.weight": (1000, 8), "4.bias": (1000,)}
    torch.save({name: torch.from_numpy(rng.normal(0, .1, shape).astype(np.float32)) for name, shape in shapes.items()},
               folder / "weights/model_best.pth.tar")
    return folder


def pictures(folder, images, size, contents=20):
    """Fill `folder` with JPEG files of `contents` different contents, and their val_label.txt."""
    folder.mkdir()
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 256, (contents, 3, 3, 3), dtype=np.uint8)
    firsts = []
    with open(folder / "val_label.txt", "w") as labels:
        for i in range(images):
            path = folder / f"val_{i:08d}.JPEG"
            if i < contents:
                Image.fromarray(coarse[i]).resize(size, Image.Resampling.BICUBIC).save(path, quality=95)
                firsts.append(path)
            else:
                os.link(firsts[i % contents], path)
            labels.write(f"{path.name} {i * 7 % 1000}\n")


def command(verb, *words):
    """The command line of make for the stand-in."""
    return ["make", "--no-print-directory", verb, *INPUTS, "BS=8", f"PYTHON={sys.executable}", *words]


def environment(**more):
    """These tests' environment without that of an outer make; None takes a variable away."""
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES", "DEBUG")}
    env.update(more)
    return {k: v for k, v in env.items() if v is not None}


def play(words, folder, env=None, **options):
    """Run a command to its end; the CompletedProcess, what it printed as .stdout, errors included."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, **options}
    return subprocess.run(words, cwd=folder, env=env or environment(), encoding="utf-8", errors="replace", timeout=300,
                          **options)


def good(done):
    """The process ended well; returns what it printed."""
    assert done.returncode == 0, done.stdout
    return done.stdout


def refused(done, *named, status=1, errors=1):
    """The process failed with one line of ours (make adds its own) that has each of `named` and a remedy; no traceback."""
    said = done.stdout or done.stderr
    assert done.returncode != 0 and "Traceback" not in said and "Exception ignored" not in said, said
    lines = [line for line in said.splitlines() if line.startswith("error: ") or "*** " in line and "Error" not in line]
    assert len(lines) == errors, said
    for name in named:
        assert name in lines[0], said
    assert done.returncode in (status, 2), said  # make's own status is 2 whatever the recipe's is
    return lines[0]


def files(folder):
    """{path: content} of all files of a build that have final names, as far as it is the same in every run.

    Left out: hidden files (locks, temporaries), the date in results, where the images lie, and all but the list of files in
    ais_bench's summary.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_file() and "/." not in f"/{name}":
            content = path.read_bytes()
            if name.endswith(".json") and content:
                content = json.loads(re.sub(rb'"dataset": "[^"]*"', b'"dataset": ""', content))  # fails for a partial file
                content.pop("date", None)
                content = content["filesinfo"] if name.endswith("_summary.json") else content
            found[name] = content
    return found


def difference(a, b):
    """Names of the files in which two files() differ."""
    return sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name))


def hidden(folder):
    """Left-overs: hidden files and folders below `folder`, but for locks and prep's journal."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob(".*") if p.name not in (".lock", ".journal"))


def timed(words, folder, **options):
    """good(play(…)); returns the seconds it took."""
    start = time.perf_counter()
    good(play(words, folder, **options))
    return time.perf_counter() - start
