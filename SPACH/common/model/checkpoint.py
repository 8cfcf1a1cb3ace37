"""Checkpoint (.pth, .pth.tar) → network, as data and strictly: no code is run from it, no key is skipped."""
import argparse
import pickle
import zipfile
from pathlib import Path

import torch

from common import cli

# Harmless classes that official checkpoints carry beside the weights (training arguments). Nothing else is unpickled.
SAFE = [argparse.Namespace]
WRAPPERS = ("state_dict", "model", "model_state_dict")


def load(path):
    """Return (state_dict, demo): tensors by name, float32 where floating, wrappers and a `module.` prefix taken off;
    demo is True for a checkpoint of common/data/demo.py. Failure when the file is absent, damaged or no checkpoint.

    Half precision becomes float32 here; what is no float where the network has one is refused by load_into()."""
    path = Path(path)
    if path.is_dir():
        raise cli.Failure(f"{path} is a folder, not a checkpoint", "give the file: WEIGHTS=/path/to/it")
    if not path.is_file():
        raise cli.Failure(f"checkpoint {path} does not exist", "fetch it with `make weights`, or give WEIGHTS=/path/to/it")
    with open(path, "rb") as f:
        head = f.read(512).lstrip()
    if head[:1] == b"<":
        raise cli.Failure(f"{path} is a web page, not a checkpoint", "delete it and download the file itself")
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                # torch stores its records as they are; packed ones may unpack to more than any memory holds.
                if sum(record.file_size for record in archive.infolist()) > path.stat().st_size:
                    raise ValueError("its records are packed, those of torch.save are not")
                # torch itself does not compare the checksums: a weight with a flipped bit would be loaded.
                if wrong := archive.testzip():
                    raise ValueError(f"the checksum of {wrong} is wrong")
        with torch.serialization.safe_globals(SAFE):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as e:
        why = str(e).split("GLOBAL ")[-1].split(" ")[0] if "GLOBAL" in str(e) else "its pickle is damaged"
        raise cli.Failure(f"{path} was not loaded: a checkpoint is read as data only, and this one holds more ({why})",
                          "get the official file; if its source is trusted, save its state_dict alone") from None
    except Exception as e:  # a file of another program: what the loader trips over, OSError too, makes it none of ours
        raise cli.Failure(f"{path} is damaged or no checkpoint ({' '.join(str(e).split())[:120] or 'it ends too early'})",
                          "delete it and fetch it again") from None
    demo = isinstance(content, dict) and content.get("demo") is True
    for key in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not content or not all(isinstance(k, str) and plain(v) for k, v in content.items()):
        raise cli.Failure(f"{path} holds no state_dict of plain tensors",
                          f"expected them by name, or under one of {', '.join(WRAPPERS)}")
    if all(k.startswith("module.") for k in content):
        content = {k.removeprefix("module."): v for k, v in content.items()}
    return {k: v.float() if v.is_floating_point() else v for k, v in content.items()}, demo


def plain(value):
    """Whether `value` is a tensor that holds all its numbers: none that is sparse or quantized, has a shape alone, or
    repeats a few numbers up to any size."""
    return (isinstance(value, torch.Tensor) and value.layout == torch.strided and value.device.type == "cpu"
            and not value.is_quantized and value.numel() * value.element_size() <= value.untyped_storage().nbytes())


def network(model, weights, net="bundled"):
    """The network of a model folder's `model.py` with the checkpoint `weights` → (torch.nn.Module, whether it is a demo's)."""
    state_dict, demo = load(weights)
    if hasattr(model, "convert"):
        state_dict = model.convert(state_dict)
    return load_into(model.build(net), state_dict, weights), demo


def load_into(net, state_dict, path):
    """Load strictly; Failure that lists missing, unexpected and mis-shaped tensors by name."""
    wanted = net.state_dict()
    problems = {
        "missing": [k for k in wanted if k not in state_dict],
        "unexpected": [k for k in state_dict if k not in wanted],
        "of another shape": [f"{k} {tuple(state_dict[k].shape)} instead of {tuple(v.shape)}" for k, v in wanted.items()
                             if k in state_dict and state_dict[k].shape != v.shape],
        "of another type": [f"{k} {state_dict[k].dtype}" for k, v in wanted.items() if k in state_dict
                            and v.is_floating_point() and not state_dict[k].is_floating_point()]}
    said = [f"{len(names)} {what}: {', '.join(names[:5])}{' …' if len(names) > 5 else ''}"
            for what, names in problems.items() if names]
    if said:
        raise cli.Failure(f"{path} does not fit this network: {'; '.join(said)}", "is it the checkpoint of another model?")
    not_finite = [k for k, v in state_dict.items() if not torch.isfinite(v).all()]
    if not_finite:
        raise cli.Failure(f"{path} holds NaN or infinite values in {', '.join(not_finite[:5])}", "fetch the file again")
    net.load_state_dict(state_dict, strict=True)
    return net
