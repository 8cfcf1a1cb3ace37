"""The one stand-in network of the tests, the eight images it sees, and the one runner of real
commands.

All of spnasnet but its network, which would take seconds where a test of everything around it takes
none. Nothing here is about accuracy: LABELS are such that the score is neither none nor full.
"""
import json
import os
import re
import shutil
import subprocess
import sys

from conftest import ROOT, copy_of

MODEL = '''"""A network that is exported in a second, for tests of everything around it."""
from pathlib import Path

import torch

from common.data import transforms

NAME = "spnasnet_100"
STEM = "model_best"
INPUT, OUTPUT = "actual_input_1", "class"
OPSET = 11
HEAD = "4"
RECIPE = transforms.published(Path(__file__).parent)


def build(net="bundled"):
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 32, 32), torch.nn.BatchNorm2d(4), torch.nn.ReLU(),
        torch.nn.Flatten(), torch.nn.Linear(196, 1000)).eval()
'''
NAMES = [f"ILSVRC2012_val_{i:08d}.JPEG" for i in range(1, 9)]
# What the network says of five of the images, and its second choice for two.
LABELS = [25, 190, 708, 823, 515, 57, 201, 808]
LINE = "top1=62.50% top5=87.50% good=5 total=8"
GIVEN = ("DATA=data", "WEIGHTS=tiny.pth", "BS=4", "ENGINE=openvino")
ONNX = "build/spnasnet_100.onnx"
BLOB = "build/spnasnet_100_bs4.blob"
PREP = "build/prep"
RESULT = "build/result/bs4_openvino"
EVAL = "build/eval_bs4_openvino.json"
# What each step writes, as globs in build/.
STEPS = {"prep": ["prep"], "onnx": ["*.onnx", "*.onnx.json"], "om": ["*.blob", "*.blob.json"],
         "infer": ["result"], "eval": ["eval_*.json", "answers_*.csv", "result_*.json"]}


def state_dict(seed=5, **change):
    """Tensors of the network; `change` sets tensors by name, _ for a dot (None: leaves it out)."""
    import torch

    torch.manual_seed(seed)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 32, 32), torch.nn.BatchNorm2d(4), torch.nn.ReLU(),
        torch.nn.Flatten(), torch.nn.Linear(196, 1000))
    tensors = dict(net.state_dict())
    for name, value in change.items():
        tensors[name.replace("_", ".", 1)] = value
    return {name: value for name, value in tensors.items() if value is not None}


def save_weights(path, seed=5, **change):
    """Write a checkpoint of the network."""
    import torch

    torch.save(state_dict(seed, **change), path)


def make_folder(folder):
    """A copy of spnasnet with the small network, tiny.pth, data/val and data/val_label.txt."""
    folder = copy_of("spnasnet", folder)
    (folder / "model.py").write_text(MODEL)
    save_weights(folder / "tiny.pth")
    make_images(folder / "data")
    return folder


def make_images(data, names=NAMES, labels=LABELS, seed=3):
    """Small photographs of noise in data/val, and data/val_label.txt."""
    import numpy as np
    from PIL import Image

    (data / "val").mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for name in names:
        coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8))
        size = (int(rng.integers(230, 400)), 260)
        coarse.resize(size, Image.Resampling.BICUBIC).save(data / "val" / name, quality=90)
    write_labels(data, [f"{name} {label}" for name, label in zip(names, labels)])


def write_labels(data, lines=None, ending="\n"):
    """Write val_label.txt beside val/."""
    lines = [f"{n} {label}" for n, label in zip(NAMES, LABELS)] if lines is None else lines
    (data / "val_label.txt").write_bytes("".join(line + ending for line in lines).encode())


def environment(**more):
    """A user's environment: nothing of an outer make; None removes a variable."""
    ours = ("MAKE", "HOST_", "DEBUG", "MFLAGS")
    env = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    env = {**env, "OMP_NUM_THREADS": "1", **more}
    return {k: v for k, v in env.items() if v is not None}


def run(folder, *words, env=None, timeout=120, wrapper=()):
    """Run `python3 words…` in `folder`; the finished process, its output as text."""
    return subprocess.run([*wrapper, sys.executable, *map(str, words)], cwd=folder, text=True,
                          env=environment(**(env or {})), capture_output=True, timeout=timeout)


def command(*words):
    """The command line of make for the stand-in; `words` replace what GIVEN has."""
    named = {word.split("=")[0] for word in words}
    rest = [word for word in GIVEN if word.split("=")[0] not in named]
    return ["make", "--no-print-directory", *words, *rest]


