"""Checkpoint → ONNX: strict weights, dynamic batch, simplified, checked against torch before the
file gets its name. The model folders' *2onnx.py call run()."""
import gc
import re
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch

from common import cli, provenance, published
from common.model import checkpoint, facts, operators

TOLERANCE = 1e-4  # of the largest logit; float32 engines differ by 1e-6, a wrong graph by 1e-1
# Weights that magnify rounding (RepVGG's branches that nearly cancel out) are held against what
# float32 alone does to torch's logits: so many times that, and never more than a hundredth.
ROUNDINGS, MOST = 10, 1e-2
CHECKED_BATCHES = (1, 3, 8)
LARGEST = 2 ** 31 - 2 ** 20  # bytes; protobuf ends at 2 GiB, and the graph needs a little


def run(model, weights, output, opset=None, net="bundled", ema=True):
    """Export the network of a model folder's `model.py` with a checkpoint to the ONNX `output`.

    opset: ONNX operator set, the model's own by default. net: "bundled" or "upstream" (the
    authors' clone). ema: see checkpoint.load(). The record beside the file says what it was made
    from. Raises Failure, also when torch and ONNX Runtime disagree.
    """
    opset = opset or model.OPSET
    module, known = checkpoint.network(model, weights, net, ema)
    weight = sum(t.numel() * t.element_size() for t in module.state_dict().values())
    if weight > LARGEST:
        raise cli.Failure(f"{model.NAME} has {weight / 2**30:.1f} GiB of weights, and an ONNX file "
                          "holds 2 at most", "nothing was written; take a smaller network")
    about = {
        **described(model), **known, **from_where(weights), "net": net, "opset": opset,
        "torch": torch.__version__, "onnx": onnx.__version__}
    inputs = [weights, *code(model, module)]
    images, wanted = reference(module, model.RECIPE.crop)
    with cli.whole_file(output) as part:
        trace(module, model, opset, part)
        # A copy of Twins' weights is 400 MB, and simplifying makes several: first drop the network.
        del module
        graph = simplify(part)
        gc.collect()
        facts.write(graph, about)
        onnx.save(graph, part)
        onnx.checker.check_model(str(part), full_check=True)
        check(part, model, images, wanted,
              lambda: checkpoint.network(model, weights, net, ema)[0])
    note_operators(graph, output)
    provenance.record(output, inputs, **about)
    size = Path(output).stat().st_size / 1e6
    said = ", demo weights" if known["demo"] else ""
    print(f"wrote {output} ({model.NAME}{said}, opset {opset}, {model.INPUT} → {model.OUTPUT}, "
          f"dynamic batch, {size:.1f} MB)")


def from_where(weights):
    """Name and hash of a checkpoint, and what has to be said of it wherever its figures are."""
    note = (provenance.read(weights) or {}).get("note")
    about = {"weights": Path(weights).name, "weights_sha256": cli.sha256(weights)}
    return {**about, "weights_note": note} if note else about


def described(model):
    """What a model folder says of its network."""
    about = published.load(Path(model.__file__).parent)
    return {"model": model.NAME, "title": about.model, "classes": about.classes,
            "input": model.INPUT, "output": model.OUTPUT,
            "preprocessing": model.RECIPE.as_dict()}


def code(model, module):
    """Files that shape what is exported: the model folder's, ours, and wherever the network's
    layers are written (timm, or the authors' clone); not torch."""
    folder = Path(model.__file__).parent
    files = {folder / "model.py", folder / "published.json", __file__, checkpoint.__file__}
    for name in {type(layer).__module__ for layer in module.modules()}:
        file = getattr(sys.modules.get(name), "__file__", None)
        if file and name.split(".")[0] != "torch":
            files.add(file)
    return sorted({facts.code_path(file) for file in files})


def reference(module, side):
    """Return (images, logits): different random images, float32 (N, 3, side, side), and what torch
    says of them, one image at a time."""
    rng, most = np.random.default_rng(0), max(CHECKED_BATCHES)
    centres = rng.normal(0, 1, (most, 3, 1, 1))
    images = rng.normal(centres, 1, (most, 3, side, side)).astype(np.float32)
    with torch.no_grad():
        return images, np.concatenate([module(torch.from_numpy(i[None])).numpy() for i in images])


