"""Checkpoint (.pth, .pth.tar, .safetensors) → network, as data and strictly: no code is run, no key
skipped."""
import argparse
import collections
import pathlib
import pickle
import re
import zipfile
from pathlib import Path

import numpy as np
import torch

from common import cli

RAW = ("state_dict", "model", "model_state_dict")  # where training scripts put the weights,
EMA = ("state_dict_ema", "model_ema", "ema_state_dict")  # and where their running average
# What wraps the names of a whole network: DataParallel, torch.compile, Lightning.
PREFIXES = ("module.", "model.")
COUNTER = "num_batches_tracked"  # of a BatchNorm; torch's own strict load does without it
BY_HAND = "python3: torch.save(torch.load(file)[key], 'weights.pth')"


def plain_dict(*_):
    """In place of collections.defaultdict, which torch does not fill when it reads data only."""
    return {}


# Harmless classes that training scripts leave beside the weights.
SAFE = [argparse.Namespace, pathlib.PosixPath, pathlib.PurePosixPath, list, dict, set, int, float,
        (plain_dict, "collections.defaultdict"), collections.OrderedDict, np.dtype,
        (pathlib.PosixPath, "pathlib._local.PosixPath"),
        np._core.multiarray.scalar, (np._core.multiarray.scalar, "numpy.core.multiarray.scalar"),
        *[getattr(np.dtypes, name) for name in np.dtypes.__all__]]


def load(path, ema=True):
    """Read a checkpoint → (state_dict, facts).

    Tensors by name, float32 where floating, wrappers and prefixes taken off. Of a checkpoint that
    holds both, the running average (EMA) is taken, as timm's own loader does, or with ema=False the
    raw weights. facts: "demo" (it is one of common/data/demo.py) and "weights_key" (the key of the
    file that holds the tensors, "" for the file itself). Failure when the file is absent, damaged,
    no checkpoint, or more than data.
    """
    path = Path(path)
    content = _content(path)
    demo = isinstance(content, dict) and content.get("demo") is True
    tensors, key = _choose(content, path, ema)
    tensors = _without_prefixes(tensors)
    float32 = {name: v.float() if v.is_floating_point() else v for name, v in tensors.items()}
    return float32, {"demo": demo, "weights_key": key}


def _choose(content, path, ema):
    """(the state_dict in `content`, its key); Failure that names the keys when there is none."""
    holds = {"": content}
    if isinstance(content, dict):
        holds.update((k, v) for k, v in content.items() if isinstance(v, dict))
    found = {key: value for key, value in holds.items() if is_state_dict(value)}
    order = ("", *EMA, *RAW) if ema else ("", *RAW)
    keys = [key for key in order if key in found]
    if not keys:
        raise cli.Failure(f"{path} holds no state_dict of plain tensors at its top or under "
                          f"{', '.join(RAW + EMA)}; it holds {_outline(content)}",
                          f"save the right one alone ({BY_HAND})")
    both = [key for key in (*EMA, *RAW) if key in found and key != keys[0]]
    if keys[0] and both:
        other = "--no-ema (make: EMA=0) takes" if keys[0] in EMA else "without --no-ema it is"
        print(f"note: {path}: {keys[0]} is taken; {other} {both[0]}")
    return found[keys[0]], keys[0]


def _outline(content, most=8):
    """What keys a checkpoint has, and which of them could be the weights."""
    if not isinstance(content, dict):
        return f"a {type(content).__name__}"
    inside = {f"{k}.{inner}": v for k, value in content.items() if isinstance(value, dict)
              for inner, v in value.items()}
    could = [key for key, value in {**content, **inside}.items() if is_state_dict(value)]
    said = cli.some([str(key) for key in content], most) or "nothing"
    return said + (f"; {cli.some(could)} could be the weights" if could else "")


def _without_prefixes(tensors):
    """Names as the network has them: what wraps them is taken off, and SWA's counter."""
    tensors = {name.replace("_orig_mod.", ""): value for name, value in tensors.items()}
    if any(name.startswith("module.") for name in tensors):
        tensors.pop("n_averaged", None)  # of torch.optim.swa_utils.AveragedModel
    for prefix in PREFIXES * 2:  # they come inside one another
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name[len(prefix):]: value for name, value in tensors.items()}
    return tensors


