"""Check the results: one for each bin, and a few of them equal to what the ONNX gives.

    python3 -m common.score.against_onnx --result build/result/bs8_openvino \\
        --model build/spnasnet_100_bs8.blob --bins build/prep --onnx build/spnasnet_100.onnx

Counts the results, computes a few images with ONNX Runtime on the ONNX, from the very bins, and
writes build/result/bs8_openvino.json: of which model and which bins these results are. Where it
cannot compute them, it says why, and every figure says so too.
"""
from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np

from common import cli, provenance, toolchain
from common.cpu import host
from common.data import manifest, transforms
from common.score import results

IMAGES = 4  # spread over the set; a large network takes seconds for each
# Largest difference that is allowed on an NPU, of the logits' spread. It computes in float16: 1-3 %
# were seen for normalisation in float16 alone. For a CPU toolchain.TOLERANCE counts. Numbers
# rounded to float16, or to the six decimals of TXT, stay below all of them.
NPU = 0.1


class Unknown(Exception):
    """What the ONNX says of the bins cannot be known here; the text says why."""


def get_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--result", required=True, help="folder of the results")
    parser.add_argument("--model", required=True, help="offline model that made them")
    parser.add_argument("--bins", required=True, help="folder of the bins it read")
    parser.add_argument("--onnx", help="what it was compiled from; else as its record says")
    return parser.parse_args(argv)


def offline_model(path):
    """The offline model at `path`. Where an .om is not there, the CPU's ais_bench ran the .blob or
    .ort beside it, so that is meant here too."""
    return path if Path(path).exists() else str(host.find(path))


def read_bin(folder, row, info):
    """The image of a manifest's Row as the ONNX takes it: float32 (3, H, W), normalised."""
    shape, dtype = info["shape"], np.dtype(info["dtype"])
    size = math.prod(shape)
    path, offset = Path(folder, f"{row.file}.bin"), row.row * size * dtype.itemsize
    image = np.fromfile(path, dtype, size, offset=offset).reshape(shape)
    if dtype != np.uint8:
        return image
    return transforms.normalize(image, info["recipe"]["mean"], info["recipe"]["std"])


def computed(onnx, images):
    """What ONNX Runtime makes of a list of images, float32 (3, H, W), one at a time: float32
    (N, classes). Unknown where it cannot be computed."""
    if not onnx or not Path(onnx).is_file():
        raise Unknown(f"{onnx or 'it'} is not at hand")
    try:
        import onnxruntime
    except ImportError:
        raise Unknown("onnxruntime is not installed") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cli.cores()
    options.log_severity_level = 3
    # Without optimisations: this is what the others are compared with.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        network = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
        first = network.get_inputs()[0]
        batch = first.shape[0] if isinstance(first.shape[0], int) else 1
        feeds = [{first.name: np.stack([image] * batch)} for image in images]
        return np.array([network.run(None, feed)[0][0].ravel() for feed in feeds])
    except Exception as e:  # of many types, which have no base of their own
        why = cli.short(" ".join(str(e).split()))
        raise Unknown(f"ONNX Runtime does not take {onnx}, or these bins: {why}") from None


def compare(args, known, found, limit, onnx):
    """Compare a few results with what the ONNX says of their bins; Failure where they differ,
    Unknown where that cannot be told.

    limit: of the logits' spread. Returns what was compared: "images", "onnx", "error" (of the
    spread) and "limit".
    """
    chosen = np.unique(np.linspace(0, len(known.rows) - 1, IMAGES).astype(int))
    rows = [known.rows[i] for i in chosen]
    wanted = computed(onnx, [read_bin(args.bins, row, known.info) for row in rows])
    got = np.empty_like(wanted)
    for i, row in enumerate(rows):
        try:
            _, values = results.parse(found[row.file], known.files[row.file], wanted.shape[1])
        except ValueError as e:
            raise cli.Failure(f"{found[row.file]} {e}", "infer again (make infer)") from None
        got[i] = values[row.row]
    errors = np.abs(got - wanted).max(1) / max(np.ptp(wanted), 1e-30)
    worst = int(errors.argmax())
    error = float(errors[worst])
    if not error <= limit:
        raise cli.Failure(
            f"{args.model} computes {rows[worst].image} otherwise than {onnx}: the results differ "
            f"by {100 * error:.3g} % of the logits' spread ({100 * limit:g} % are allowed)",
            "compile it again from this ONNX (make om), and infer again")
    print(f"{len(rows)} of {len(known.rows)} images computed with {onnx} too: the largest "
          f"difference is {error:.1e} of the logits' spread ({limit:g} is allowed)")
    return {"images": [row.image for row in rows], "onnx": onnx, "error": error, "limit": limit}


def main():
    args = get_args()
    args.model = offline_model(args.model)
    run = results.find_run(args.result)
    beside = provenance.record_path(run)
    if beside.exists() and "made" not in cli.read_json(beside, "delete it"):
        raise cli.Failure(f"{beside} is not a record of results, and would be overwritten",
                          "move it away")
    known = manifest.Manifest.load(args.bins)
    known.check_bins(args.bins)
    found, extra = results.result_files(run, known.files)
    missing = [stem for stem in known.files if stem not in found]
    problems = cli.counted({"bins without a result": missing, "results of no bin": extra})
    if problems:
        raise cli.Failure(f"{run}: {problems}", f"delete {run} and infer again (make infer)")
    record = provenance.read(args.model) or {}
    if record:
        provenance.check(args.model, "compile the offline model again (make om)")
    precision = record.get("precision")
    limit = toolchain.TOLERANCE.get(precision, toolchain.TOLERANCE["f32"])
    if toolchain.on_npu(args.model, record) and precision != "int8":
        limit = NPU
    made_from = record["made"]["from"] if record else ()
    onnx = args.onnx or next((path for path in made_from if path.endswith(".onnx")), None)
    compared = note = None
    try:
        compared = compare(args, known, found, limit, onnx)
    except Unknown as e:
        note = f"the results are not compared with the ONNX: {e}"
        print(f"note: {note}")
    # The model first, then the bins: origin.py reads them so.
    provenance.record(run, [args.model, Path(args.bins, manifest.NAME)], compared=compared,
                      note=note)
    print(f"wrote {beside} ({len(found)} results)")


if __name__ == "__main__":
    cli.run(main)
