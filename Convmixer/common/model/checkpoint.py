"""Checkpoint (.pth, .pth.tar) → network, as data and strictly: no code is run, no key skipped."""
import argparse
import pickle
import zipfile
from pathlib import Path

import torch

from common import cli

# Harmless classes beside the weights of official checkpoints: training arguments.
SAFE = [argparse.Namespace]
WRAPPERS = ("state_dict", "model", "model_state_dict")


def load(path):
    """Read a checkpoint → (state_dict, demo).

    Tensors by name, float32 where floating, wrappers and a `module.` prefix taken off; `demo` says
    that it is one of common/data/demo.py. Failure when the file is absent, damaged, no checkpoint,
    or more than data.
    """
    path = Path(path)
    _refuse_what_is_no_file(path)
    content = _unpickled(path)
    demo = isinstance(content, dict) and content.get("demo") is True
    for key in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not is_state_dict(content):
        raise cli.Failure(f"{path} holds no state_dict of plain tensors",
                          f"expected them by name, or under one of {', '.join(WRAPPERS)}")
    if all(key.startswith("module.") for key in content):
        content = {key[len("module."):]: value for key, value in content.items()}
    float32 = {key: v.float() if v.is_floating_point() else v for key, v in content.items()}
    return float32, demo


def _refuse_what_is_no_file(path):
    if path.is_dir():
        raise cli.Failure(f"{path} is a folder, not a checkpoint", "give the file: WEIGHTS=/path")
    if not path.is_file():
        raise cli.Failure(f"checkpoint {path} does not exist",
                          "fetch it with `make weights`, or give WEIGHTS=/path/to/it")
    with open(path, "rb") as f:
        if f.read(512).lstrip()[:1] == b"<":
            raise cli.Failure(f"{path} is a web page, not a checkpoint",
                              "delete it and download the file itself")


def _unpickled(path):
    """What torch.load() gives, as data only."""
    try:
        if zipfile.is_zipfile(path):
            _check_zip(path)
        with torch.serialization.safe_globals(SAFE):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as e:
        # torch's message names what it will not load: "… Unsupported global: GLOBAL os.system …"
        _, found, after = str(e).partition("GLOBAL ")
        why = after.split()[0] if found else "its pickle is damaged"
        raise cli.Failure(f"{path} was not loaded: a checkpoint is read as data only, and this one "
                          f"holds more ({why})", "get the official file; if its source is trusted, "
                          "save its state_dict alone") from None
    except Exception as e:  # whatever the loader trips over in a file of another program
        why = cli.short(" ".join(str(e).split()), 120) or "it ends too early"
        raise cli.Failure(f"{path} is damaged or no checkpoint ({why})",
                          "delete it and fetch it again") from None


def _check_zip(path):
    with zipfile.ZipFile(path) as archive:
        # torch stores its records as they are; packed ones may unpack to more than memory holds.
        if sum(record.file_size for record in archive.infolist()) > path.stat().st_size:
            raise ValueError("its records are packed, those of torch.save are not")
        # torch does not compare the checksums: a weight with a flipped bit would be loaded.
        wrong = archive.testzip()
        if wrong:
            raise ValueError(f"the checksum of {wrong} is wrong")


def is_state_dict(content):
    """Whether `content` is a dict of plain tensors by name."""
    return (isinstance(content, dict) and bool(content)
            and all(isinstance(key, str) and is_plain(v) for key, v in content.items()))


def is_plain(value):
    """Whether `value` is a tensor that holds all its numbers: not sparse, not quantized, and not a
    few numbers that are repeated up to any size."""
    return (isinstance(value, torch.Tensor) and value.layout == torch.strided
            and value.device.type == "cpu" and not value.is_quantized
            and value.numel() * value.element_size() <= value.untyped_storage().nbytes())


def network(model, weights, net="bundled"):
    """The network of a model folder's `model.py` with the checkpoint `weights`.

    Returns (torch.nn.Module in eval mode, whether the weights are the demo's).
    """
    state_dict, demo = load(weights)
    if hasattr(model, "convert"):
        state_dict = model.convert(state_dict)
    return load_into(model.build(net), state_dict, weights), demo


def load_into(net, state_dict, path):
    """Load strictly; Failure that lists missing, unexpected and mis-shaped tensors by name."""
    wanted = net.state_dict()
    common = [key for key in wanted if key in state_dict]
    shapes = [f"{key} {tuple(state_dict[key].shape)} instead of {tuple(wanted[key].shape)}"
              for key in common if state_dict[key].shape != wanted[key].shape]
    types = [f"{key} {state_dict[key].dtype}" for key in common
             if wanted[key].is_floating_point() and not state_dict[key].is_floating_point()]
    problems = {"missing": [key for key in wanted if key not in state_dict],
                "unexpected": [key for key in state_dict if key not in wanted],
                "of another shape": shapes, "of another type": types}
    said = [f"{len(names)} {what}: {cli.some(names)}" for what, names in problems.items() if names]
    if said:
        raise cli.Failure(f"{path} does not fit this network: {'; '.join(said)}",
                          "is it the checkpoint of another model?")
    not_finite = [key for key, value in state_dict.items() if not torch.isfinite(value).all()]
    if not_finite:
        raise cli.Failure(f"{path} holds NaN or infinite values in {cli.some(not_finite)}",
                          "fetch the file again")
    net.load_state_dict(state_dict, strict=True)
    return net
