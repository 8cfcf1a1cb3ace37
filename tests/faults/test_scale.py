"""Many images: every count is right, and no step needs noticeably more memory for them: nothing of an image stays there but its
name and a few numbers.

A few contents under many names; a stand-in for the network (a crop of 32, one convolution), so that the bins of 50,000 images
are 600 MB. A step's memory is the largest resident size of its process. In every run 2,000 images for the counts;
`make faults` has 5,000 and 50,000.
"""
import json
import os
import shutil
import sys
import time

import numpy as np
import pytest

from faults.standin import command, environment, good, model_folder, pictures, play

MOST = 1.2  # times as much memory for ten times the images; their bins grow from 60 to 600 MB
MEASURED = '''
import os, re, runpy, sys
sys.argv = sys.argv[2:]
module, target = sys.argv[0].endswith(".py"), sys.argv[0]
sys.path.insert(0, os.getcwd())
status = 0
try:
    runpy.run_path(target, run_name="__main__") if module else runpy.run_module(target, run_name="__main__", alter_sys=True)
except SystemExit as e:
    status = e.code or 0
with open("/proc/self/status") as f:  # getrusage would count what this process was before exec
    print("peak", int(re.search(r"VmHWM:\\s+(\\d+) kB", f.read())[1]) // 1024)
sys.exit(status)
'''


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The stand-in with a crop of 32, exported and compiled."""
    folder = model_folder(tmp_path_factory.mktemp("scale") / "stand-in", images=2)
    published = json.loads((folder / "published.json").read_text())
    published["preprocessing"].update(resize=36, crop=32)
    (folder / "published.json").write_text(json.dumps(published))
    good(play(command("onnx"), folder))
    good(play([sys.executable, "-m", "common.cpu.atc", "--framework=5", "--model=build/spnasnet_100.onnx",
               "--output=build/small", "--input_shape=actual_input_1:8,3,32,32"], folder, environment(HOST_ENGINE="openvino")))
    (folder / "measured.py").write_text(MEASURED)
    return folder


def step(folder, *words, **env):
    """Run a Python step; (what it printed, MB, seconds)."""
    start = time.perf_counter()
    said = good(play([sys.executable, "measured.py", "-", *map(str, words)], folder, environment(**env)))
    seconds = time.perf_counter() - start
    lines = said.strip().splitlines()
    assert lines[-1].startswith("peak "), said
    return "\n".join(lines[:-1]), int(lines[-1].split()[1]), seconds


def run(folder, count, outfmt):
    """prep, infer, eval over `count` images; {step: (MB, seconds)}. Every count is checked."""
    for name in ("images", "classes", "bins", "results"):
        shutil.rmtree(folder / name, ignore_errors=True)
    pictures(folder / "images", count, (48, 48))
    prep = step(folder, "preprocess_spnasnet_100_pytorch.py", "images", "bins")
    assert f"wrote {count} bins of {count} images" in prep[0]
    with os.scandir(folder / "bins") as entries:
        assert sum(e.name.endswith(".bin") and e.stat().st_size == 3 * 32 * 32 * 4 for e in entries) == count
    infer = step(folder, "common/cpu/ais_bench/__main__.py", "--model", "build/small.blob", "--input", "bins",
                 "--output", "results", "--output_dirname", "run", "--outfmt", outfmt, "--batchsize", 8, HOST_ENGINE="openvino")
    with os.scandir(folder / "results/run") as entries:
        assert sum(e.name.endswith(f"_0.{outfmt.lower()}") for e in entries) == count
    score = step(folder, "vision_metric_ImageNet.py", "results/run", "images/val_label.txt", ".", "result.json",
                 "--manifest", "bins", "--json", "eval.json")
    result = json.loads((folder / "eval.json").read_text())
    assert result["total"] == count and result["missing"] == 0
    for i, image in enumerate(sorted((folder / "images").glob("*.JPEG"))):
        place = folder / f"classes/{i * 7 % 1000:03d}"
        place.mkdir(parents=True, exist_ok=True)
        (place / image.name).hardlink_to(image)
    classes = step(folder, "vision_metric_ImageNet.py", "results/run", "classes", ".", "result.json", "--manifest", "bins",
                   "--json", "eval.json")
    assert json.loads((folder / "eval.json").read_text())["line"] == result["line"]
    # Twenty contents: the stand-in's own answers for them, counted under every name, are what must come out.
    known = {}
    for i in range(20):
        path = folder / f"results/run/val_{i:08d}_0.{outfmt.lower()}"
        logits = np.fromfile(path, np.float32) if outfmt == "BIN" else np.array(path.read_text().split(), float)
        known[i] = int(logits.argmax())
    assert result["good"] == sum(known[i % 20] == i * 7 % 1000 for i in range(count))
    return {"prep": prep[1:], f"infer {outfmt}": infer[1:], f"eval {outfmt}": score[1:],
            f"eval {outfmt}, labels from class folders": classes[1:]}


@pytest.mark.parametrize("outfmt", ["BIN", "TXT"])
@pytest.mark.fault("2,000 images, {outfmt}", "every count right")
def test_counts(seen, small, outfmt):
    run(small, 2000, outfmt)
    seen("every count right")


@pytest.mark.offline
@pytest.mark.parametrize("outfmt", ["BIN", "TXT"])
@pytest.mark.fault("50,000 images, {outfmt}", f"every count right; at most {MOST} times the memory of 5,000")
def test_growth(seen, small, outfmt):
    few, many = run(small, 5000, outfmt), run(small, 50000, outfmt)
    told = [f"{name} {few[name][0]} to {many[name][0]} MB (×{many[name][0] / few[name][0]:.2f}), "
            f"{many[name][1] / few[name][1]:.1f} times as long" for name in many]
    seen("; ".join(told))
    print("\n".join(told))
    assert not [t for t, name in zip(told, many, strict=True) if many[name][0] > MOST * few[name][0]]
