"""A stand-in for CANN's amct_onnx: records its call, reads its batches as its --help says, and writes
two ONNX of the names that it says: one with weights rounded to 8 bits in float32, one for atc with
AscendQuant and AscendDequant.

FAKE_AMCT: ok; worse (the weights lose their signs); nofile; old (a release without --batch_num).
"""
import argparse
import math
import os
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

sys.path.insert(0, str(Path(__file__).parent))
import record  # noqa: E402

MODE = os.environ.get("FAKE_AMCT", "ok")


def get_args():
    parser = argparse.ArgumentParser("amct_onnx")
    parser.add_argument("command", choices=("calibration", "convert"))
    names = ["model", "save_path", "input_shape", "data_dir", "data_types"]
    for name in names + ["batch_num"] * (MODE != "old"):
        parser.add_argument(f"--{name}")
    return parser.parse_args()


def read_batches(args):
    """The batches that it calibrates with: all bins are one batch each, and --batch_num are used."""
    dims = list(map(int, args.input_shape.rpartition(":")[2].split(",")))
    files = sorted(Path(args.data_dir).iterdir())[:int(args.batch_num or 1)]
    assert len(files) == int(args.batch_num) and args.data_types == "float32"
    assert all(file.stat().st_size == 4 * math.prod(dims) for file in files)
    return [np.fromfile(file, np.float32).reshape(dims) for file in files]


def rounded(weight):
    """A weight on 255 steps; all positive with FAKE_AMCT=worse."""
    scale = max(np.abs(weight).max() / 127, 1e-12)
    steps = np.round(weight / scale) * scale
    return (np.abs(steps) if MODE == "worse" else steps).astype(np.float32)


def main():
    args = get_args()
    record.call("amct_onnx")
    batches, model = read_batches(args), onnx.load(args.model)
    Path("amct_log").mkdir()
    if MODE == "nofile":
        print("ERROR - [AMCT]:[AMCT]: no layer can be quantized")
        sys.exit(1)
    for weight in model.graph.initializer:
        array = numpy_helper.to_array(weight)
        if array.ndim > 1:
            weight.CopyFrom(numpy_helper.from_array(rounded(array), weight.name))
    onnx.save(model, f"{args.save_path}_fake_quant_model.onnx")
    first = next(node for node in model.graph.node if node.op_type == "Conv")
    scale = float(max(np.abs(batch).max() for batch in batches) / 127)
    pair = [helper.make_node("AscendQuant", [first.input[0]], ["q"], "quant", scale=scale),
            helper.make_node("AscendDequant", ["q"], ["dq"], "dequant", scale=1 / scale)]
    first.input[0] = "dq"
    nodes = pair + list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, f"{args.save_path}_deploy_model.onnx")


main()
