"""What the faults in data are played on: a model folder with a small network, eight images, and the real commands."""
import os
import re
import shutil
import subprocess
import sys

from conftest import copy_of

# All of spnasnet but its network, which would take seconds where a fault in the data takes none.
MODEL = '''"""A network small enough to be exported in a second, for tests of everything around it."""
from pathlib import Path

import torch

from common.data import transforms

NAME = "spnasnet_100"
STEM = "model_best"
INPUT, OUTPUT = "actual_input_1", "class"
OPSET = 11
RECIPE = transforms.published(Path(__file__).parent)


def build(net="bundled"):
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 32, 32), torch.nn.BatchNorm2d(4), torch.nn.ReLU(),
                               torch.nn.Flatten(), torch.nn.Linear(196, 1000)).eval()
'''
NAMES = [f"ILSVRC2012_val_{i:08d}.JPEG" for i in range(1, 9)]
# What the small network says of five of the images, and its second choice for two: neither no score nor a full one.
LABELS = [25, 190, 708, 823, 515, 57, 201, 808]
LINE = "top1=62.50% top5=87.50% good=5 total=8"
WORDS = ("DATA=data", "WEIGHTS=tiny.pth", "BS=4", "ENGINE=openvino")
EVAL = "build/eval_bs4_openvino.json"
BLOB = "build/spnasnet_100_bs4.blob"
RESULT = "build/result/bs4_openvino"


def state_dict(**change):
    """Tensors of the small network, the same each time; `change` sets (None: takes away) tensors by name, _ for a dot."""
    import torch

    torch.manual_seed(5)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 32, 32), torch.nn.BatchNorm2d(4), torch.nn.ReLU(),
                              torch.nn.Flatten(), torch.nn.Linear(196, 1000))
    tensors = dict(net.state_dict())
    for name, value in change.items():
        tensors[name.replace("_", ".", 1)] = value
    return {name: value for name, value in tensors.items() if value is not None}


def make_folder(folder):
    """A copy of spnasnet with the small network, checkpoint tiny.pth and data/val, data/val_label.txt."""
    import torch

    folder = copy_of("spnasnet", folder)
    (folder / "model.py").write_text(MODEL)
    torch.save(state_dict(), folder / "tiny.pth")
    make_images(folder / "data")
    return folder


def make_images(data):
    """Eight photographs' worth of noise in data/val, their labels in data/val_label.txt."""
    import numpy as np
    from PIL import Image

    (data / "val").mkdir(parents=True)
    rng = np.random.default_rng(3)
    for name in NAMES:
        coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8))
        coarse.resize((int(rng.integers(230, 400)), 260), Image.Resampling.BICUBIC).save(data / "val" / name, quality=90)
    write_labels(data)


def write_labels(data, lines=None, ending="\n"):
    lines = [f"{name} {label}" for name, label in zip(NAMES, LABELS)] if lines is None else lines
    (data / "val_label.txt").write_bytes("".join(line + ending for line in lines).encode())


def environment():
    """A user's: nothing of an outer make, and one thread for each of several tests at a time."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "HOST_ENGINE", "DEBUG")) and k != "MFLAGS"}
    return {**ours, "OMP_NUM_THREADS": "1"}


def run(folder, *words, env=None, timeout=120, wrapper=()):
    """Run `python3 words…` in `folder` as a user does; the finished process, its output as text."""
    return subprocess.run([*wrapper, sys.executable, *map(str, words)], cwd=folder, env={**environment(), **(env or {})},
                          capture_output=True, text=True, timeout=timeout)


def make(folder, *words, timeout=300):
    """Run make as run() does; errors of its steps are in its own output too."""
    return subprocess.run(["make", "--no-print-directory", *words, *(w for w in WORDS if w.split("=")[0] not in
                           {x.split("=")[0] for x in words})], cwd=folder, env=environment(),
                          capture_output=True, text=True, timeout=timeout)


def prep(folder, dst="bins", *words, **options):
    """The preprocessing step on folder/data/val."""
    return run(folder, "preprocess_spnasnet_100_pytorch.py", "data", dst, *words, **options)


def score(folder, *words, result="result", labels="data/val_label.txt"):
    """The scoring step; it writes table.json and, with --json, more."""
    return run(folder, "vision_metric_ImageNet.py", result, labels, ".", "table.json", *words)


def failed(done, *said, status=1):
    """Assert that a step ended as an expected mistake does: its status, one line that says all of `said` (patterns) and
    what to do, no traceback. Returns the line."""
    text = done.stdout + done.stderr
    assert done.returncode == status, f"ended with {done.returncode}, not {status}:\n{text[-3000:]}"
    assert "Traceback" not in text, text[-3000:]
    lines = [line for line in text.splitlines() if re.match(r"error: |\S+\.mk:\d+: \*\*\* ", line)]
    assert len(lines) == 1, f"{len(lines)} error lines:\n{text[-3000:]}"
    for pattern in said:
        assert re.search(pattern, lines[0]), f"{pattern!r} is not in {lines[0][:3000]!r}"
    assert " — " in lines[0] and len(lines[0]) < 2000, lines[0][:3000]
    return lines[0]


def worked(done):
    """Assert that a step ended well, with nothing that looks like an error; returns what it printed."""
    text = done.stdout + done.stderr
    assert done.returncode == 0 and "Traceback" not in text and "error: " not in text, text[-3000:]
    return done.stdout


def content(folder, *left_out):
    """{path in folder: bytes} of what a step made: without locks, journals, and names that begin as one of `left_out`."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*"))
            if p.is_file() and p.name not in (".lock", ".journal") and not p.name.startswith(left_out)}


def no_leftovers(folder):
    """Assert that no unfinished file lies in `folder`: neither a temporary one nor the .part of a preprocessing."""
    names = [str(p.relative_to(folder)) for p in folder.rglob(".*") if p.name not in (".lock", ".journal", ".venv", ".ready")]
    assert not [n for n in names if not n.startswith(".venv/")], names


def fresh(source, target, *names):
    """Copy `names` (all, when none are given) of the folder `source` to `target`, times of change included."""
    target.mkdir(exist_ok=True)
    for path in [source / name for name in names] or source.iterdir():
        if path.is_symlink():
            (target / path.name).symlink_to(os.readlink(path))
        elif path.is_dir():
            shutil.copytree(path, target / path.name, symlinks=True)
        else:
            shutil.copy2(path, target / path.name)
    return target
