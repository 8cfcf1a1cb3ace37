"""Checkpoint → ONNX: strict weights, dynamic batch, simplified, checked against torch before the file gets its name.

The model folders' *2onnx.py call `run()`.
"""
import gc
import json
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch

from common import cli
from common.model import checkpoint

TOLERANCE = 1e-4  # of the largest logit; float32 engines differ by about 1e-6, a wrong graph by 1e-1
CHECKED_BATCHES = (1, 3, 8)


def run(model, weights, output, opset=None, net="bundled"):
    """Export the network of a model folder's `model.py` with the checkpoint `weights` to the ONNX file `output`.

    opset: ONNX operator set, the model's own by default. net: "bundled" or "upstream" (the authors' clone).
    The file's metadata says what it was made from. Raises Failure, also when torch and ONNX Runtime disagree.
    """
    opset = opset or model.OPSET
    module, demo = checkpoint.network(model, weights, net)
    side = model.RECIPE.crop
    images, wanted = reference(module, side)
    with cli.whole_file(output) as part:
        with warnings.catch_warnings(), torch.no_grad():
            # The exporter announces its successor, which starts at opset 18; CANN's parser wants 11.
            warnings.simplefilter("ignore")
            torch.onnx.export(module, torch.zeros(2, 3, side, side), str(part), opset_version=opset, dynamo=False,
                              input_names=[model.INPUT], output_names=[model.OUTPUT],
                              dynamic_axes={model.INPUT: {0: "batch"}, model.OUTPUT: {0: "batch"}})
        # A copy of Twins' weights is 400 MB, and simplifying makes several: what is not needed any more goes first.
        del module
        graph = simplify(part)
        gc.collect()
        onnx.helper.set_model_props(graph, {
            "model": model.NAME, "weights": Path(weights).name, "weights_sha256": cli.sha256(weights), "net": net,
            "opset": str(opset), "preprocessing": json.dumps(model.RECIPE.as_dict()), "demo": str(demo).lower(),
            "torch": torch.__version__, "onnx": onnx.__version__})
        onnx.save(graph, part)
        del graph
        onnx.checker.check_model(str(part), full_check=True)
        check(part, model, images, wanted)
    size = Path(output).stat().st_size / 1e6
    print(f"wrote {output} ({model.NAME}{', demo weights' if demo else ''}, opset {opset}, {model.INPUT} → {model.OUTPUT}, "
          f"dynamic batch, {size:.1f} MB)")


def reference(module, side):
    """Return (images, logits): different random images, float32 (N, 3, side, side), and what torch, given one image at a
    time, says of them."""
    rng, most = np.random.default_rng(0), max(CHECKED_BATCHES)
    images = rng.normal(rng.normal(0, 1, (most, 3, 1, 1)), 1, (most, 3, side, side)).astype(np.float32)
    with torch.no_grad():
        return images, np.concatenate([module(torch.from_numpy(i[None])).numpy() for i in images])


def simplify(path):
    """Fold constants and drop dead nodes. The exporter writes each pad as a dozen nodes; CANN wants constant shapes."""
    import onnxslim

    return onnxslim.slim(onnx.load(path))


def check(onnx_file, model, images, wanted):
    """Compare ONNX Runtime at batches of the images of reference() with torch's logits; Failure when they disagree.

    torch saw single images, and the batches come in another order: a batch frozen into the graph, rows that leak into each
    other or change places cannot pass.
    """
    import onnxruntime

    rng = np.random.default_rng(1)
    session = onnxruntime.InferenceSession(str(onnx_file), providers=["CPUExecutionProvider"])
    for batch in CHECKED_BATCHES:
        order = rng.permutation(len(images))[:batch]
        expected = wanted[order]
        try:
            actual = session.run([model.OUTPUT], {model.INPUT: images[order]})[0]
        except Exception as e:  # onnxruntime's exceptions have no common class
            raise cli.Failure(f"the exported graph does not run at batch {batch} ({str(e).splitlines()[0][:200]})",
                              "the batch is frozen into it; the file was not kept") from None
        scale = float(np.abs(expected).max())
        error = float(np.abs(actual - expected).max())
        agree = int((actual.argmax(1) == expected.argmax(1)).sum())
        print(f"  torch against ONNX Runtime, batch {batch}: max abs {error:.1e}, relative to the largest logit "
              f"{error / scale:.1e}, Top-1 agreement {agree}/{batch}")
        if not error <= TOLERANCE * max(scale, 1):
            raise cli.Failure(f"ONNX Runtime disagrees with torch by {error:.1e} at batch {batch} (logits up to {scale:.1e}, "
                              f"tolerance {TOLERANCE:g} of that)", "the file was not kept; logit noise is about 1e-6, this "
                              "is a wrong graph")
