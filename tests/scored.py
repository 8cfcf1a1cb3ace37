"""A chain from weights to results, small enough to be made in a moment and harmed in a test.

The network is one layer; its ONNX, offline model, bins and results have the records that the real
steps write, and the results are ONNX Runtime's. The scoring scripts are the real ones.
"""
import json
import os

import graphs
import numpy as np
import pytest

from common import cli, provenance
from common.data.manifest import Manifest, Row
from common.score import against_onnx

SHAPE = (3, 8, 8)
CLASSES = 1000
RECIPE = {"resize": 8, "crop": 8, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
NAMES = [f"ILSVRC2012_val_{i:08d}" for i in range(1, 13)]


class Chain:
    """What lies in the current folder: w.pth → m.onnx → m.blob, prep/, result/run."""

    def __init__(self, precision="f32", model="m.blob", run="result/run"):
        self.model, self.run, self.precision = model, run, precision

    def network(self, seed=0):
        """Weights, the ONNX of them and the offline model, each with its record."""
        with open("w.pth", "w") as f:
            f.write(f"weights {seed}")
        self.weights = graphs.make_onnx("m.onnx", CLASSES, shape=SHAPE, seed=seed)
        provenance.record("m.onnx", ["w.pth"], ["-c", "w.pth"], preprocessing=RECIPE, demo=False)
        self.compile()

    def compile(self, demo=False):
        with open(self.model, "w") as f:
            f.write(f"{self.precision} of {cli.sha256('m.onnx')}")
        onnx = {"file": "m.onnx", "sha256": cli.sha256("m.onnx"), "preprocessing": RECIPE}
        engine = "ascend" if self.model.endswith(".om") else "openvino"
        provenance.record(self.model, ["m.onnx"], ["--model=m.onnx"], engine=engine,
                          precision=self.precision, batch=4, demo=demo, onnx=onnx)

    def prep(self, seed=1, raw=False):
        """Bins of 12 images; the label of most is what the network answers."""
        rng = np.random.default_rng(seed)
        self.bytes = rng.integers(0, 256, (len(NAMES), 8, 8, 3), np.uint8)
        mean, std = (np.array(RECIPE[key], np.float32) for key in ("mean", "std"))
        self.images = ((self.bytes / np.float32(255) - mean) / std).transpose(0, 3, 1, 2)
        self.logits = graphs.logits(self.images, self.weights).astype(np.float32)
        labels = self.logits.argmax(1)
        labels[:3] = (labels[:3] + 1) % CLASSES
        rows = [Row(f"{n}.JPEG", n, 0, int(label)) for n, label in zip(NAMES, labels)]
        info = {"recipe": RECIPE, "shape": [8, 8, 3] if raw else list(SHAPE), "demo": False,
                "dtype": "uint8" if raw else "float32", "dataset": "/gone/imagenet", "bad": {}}
        os.makedirs("prep", exist_ok=True)
        for name, image in zip(NAMES, self.bytes if raw else self.images):
            np.ascontiguousarray(image).tofile(f"prep/{name}.bin")
        Manifest(rows, dict.fromkeys(NAMES, 1), info).save("prep")
        with open("val_label.txt", "w") as f:
            f.writelines(f"{row.image} {row.label}\n" for row in rows)

    def infer(self, logits=None):
        """Results of this model over the bins, without a record."""
        os.makedirs(self.run, exist_ok=True)
        for name, row in zip(NAMES, self.logits if logits is None else logits):
            row.astype(np.float32).tofile(f"{self.run}/{name}_0.bin")

    def check(self, monkeypatch, *words):
        """The check that ends the inference step; it writes the record."""
        words = ("--result", self.run, "--model", self.model, "--bins", "prep", *words)
        monkeypatch.setattr("sys.argv", ["against_onnx", *words])
        against_onnx.main()
        return json.loads(provenance.record_path(self.run).read_text())


@pytest.fixture
def chain(tmp_path, monkeypatch):
    """A whole, sound Chain in the current folder, its check done."""
    monkeypatch.chdir(tmp_path)
    made = Chain()
    made.network()
    made.prep()
    made.infer()
    made.check(monkeypatch)
    return made


@pytest.fixture
def score(script):
    """score(*more words) scores the chain with spnasnet's script, as make does; what it printed."""
    run = script("spnasnet", "vision_metric_ImageNet.py")

    def call(*words, run_folder="result/run", labels="val_label.txt"):
        return run(run_folder, labels, ".", "table.json", "--manifest", "prep", "--json", "r.json",
                   *words)
    return call
