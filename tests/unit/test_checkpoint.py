"""A checkpoint is data: official wrappings load strictly, and what is a demo's is known.

What is refused is in tests/faults/test_weights.py.
"""
import argparse

import pytest
import torch
from torch import nn

from common import cli
from common.model import checkpoint


def network():
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))


@pytest.fixture
def tensors():
    torch.manual_seed(0)
    return network().state_dict()


@pytest.mark.parametrize("wrap", [
    lambda s: s,
    lambda s: {"model": s, "epoch": 300},
    lambda s: {"state_dict": s, "arch": "x", "best_acc1": torch.tensor(79.4)},
    lambda s: {f"module.{k}": v for k, v in s.items()},
    lambda s: {"state_dict": {f"module.{k}": v for k, v in s.items()}, "optimizer": {}},
    lambda s: {"model": s, "args": argparse.Namespace(lr=0.1, output_dir="x")},
    lambda s: {k: v.half() if v.is_floating_point() else v for k, v in s.items()}],
    ids=["plain", "model", "state_dict", "module.", "state_dict of module.", "Namespace", "half"])
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "old format"])
def test_official_wrappings(tmp_path, tensors, wrap, legacy):
    path = tmp_path / "x.pth.tar"
    torch.save(wrap(tensors), path, _use_new_zipfile_serialization=not legacy)
    state_dict, demo = checkpoint.load(path)
    loaded = checkpoint.load_into(network(), state_dict, path).state_dict()
    assert demo is False and loaded.keys() == tensors.keys()
    for name, tensor in loaded.items():
        torch.testing.assert_close(tensor, tensors[name], atol=1e-3, rtol=0)
        assert tensor.dtype == tensors[name].dtype


@pytest.mark.parametrize("change, message", [
    (lambda s: s.pop("0.bias"), "1 missing: 0.bias"),
    (lambda s: s.update({"2.weight": torch.ones(1)}), "1 unexpected: 2.weight"),
    (lambda s: s.update({"0.bias": torch.ones(5)}),
     r"1 of another shape: 0.bias \(5,\) instead of \(4,\)"),
    (lambda s: s.update({"0.bias": torch.ones(4, dtype=torch.int8)}),
     "1 of another type: 0.bias torch.int8"),
    (lambda s: s["0.bias"].fill_(float("nan")), "NaN or infinite values in 0.bias")])
def test_strict(tensors, change, message):
    change(tensors)
    with pytest.raises(cli.Failure, match=message):
        checkpoint.load_into(network(), tensors, "x.pth")


def test_demo_is_known(tmp_path, tensors):
    torch.save({"model": tensors, "demo": True}, tmp_path / "x.pth")
    assert checkpoint.load(tmp_path / "x.pth")[1] is True