def _content(path):
    """What the file holds: the tensors of safetensors, whatever its name, or what torch saved."""
    if path.is_dir():
        raise cli.Failure(f"{path} is a folder, not a checkpoint", "give the file: WEIGHTS=/path")
    if not path.is_file():
        raise cli.Failure(f"checkpoint {path} does not exist",
                          "fetch it with `make weights`, or give WEIGHTS=/path/to/it")
    with open(path, "rb") as f:
        head = f.read(512)
    if head.lstrip()[:1] == b"<":
        raise cli.Failure(f"{path} is a web page, not a checkpoint",
                          "delete it and download the file itself")
    if head[:2] == b"\x1f\x8b":
        raise cli.Failure(f"{path} is packed by gzip", "unpack it (gunzip) and give what is in it")
    if path.suffix != ".safetensors" and head[8:10] != b'{"':
        return _unpickled(path)
    import safetensors.torch

    try:
        return safetensors.torch.load_file(path)
    except Exception as e:  # safetensors' errors have no class of their own
        raise damaged(path, e) from None


def _unpickled(path):
    """What torch.load() gives, as data only."""
    try:
        if zipfile.is_zipfile(path):
            _check_zip(path)
        with torch.serialization.safe_globals(SAFE):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as e:
        # torch's message names what it will not load: "… Unsupported global: GLOBAL os.system …"
        found = re.search(r"GLOBAL (\S+)", str(e))
        why = found[1] if found else "its pickle is damaged"
        raise cli.Failure(f"{path} was not loaded: a checkpoint is read as data only, and this one "
                          f"holds more ({why})", "get the official file; if its source is trusted, "
                          "save its state_dict alone") from None
    except cli.Failure:
        raise
    except Exception as e:  # whatever the loader trips over in a file of another program
        raise damaged(path, e) from None


def damaged(path, error):
    """The Failure for a file that its loader stumbles over."""
    why = cli.short(" ".join(str(error).split()), 120) or "it ends too early"
    return cli.Failure(f"{path} is damaged or no checkpoint ({why})",
                       "delete it and fetch it again")


def _check_zip(path):
    with zipfile.ZipFile(path) as archive:
        if any(name.endswith("/constants.pkl") for name in archive.namelist()):
            raise cli.Failure(f"{path} is a TorchScript archive, which holds code",
                              "save the state_dict of its network (torch.jit.load, state_dict)")
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


def network(model, weights, net="bundled", ema=True):
    """The network of a model folder's `model.py` with the checkpoint `weights`.

    Returns (torch.nn.Module in eval mode, facts of the checkpoint; see load()).
    """
    state_dict, facts = load(weights, ema)
    if hasattr(model, "convert"):
        state_dict = model.convert(state_dict)
    return load_into(model.build(net), state_dict, weights), facts


def load_into(net, state_dict, path):
    """Load strictly; Failure that lists missing, unexpected and mis-shaped tensors by name."""
    wanted = net.state_dict()
    for prefix in PREFIXES:  # a network whose own names begin so
        if all(name.startswith(prefix) for name in wanted) and not set(wanted) & set(state_dict):
            state_dict = {prefix + name: value for name, value in state_dict.items()}
    common = [key for key in wanted if key in state_dict]
    shapes = [f"{key} {tuple(state_dict[key].shape)} instead of {tuple(wanted[key].shape)}"
              for key in common if state_dict[key].shape != wanted[key].shape]
    types = [f"{key} {state_dict[key].dtype}" for key in common
             if wanted[key].is_floating_point() and not state_dict[key].is_floating_point()]
    missing = [key for key in wanted if key not in state_dict and not key.endswith(COUNTER)]
    unexpected = [key for key in state_dict if key not in wanted]
    problems = cli.counted({"missing": missing, "unexpected": unexpected,
                            "of another shape": shapes, "of another type": types})
    if problems:
        raise cli.Failure(f"{path} does not fit this network: {problems}",
                          "is it the checkpoint of another model?")
    not_finite = [key for key, value in state_dict.items() if not torch.isfinite(value).all()]
    if not_finite:
        raise cli.Failure(f"{path} holds NaN or infinite values in {cli.some(not_finite)}",
                          "fetch the file again")
    counters = {key: value for key, value in wanted.items() if key.endswith(COUNTER)}
    net.load_state_dict({**counters, **state_dict}, strict=True)
    return net
