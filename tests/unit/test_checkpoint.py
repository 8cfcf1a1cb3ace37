"""A checkpoint is data: official wrappings load strictly, whatever else is refused by name, and nothing in it is run."""
import argparse
import os
import pickle

import pytest
import torch
from torch import nn

from common import cli
from common.model import checkpoint


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))


def loaded(path, net):
    state_dict, _ = checkpoint.load(path)
    fresh = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    return checkpoint.load_into(fresh, state_dict, path).state_dict()


@pytest.mark.parametrize("wrap", [
    lambda s: s, lambda s: {"model": s, "epoch": 300},
    lambda s: {"state_dict": s, "arch": "x", "best_acc1": torch.tensor(79.4)},
    lambda s: {f"module.{k}": v for k, v in s.items()},
    lambda s: {"state_dict": {f"module.{k}": v for k, v in s.items()}, "optimizer": {"state": {}}},
    lambda s: {"model": s, "args": argparse.Namespace(lr=0.1, output_dir="x")},
    lambda s: {k: v.half() if v.is_floating_point() else v for k, v in s.items()}],
    ids=["plain", "model", "state_dict", "module.", "state_dict of module.", "Namespace", "half"])
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "old format"])
def test_official_wrappings(tmp_path, net, wrap, legacy):
    path = tmp_path / "x.pth.tar"
    torch.save(wrap(net.state_dict()), path, _use_new_zipfile_serialization=not legacy)
    for name, tensor in loaded(path, net).items():
        torch.testing.assert_close(tensor, net.state_dict()[name], atol=1e-3, rtol=0)
        assert tensor.dtype == net.state_dict()[name].dtype


class Evil:
    def __reduce__(self):
        return os.system, ("touch evil",)


@pytest.mark.parametrize("save", [torch.save, lambda o, p: pickle.dump(o, open(p, "wb"))], ids=["torch", "plain pickle"])
def test_code_is_not_run(tmp_path, net, save, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save({"model": net.state_dict(), "x": Evil()}, tmp_path / "x.pth")
    with pytest.raises(cli.Failure, match="x.pth was not loaded: a checkpoint is read as data only"):
        checkpoint.load(tmp_path / "x.pth")
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("content, message", [
    (b"", "damaged or no checkpoint|as data only"), (b"\n<!DOCTYPE html><html>", "is a web page"),
    (b"garbage" * 100, "damaged|data only")])
def test_no_checkpoint(tmp_path, content, message):
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(cli.Failure, match=message):
        checkpoint.load(tmp_path / "x.pth")


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.99])
def test_truncated(tmp_path, net, keep):
    torch.save(net.state_dict(), tmp_path / "x.pth")
    whole = (tmp_path / "x.pth").read_bytes()
    (tmp_path / "x.pth").write_bytes(whole[:int(len(whole) * keep)])
    with pytest.raises(cli.Failure, match="damaged or no checkpoint"):
        checkpoint.load(tmp_path / "x.pth")


def test_absent_or_without_tensors(tmp_path):
    with pytest.raises(cli.Failure, match="does not exist — fetch it with `make weights`"):
        checkpoint.load(tmp_path / "x.pth")
    torch.save({"epoch": 3}, tmp_path / "x.pth")
    with pytest.raises(cli.Failure, match="holds no state_dict"):
        checkpoint.load(tmp_path / "x.pth")


@pytest.mark.parametrize("change, message", [
    (lambda s: s.pop("0.bias"), "1 missing: 0.bias"),
    (lambda s: s.update({"2.weight": torch.ones(1)}), "1 unexpected: 2.weight"),
    (lambda s: s.update({"0.bias": torch.ones(5)}), r"1 of another shape: 0.bias \(5,\) instead of \(4,\)"),
    (lambda s: s["0.bias"].fill_(float("nan")), "NaN or infinite values in 0.bias")])
def test_strict(tmp_path, net, change, message):
    state_dict = {k: v.clone() for k, v in net.state_dict().items()}
    change(state_dict)
    torch.save(state_dict, tmp_path / "x.pth")
    with pytest.raises(cli.Failure, match=message):
        loaded(tmp_path / "x.pth", net)


def test_demo_is_known(tmp_path, net):
    torch.save({"model": net.state_dict(), "demo": True}, tmp_path / "x.pth")
    assert checkpoint.load(tmp_path / "x.pth")[1] is True
    torch.save({"model": net.state_dict()}, tmp_path / "x.pth")
    assert checkpoint.load(tmp_path / "x.pth")[1] is False
