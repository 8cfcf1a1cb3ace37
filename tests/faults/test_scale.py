"""Many images: every count is right, a second call is quick work, and no step keeps more than some
KB for each image. Few contents under many names, and a crop of 32, so that bins stay small."""
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import tiny

pytestmark = pytest.mark.slow
MOST = 2  # KB of memory for each image
MODEL = tiny.MODEL.replace("torch.nn.Flatten(), torch.nn.Linear(196, 1000)",
                           "torch.nn.Flatten(), torch.nn.Linear(4, 1000)")
# Prints the largest resident size of its child; getrusage counts in KB on Linux.
MEASURE = """
import resource, subprocess, sys
status = subprocess.call(sys.argv[1:])
print("peak", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The stand-in with a crop of 32, its offline model built."""
    import torch

    folder = tiny.make_folder(tmp_path_factory.mktemp("scale"))
    (folder / "model.py").write_text(MODEL)
    makefile = (folder / "Makefile").read_text()
    (folder / "Makefile").write_text(makefile.replace("OUTFMT := TXT", "OUTFMT := BIN\nSIZE := 32"))
    published = json.loads((folder / "published.json").read_text())
    published["preprocessing"].update(resize=36, crop=32)
    (folder / "published.json").write_text(json.dumps(published))
    torch.save(tiny.state_dict(**{"4_weight": torch.randn(1000, 4)}), folder / "tiny.pth")
    return folder


def many_images(folder, count):
    """`count` images of eight contents, each with a label; {name: content}."""
    for path in (folder / "data/val").iterdir():
        if path.name not in tiny.NAMES:
            path.unlink()
    first = [folder / "data/val" / name for name in tiny.NAMES]
    lines = [f"{name} {i % 1000}" for i, name in enumerate(tiny.NAMES)]
    for i in range(8, count):
        name = f"many_{i:08d}.JPEG"
        os.link(first[i % 8], folder / "data/val" / name)
        lines.append(f"{name} {i % 1000}")
    tiny.write_labels(folder / "data", lines)


def peak(folder, *words):
    """(what a command printed, KB of its largest process)."""
    done = subprocess.run([sys.executable, "-c", MEASURE, *words], cwd=folder, text=True,
                          env=tiny.environment(), capture_output=True)
    said = tiny.worked(done)
    return said, int(re.findall(r"^peak (\d+)", said, re.M)[-1])


@pytest.mark.fault("20,000 images", "every count right; at most 2 KB of memory for each")
def test_many_images(seen, folder):
    used = {}
    for count in (2000, 20000):
        many_images(folder, count)
        for step in ("prep", "infer", "eval"):
            said, used[step, count] = peak(folder, *tiny.command(step))
        score = json.loads((folder / tiny.EVAL).read_text())
        assert score["total"] == count and not score["missing"]
        answers = [
            int(np.fromfile(folder / tiny.RESULT / f"{name[:-5]}_0.bin", np.float32).argmax())
            for name in tiny.NAMES
        ]
        assert score["good"] == sum(answers[i % 8] == i % 1000 for i in range(count))
    grown = {step: (used[step, 20000] - used[step, 2000]) / 18000
             for step in ("prep", "infer", "eval")}
    seen(", ".join(f"{step}: {kb:.2f} KB for each image" for step, kb in grown.items()))
    assert max(grown.values()) <= MOST, grown
