"""The five networks against records made from the authors' code.

The records were made on 2026-11-20 (torch 2.15, timm 1.0.31) from microsoft/SPACH f69157d,
locuslab/convmixer d5fb538 and Meituan-AutoML/Twins 4700293, each with this repository's patch, and
for spnasnet from timm's own class: number of parameters, SHA-256 of check_net.layout(), and the
first three logits of image 0 and the last three of image 1 with check_net.seeded() weights and
check_net.images(). `make check-net` compares whole outputs where the clone is at hand.
"""
import hashlib
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT, load

from common import cli
from tools.inspect import check_net

RECORDS = {
    "ShiftViT": (19608328, "5ae141b466fd6018ee7de27e4ba12ec60be8d7edb4de8406461539eeb9e928bf",
                 [-0.68995, -0.4316, 0.61499, 0.19429, -0.10227, -0.67113]),
    "SPACH": (43576168, "6e3b552eb408b14151354bd335d9138e9046c843d56e4f70d6407131ec4bdc3c",
              [0.18596, 0.40248, 0.33944, -0.65123, 0.049, 0.34622]),
    "Convmixer": (51625960, "b99a84e79ed483fdfd288301d04cac0d730c7008e28c61569ee66fb1a07758ba",
                  [4.49641, 1.57696, -8.9972, -2.80251, -5.32249, 0.11955]),
    "Twins-SVT-L": (99271400, "9121798623f5db5a82c1c441cd1f0f4d405e96fed624e5069af3ac2c41236eb2",
                    [0.11766, 1.85853, -0.77728, -1.13982, 0.83447, 0.44531]),
    "spnasnet": (4421616, "9df747f0d05eca86d9c44241318f79ad282e01275f96a6982bf35674872b3cc5",
                 [0.79413, -0.97055, 0.07292, -0.37892, -0.95252, -1.1098]),
}
CLONES = ("SPACH", "Convmixer", "Twins-SVT-L", "ShiftViT")


def network(folder):
    return load(ROOT / folder / "model.py", f"model_of_{folder}")


HEAVY = ("SPACH", "Convmixer", "Twins-SVT-L")
FOLDERS = [pytest.param(f, marks=[pytest.mark.slow] * (f in HEAVY)) for f in RECORDS]


@pytest.mark.parametrize("folder", FOLDERS)
def test_as_recorded(folder):
    parameters, names, golden = RECORDS[folder]
    module = network(folder).build()
    assert not module.training
    assert sum(p.numel() for p in module.parameters()) == parameters
    assert hashlib.sha256("\n".join(sorted(check_net.layout(module))).encode()).hexdigest() == names
    module.load_state_dict(check_net.seeded(module), strict=True)
    with torch.inference_mode():
        logits = module(check_net.images())
    assert logits.shape == (2, 1000) and logits.dtype == torch.float32
    ends = torch.cat((logits[0, :3], logits[1, -3:]))
    np.testing.assert_allclose(ends, golden, rtol=2e-5, atol=3e-5)


@pytest.mark.filterwarnings("ignore")  # the exporter announces its successor
@pytest.mark.parametrize("opset", [pytest.param(11, marks=pytest.mark.slow), 12])
def test_shiftvit_exports_with_a_free_batch(opset, tmp_path):
    import onnx
    import onnxruntime

    module = network("ShiftViT").build()
    module.load_state_dict(check_net.seeded(module))
    path = str(tmp_path / "x.onnx")
    torch.onnx.export(module, (torch.zeros(2, 3, 224, 224),), path, dynamo=False,
                      opset_version=opset, input_names=["input"], output_names=["output"],
                      dynamic_axes={"input": {0: "batch"}, "output": {0: "batch"}})
    kinds = [node.op_type for node in onnx.load(path).graph.node]
    assert "ScatterND" not in kinds
    assert kinds[-5:] == ["Mul", "Add", "GlobalAveragePool", "Flatten", "Gemm"]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for batch in (1, 3):
        images = check_net.images(batch)
        with torch.inference_mode():
            expected = torch.cat([module(i[None]) for i in images])
        got = session.run(None, {"input": images.numpy()})[0]
        np.testing.assert_allclose(got, expected, atol=2e-5)


def test_the_shift_moves_by_one_pixel_and_lets_zeros_in():
    block = network("ShiftViT").Block(96)
    x = torch.randn(2, 96, 5, 7)
    moved = block.shift(x)
    for group, (axis, step) in enumerate([(3, -1), (3, 1), (2, -1), (2, 1)]):
        part = slice(8 * group, 8 * group + 8)
        expected = x[:, part].roll(step, axis)
        expected.select(axis, 0 if step > 0 else -1).zero_()
        assert torch.equal(moved[:, part], expected)
    assert torch.equal(moved[:, 32:], x[:, 32:])


def test_convmixer_keys_go_both_ways():
    model = network("Convmixer")
    ours = {line.split(" ")[0]: i for i, line in enumerate(check_net.layout(model.build()))}
    theirs = model.official(ours)["state_dict"]
    some = {"0.weight", "2.running_mean", "3.0.fn.0.weight", "22.3.bias", "25.weight"}
    assert some <= theirs.keys()
    places = [str(i) for i in (0, 2, *range(3, 23), 25)]
    assert all(key.split(".")[0] in places for key in theirs)
    assert model.convert(theirs) == ours == model.convert(ours)
    other = {"24.weight": 0, "250.bias": 1}  # named as unexpected later
    assert model.convert(other) == other


@pytest.mark.parametrize("folder", CLONES)
def test_upstream_without_a_clone_says_what_to_do(folder, tmp_path):
    for name in ("model.py", "published.json"):
        (tmp_path / name).write_bytes((ROOT / folder / name).read_bytes())
    with pytest.raises(cli.Failure, match="make source"):
        load(tmp_path / "model.py", "lonely").build("upstream")


def test_upstream_that_does_not_import_says_why(tmp_path):
    (tmp_path / "SPACH/models").mkdir(parents=True)
    (tmp_path / "SPACH/models/shiftvit.py").write_text("import a_module_that_is_not_there\n")
    for name in ("model.py", "published.json"):
        (tmp_path / name).write_bytes((ROOT / "ShiftViT" / name).read_bytes())
    with pytest.raises(cli.Failure, match="a_module_that_is_not_there"):
        load(tmp_path / "model.py", "lonely").build("upstream")


@pytest.mark.parametrize("bad", ["", "x + 1e-3"])
def test_check_net_tells_equal_from_different(tmp_path, bad):
    (tmp_path / "model.py").write_text(
        "import torch\nNAME = 'Tiny'\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self, net):\n"
        "        super().__init__()\n        self.net, self.head = net, torch.nn.Linear(3, 1000)\n"
        "    def forward(self, x):\n"
        "        x = x.mean((2, 3))\n"
        f"        return self.head({bad or 'x'} if self.net == 'upstream' else x)\n"
        "def build(net='bundled'):\n    return Net(net).eval()\n")
    done = subprocess.run([sys.executable, "-m", "tools.inspect.check_net"], cwd=tmp_path,
                          env={"PYTHONPATH": f"{tmp_path}:{ROOT}", "PATH": ""},
                          capture_output=True, text=True)
    assert done.returncode == bool(bad), done.stderr
    if bad:
        assert "differ by" in done.stderr
    else:
        assert "2 tensors alike, max abs difference 0.0" in done.stdout
