"""Layer by layer on an NPU, by the vendor's msprobe (pip install mindstudio-probe):

    msprobe compare -m offline_model -gp x.onnx -tp x.om --input_data a.bin \\
        --input_shape "input:8,3,224,224" --onnx_fusion_switch False -o out

which runs both and writes a table of operators, result_*.csv. An .om fuses operators: a row names
those of the ONNX that it is made of, and their names tell torch's module.
"""
import csv
import dataclasses
import math
import shutil
import tempfile
from pathlib import Path

import numpy as np

from common import cli
from common.cpu import graph
from tools.inspect.places import place

COSINE, DISTANCE = 0.99, 0.05  # msprobe's own limits


@dataclasses.dataclass
class Row:
    """An operator of the .om: torch's modules, as "conv + act" (an ONNX operator's name where it is
    in none), and the ONNX operators in it; cosine similarity, relative Euclidean distance and
    largest absolute error, or why there are none.
    """

    module: str
    nodes: list[str]
    cosine: float
    distance: float
    error: float
    reason: str

    def beyond(self):
        """Whether it is off by more than the limits."""
        return not (self.cosine >= COSINE and self.distance <= DISTANCE)


def compare(args, meta, manifest, index, model, kept):
    """Run msprobe on one image, the row `index` of the manifest, and keep its table as the file
    `kept`. `meta`: the .om's record. Returns [Row]; Failure when there is no msprobe, or no table.
    """
    program = shutil.which("msprobe")
    if not program:
        raise cli.Failure("msprobe is not installed", "pip install mindstudio-probe")
    if not meta["batch"]:
        raise cli.Failure(f"{args.model} is for several batches", "give an .om for one: OM=")
    taken = graph.inputs(model)[0]
    shape = ",".join(map(str, [meta["batch"], *graph.dims_of(taken)[1:]]))
    row, info = manifest.rows[index], manifest.info
    image = np.fromfile(f"{args.bins}/{row.file}.bin", info["dtype"])
    image = image.reshape(-1, *info["shape"])[row.row]
    with tempfile.TemporaryDirectory(dir=Path(kept).parent) as folder:  # all tensors: gigabytes
        file = Path(folder).resolve() / "input.bin"
        np.repeat(image[None], meta["batch"], 0).tofile(file)
        command = [program, "compare", "-m", "offline_model", "-gp", Path(args.onnx).resolve(),
                   "-tp", Path(args.model).resolve(), "--input_data", file,
                   "--input_shape", f"{taken.name}:{shape}", "--onnx_fusion_switch", "False",
                   "--rank", args.device.split(",")[0], "-o", file.with_name("out")]
        status, _ = cli.tee(list(map(str, command)))
        tables = sorted(file.with_name("out").rglob("result_*.csv"))
        if status or not tables:
            raise cli.Failure(f"msprobe wrote no table (status {status})", "see what it says above")
        shutil.copyfile(tables[-1], kept)
    return read(kept, model)


def read(file, model):
    """[Row] of msprobe's table for an onnx.ModelProto, in its order; Failure when none of the
    table's operators is in it."""
    known, rows = {node.name for node in model.graph.node}, []
    with open(file, newline="", encoding="utf-8-sig") as f:
        for line in csv.DictReader(f):
            nodes = [name.strip() for name in line["GroundTruth"].split(",")]
            nodes = [name for name in nodes if name in known]
            if not nodes or ":input:" in line.get("TensorIndex", ""):
                continue
            values = [number(line[key]) for key in
                      ("CosineSimilarity", "RelativeEuclideanDistance", "MaxAbsoluteError")]
            # No figure and no reason: a NaN or infinity was computed. A distance without a cosine:
            # zeros were.
            reason = line["CompareFailReason"].strip()
            if not math.isnan(values[0]) or values[1] > DISTANCE:
                reason = ""
            modules = dict.fromkeys(filter(None, map(place, nodes)))
            rows.append(Row(" + ".join(modules) or nodes[-1], nodes, *values, reason))
    if not rows:
        raise cli.Failure(f"{file} names no operator of the ONNX", "compare it with its own ONNX")
    return rows


def number(text):
    """A cell as a number, NaN when it is none."""
    try:
        return float(text)
    except (TypeError, ValueError):
        return math.nan


def write_keep_dtype(file, row, model):
    """Write a file for atc's --keep_dtype, an ONNX operator a line: those of `row`, all others of
    its modules, and those that the file had before."""
    modules, before = row.module.split(" + "), []
    if Path(file).exists():  # by which this .om was made: the next layer comes on top
        before = Path(file).read_text().split("\n")
    kept = [node.name for node in model.graph.node
            if node.name in [*before, *row.nodes] or place(node.name) in modules]
    with cli.whole_file(file) as part:
        part.write_text("".join(f"{name}\n" for name in kept))