def make(folder, *words, env=None, timeout=300, wrapper=()):
    """Run make in `folder`, as run() does."""
    return subprocess.run([*wrapper, *command(*words)], cwd=folder, capture_output=True,
                          env=environment(**(env or {})), text=True, timeout=timeout)


def prep(folder, dst="bins", *words, **options):
    """The preprocessing step on folder/data."""
    script = "preprocess_spnasnet_100_pytorch.py"
    return run(folder, script, "data", dst, *words, **options)


def failed(done, *said, status=1):
    """Assert that a step ended as an expected mistake does: its status, one line that has all of
    `said` (patterns) and what to do, no traceback. Returns the line."""
    text = done.stdout + done.stderr
    assert done.returncode == status, f"{done.returncode}, not {status}:\n{text[-3000:]}"
    assert "Traceback" not in text, text[-3000:]
    lines = [line for line in text.splitlines() if re.match(r"error: |\S+\.mk:\d+: \*\*\* ", line)]
    assert len(lines) == 1, f"{len(lines)} error lines:\n{text[-3000:]}"
    for pattern in said:
        assert re.search(pattern, lines[0]), f"{pattern!r} is not in {lines[0][:3000]!r}"
    assert " — " in lines[0] or "***" in lines[0], lines[0][:3000]
    assert len(lines[0]) < 2000, lines[0][:3000]
    return lines[0]


def worked(done):
    """Assert that a step ended well, without a sign of an error; returns what it printed."""
    text = done.stdout + done.stderr
    good = done.returncode == 0 and "Traceback" not in text and "error: " not in text
    assert good, text[-3000:]
    return done.stdout


def last_line(done):
    """The last line of a step that ended well."""
    return worked(done).strip().splitlines()[-1]


def content(folder, *left_out):
    """{path in folder: bytes} of what a step made; without names that begin as one of `left_out`
    and what is hidden."""
    found = {p.relative_to(folder): p for p in sorted(folder.rglob("*")) if p.is_file()}
    return {str(path): p.read_bytes() for path, p in found.items()
            if not p.name.startswith(left_out) and not any(n.startswith(".") for n in path.parts)}


def no_leftovers(folder):
    """Assert that no unfinished file is in `folder`."""
    assert not list(folder.rglob(".*.part.*"))


def fresh(source, target, *names):
    """Copy `names` (all, when none are given) of the folder `source` to `target`, times
    included."""
    target.mkdir(exist_ok=True)
    for path in [source / name for name in names] or source.iterdir():
        if path.is_symlink():
            (target / path.name).symlink_to(os.readlink(path))
        elif path.is_dir():
            shutil.copytree(path, target / path.name, symlinks=True)
        else:
            shutil.copy2(path, target / path.name)
    return target


def repository(top, *folders):
    """A repository at `top`: the real Makefile, common/ and tools/, and stand-ins as model
    folders."""
    top.mkdir(parents=True)
    for name in ("common", "tools"):
        shutil.copytree(ROOT / name, top / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Makefile", "requirements.txt", "requirements.lock"):
        shutil.copy2(ROOT / name, top / name)
    (top / ".venv").symlink_to(sys.prefix)
    for folder in folders:
        made = make_folder(top / "new")
        made.rename(top / folder)
        (top / folder / ".venv").unlink()
        (top / "new").rmdir()
    return top


def built(folder):
    """{path in build/: content} of all files with final names, as far as it is the same each time:
    without inodes, dates, and what ais_bench's summary says of times."""
    found = {}
    for name, data in content(folder / "build").items():
        if name.endswith("_summary.json"):
            data = json.loads(data)["filesinfo"]
        elif name.endswith(".json"):
            data = _timeless(json.loads(data))
        found[name] = data
    return found


def _timeless(value):
    if isinstance(value, dict):
        # The hash of another record is of its inodes and dates too.
        left_out = ("stat", "date", "mtime_ns", f"{RESULT}.json", f"{PREP}/manifest.json")
        return {k: _timeless(v) for k, v in value.items() if k not in left_out}
    return [_timeless(v) for v in value] if isinstance(value, list) else value


def difference(a, b):
    """Names of the files in which two built() differ."""
    return sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name))


def wipe(folder, step):
    """Delete what `step` has built."""
    for pattern in STEPS[step]:
        for path in (folder / "build").glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
