"""Many images: every count is right, and of an image nothing stays in memory but its name and a few
numbers.

A few contents under many names, and a network of one layer that sees 32 x 32 pixels, so that the
bins of 50,000 images are 600 MB. A step's memory is the largest resident size of its process.
"""
import json
import os
import re

import graphs
import numpy as np
import pytest
import tiny
from conftest import copy_of
from PIL import Image

from common.data import transforms

MOST = 2000  # bytes of memory per image
CONTENTS = 20
RECIPE = {"resize": 36, "crop": 32, "interpolation": "bilinear"}
# Runs a step and prints its peak; getrusage would count what this process was before exec.
MEASURED = """
import os, re, runpy, sys
sys.argv = sys.argv[1:]
sys.path[0] = os.getcwd()
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as e:
    assert not e.code, e.code
with open("/proc/self/status") as f:
    print("peak", re.search(r"VmHWM:\\s+(\\d+) kB", f.read())[1])
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """An spnasnet folder whose recipe and offline model are for 32 x 32 pixels."""
    folder = copy_of("spnasnet", tmp_path_factory.mktemp("scale"))
    published = json.loads((folder / "published.json").read_text())
    published["preprocessing"] = RECIPE
    (folder / "published.json").write_text(json.dumps(published))
    recipe = transforms.Recipe(**RECIPE).as_dict()
    graphs.make_onnx(folder / "x.onnx", 1000, shape=(3, 32, 32), preprocessing=recipe)
    tiny.worked(tiny.run(folder, "-m", "common.cpu.atc", "--framework=5", "--model=x.onnx",
                         "--output=small", "--input_shape=input:8,3,32,32",
                         env={"HOST_ENGINE": "openvino"}))
    (folder / "measured.py").write_text(MEASURED)
    return folder


def pictures(folder, count, nested):
    """`count` JPEG files of CONTENTS different contents, flat with a label file, or `nested` in
    class folders; where they are."""
    coarse = np.random.default_rng(1).integers(0, 256, (CONTENTS, 3, 3, 3), dtype=np.uint8)
    places = [folder / "val" / (str(i * 7 % 1000) if nested else "") / f"val_{i:08d}.JPEG"
              for i in range(count)]
    for i, path in enumerate(places):
        path.parent.mkdir(parents=True, exist_ok=True)
        if i < CONTENTS:
            Image.fromarray(coarse[i]).resize((48, 48)).save(path, quality=95)
        else:
            os.link(places[i % CONTENTS], path)
    if nested:
        return folder / "val"
    lines = [f"{path.name} {i * 7 % 1000}\n" for i, path in enumerate(places)]
    (folder / "val_label.txt").write_text("".join(lines))
    return folder / "val_label.txt"


def step(folder, *words, **env):
    """Run a step; its peak in bytes."""
    done = tiny.run(folder, "measured.py", *words, env=env, timeout=1200)
    return int(re.search(r"^peak (\d+)$", tiny.worked(done), re.M)[1]) * 1024


def endings(folder, ending):
    with os.scandir(folder) as entries:
        return sum(e.name.endswith(ending) for e in entries)


def answers(folder, ending):
    """The network's own answers for the different contents."""
    read = {"bin": lambda path: np.fromfile(path, "f4"), "txt": np.loadtxt}[ending]
    names = [f"val_{i:08d}_0.{ending}" for i in range(CONTENTS)]
    return [int(read(folder / "results/run" / name).argmax()) for name in names]


def run(folder, data, count, outfmt):
    """prep, infer, eval over `count` images: {step: peak in bytes}. TXT with class folders."""
    labels = pictures(data, count, nested=outfmt == "TXT")
    out, ending = data / "out", outfmt.lower()
    peaks = {"prep": step(folder, "preprocess_spnasnet_100_pytorch.py", data, out / "bins")}
    assert endings(out / "bins", ".bin") == count
    peaks["infer"] = step(
        folder, "common/cpu/ais_bench/__main__.py", "--model", "small.blob", "--input",
        out / "bins", "--output", out / "results", "--output_dirname", "run", "--outfmt", outfmt,
        "--batchsize", 8, HOST_ENGINE="openvino")
    assert endings(out / "results/run", f"_0.{ending}") == count
    peaks["eval"] = step(
        folder, "vision_metric_ImageNet.py", out / "results/run", labels, out, "table.json",
        "--manifest", out / "bins", "--json", out / "eval.json")
    known, result = answers(out, ending), json.loads((out / "eval.json").read_text())
    right = sum(known[i % CONTENTS] == i * 7 % 1000 for i in range(count))
    assert (result["good"], result["total"], result["missing"]) == (right, count, 0)
    return peaks


@pytest.mark.parametrize("outfmt", ["BIN", "TXT"])
@pytest.mark.fault("2,000 images, {outfmt}", "every count right")
def test_counts(seen, small, tmp_path, outfmt):
    run(small, tmp_path / "data", 2000, outfmt)
    seen("every count right")


@pytest.mark.slow
@pytest.mark.parametrize("outfmt", ["BIN", "TXT"])
@pytest.mark.fault("50,000 images, {outfmt}", f"every count right; at most {MOST} bytes per image")
def test_growth(seen, small, tmp_path, outfmt):
    few = run(small, tmp_path / "few", 5000, outfmt)
    many = run(small, tmp_path / "many", 50000, outfmt)
    per_image = {name: (many[name] - few[name]) / 45000 for name in many}
    seen("; ".join(f"{name} {size:.0f} bytes per image" for name, size in per_image.items()))
    print(per_image)
    assert max(per_image.values()) <= MOST, per_image
