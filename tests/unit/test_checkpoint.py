"""A checkpoint is data: the usual wrappings load strictly, and what is a demo's is known.

What is refused is in tests/faults/test_weights.py.
"""
import argparse
import collections
import gzip
import pathlib

import numpy as np
import pytest
import safetensors.torch
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


def other(tensors):
    return {
        key: value + 1 if value.is_floating_point() else value for key, value in tensors.items()}


def prefixed(tensors, *prefixes):
    return {"".join(prefixes) + key: value for key, value in tensors.items()}


HARMLESS = {"acc": np.float64(79.4), "epoch": np.int64(3), "dir": pathlib.Path("/x"),
            "log": collections.defaultdict(list, loss=[1.5]), "args": argparse.Namespace(lr=0.1)}


@pytest.mark.parametrize("wrap", [
    lambda s: s,
    lambda s: {"model": s, "epoch": 300},
    lambda s: {"state_dict": s, "arch": "x", "best_acc1": torch.tensor(79.4)},
    lambda s: {"state_dict": prefixed(s, "module."), "optimizer": {}},
    lambda s: {"model": s, **HARMLESS},
    lambda s: {k: v.half() if v.is_floating_point() else v for k, v in s.items()},
    lambda s: prefixed(s, "_orig_mod."),
    lambda s: prefixed(s, "module._orig_mod."),
    lambda s: prefixed(s, "model."),
    lambda s: {f"{k[0]}._orig_mod.{k[2:]}": v for k, v in s.items()},
    lambda s: {"n_averaged": torch.tensor(5), **prefixed(s, "module.")},
    lambda s: {k: v for k, v in s.items() if "num_batches" not in k},
    lambda s: {"model": other(s), "model_ema": s},
    lambda s: {"state_dict": other(s), "state_dict_ema": prefixed(s, "module.")}],
    ids=["plain", "model", "state_dict", "DataParallel", "harmless extras", "half", "compiled",
         "compiled in DataParallel", "Lightning", "a part compiled", "SWA", "no counters",
         "EMA of DeiT", "EMA of timm"])
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "old format"])
def test_usual_wrappings(tmp_path, tensors, wrap, legacy):
    path = tmp_path / "x.pth.tar"
    torch.save(wrap(tensors), path, _use_new_zipfile_serialization=not legacy)
    state_dict, facts = checkpoint.load(path)
    loaded = checkpoint.load_into(network(), state_dict, path).state_dict()
    assert facts["demo"] is False and loaded.keys() == tensors.keys()
    for name, tensor in loaded.items():
        torch.testing.assert_close(tensor, tensors[name], atol=1e-3, rtol=0)
        assert tensor.dtype == tensors[name].dtype


@pytest.mark.parametrize("ema, key", [(True, "ema_state_dict"), (False, "model")])
def test_ema_or_raw_is_chosen_and_said(tmp_path, tensors, capsys, ema, key):
    torch.save({"model": tensors, "ema_state_dict": other(tensors)}, tmp_path / "x.pth")
    state_dict, facts = checkpoint.load(tmp_path / "x.pth", ema)
    assert facts["weights_key"] == key and f"{key} is taken" in capsys.readouterr().out
    wanted = other(tensors) if ema else tensors
    assert torch.equal(state_dict["0.weight"], wanted["0.weight"])


@pytest.mark.parametrize("name", ["x.safetensors", "x.pth"])
def test_safetensors_whatever_its_name(tmp_path, tensors, name):
    safetensors.torch.save_file(tensors, tmp_path / name)
    state_dict, facts = checkpoint.load(tmp_path / name)
    assert facts == {"demo": False, "weights_key": ""} and state_dict.keys() == tensors.keys()


def test_names_that_begin_with_a_prefix_themselves(tensors):
    net = nn.ModuleDict({"model": network()})
    checkpoint.load_into(net, tensors, "x.pth")
    assert torch.equal(net.state_dict()["model.0.weight"], tensors["0.weight"])


@pytest.mark.parametrize("wrap, said", [
    (lambda s: {"net": s, "epoch": 3}, "holds net, epoch; net could be the weights"),
    (lambda s: {"ckpt": {"params": s}}, "holds ckpt; ckpt.params could be the weights"),
    (lambda s: {"model": {"state_dict": s}}, "model.state_dict could be the weights"),
    (lambda s: [s], "holds a list"), (lambda s: {}, "holds nothing")])
def test_what_it_holds_instead(tmp_path, tensors, wrap, said):
    torch.save(wrap(tensors), tmp_path / "x.pth")
    with pytest.raises(cli.Failure, match=said):
        checkpoint.load(tmp_path / "x.pth")


def test_what_a_file_is_that_is_no_checkpoint(tmp_path):
    torch.jit.script(network()).save(tmp_path / "x.pth")
    with pytest.raises(cli.Failure, match="is a TorchScript archive"):
        checkpoint.load(tmp_path / "x.pth")
    (tmp_path / "y.pth").write_bytes(gzip.compress(b"weights"))
    with pytest.raises(cli.Failure, match="packed by gzip"):
        checkpoint.load(tmp_path / "y.pth")
    (tmp_path / "z.safetensors").write_bytes(b"\x10" + bytes(7) + b'{"w": {"dtype"')
    with pytest.raises(cli.Failure, match="is damaged"):
        checkpoint.load(tmp_path / "z.safetensors")


def test_demo_is_known(tmp_path, tensors):
    torch.save({"model": tensors, "demo": True}, tmp_path / "x.pth")
    assert checkpoint.load(tmp_path / "x.pth")[1]["demo"] is True