def trace(module, model, opset, path):
    """Write the network as torch exports it."""
    side = model.RECIPE.crop
    axes = {model.INPUT: {0: "batch"}, model.OUTPUT: {0: "batch"}}
    with warnings.catch_warnings(), torch.no_grad():
        # The exporter announces its successor, which starts at opset 18; CANN's parser wants 11.
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(module, torch.zeros(2, 3, side, side), str(path),
                              opset_version=opset, dynamo=False, input_names=[model.INPUT],
                              output_names=[model.OUTPUT], dynamic_axes=axes)
        except (torch.onnx.OnnxExporterError, RuntimeError, TypeError, ValueError) as e:
            raise cli.Failure(*cannot(model, opset, str(e))) from None


def cannot(model, opset, said):
    """(what, todo) for a network that torch does not export; `said` is torch's message, which ends
    with its whole graph."""
    operator = re.search(r"operator '([\w:]+)'", said)
    since = re.search(r"added in version (\d+)", said)
    what = operator[1] if operator else cli.short(" ".join(said.split("\n")[0].split()))
    todo = (f"OPSET={since[1]} has it, where your CANN takes that" if since else
            "write that part of the network in other operators (model.py)")
    return f"torch cannot export {model.NAME} to ONNX opset {opset}: {what}", todo


def simplify(path):
    """Fold constants and drop dead nodes. The exporter writes each pad as a dozen nodes; CANN wants
    constant shapes."""
    import onnxslim

    return onnxslim.slim(onnx.load(path))


def check(onnx_file, model, images, wanted, network):
    """Compare ONNX Runtime with torch's logits of reference(); Failure when they disagree.
    `network` makes the torch module again, where float32's own error has to be known.

    torch saw single images, and here the batches come in another order: a batch that is frozen
    into the graph, and rows that leak into each other or change places, cannot pass.
    """
    import onnxruntime

    rng = np.random.default_rng(1)
    session = onnxruntime.InferenceSession(str(onnx_file), providers=["CPUExecutionProvider"])
    for batch in CHECKED_BATCHES:
        order = rng.permutation(len(images))[:batch]
        try:
            actual = session.run([model.OUTPUT], {model.INPUT: images[order]})[0]
        except Exception as e:  # onnxruntime's exceptions have no common class
            raise cli.Failure(f"the graph does not run at batch {batch} "
                              f"({cli.short(str(e).splitlines()[0])})",
                              "the batch is frozen into it; the file was not kept") from None
        compare(actual, wanted[order], batch,
                lambda: own_rounding(network(), images, wanted))


def compare(actual, expected, batch, rounding):
    """Print how far ONNX Runtime's logits are from torch's; Failure above TOLERANCE. Calls
    `rounding` for the error of float32 itself where that would explain it."""
    scale = max(float(np.abs(expected).max()), 1)
    error = float(np.abs(actual - expected).max())
    agree = int((actual.argmax(1) == expected.argmax(1)).sum())
    print(f"  torch against ONNX Runtime, batch {batch}: max abs {error:.1e}, relative to the "
          f"largest logit {error / np.abs(expected).max():.1e}, Top-1 agreement {agree}/{batch}")
    if error <= TOLERANCE * scale:
        return
    own = rounding() if error <= MOST * scale else 0.0
    if error <= ROUNDINGS * own:
        print(f"  note: these weights magnify rounding: float32 alone moves torch's logits by "
              f"{own:.1e}")
        return
    raise cli.Failure(
        f"ONNX Runtime disagrees with torch by {error:.1e} at batch {batch} "
        f"(logits up to {scale:.1e}, tolerance {TOLERANCE:g} of that)",
        "the file was not kept; logit noise is about 1e-6, this is a wrong graph")


def own_rounding(module, images, logits):
    """The largest difference of torch's float32 `logits` of `images` from those in float64."""
    exact = module.double()
    with torch.no_grad():
        return max(float((exact(torch.from_numpy(image[None]).double())[0]
                          - torch.from_numpy(logit)).abs().max())
                   for image, logit in zip(images, logits))


def note_operators(graph, output):
    """Say which operators atc would refuse; on a CPU they run all the same."""
    names = operators.refused(graph)
    if names:
        print(f"note: {output}: CANN's ONNX parser does not take {cli.some(names)} at this opset; "
              "atc will fail — export at opset 11, where torch writes others")
