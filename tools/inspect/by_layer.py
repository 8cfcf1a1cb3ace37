"""make compare LAYERS=1: every module of torch beside its tensor in the ONNX, and what the offline
model computes for it; which of the two is to blame, and for which layer."""
import dataclasses
from pathlib import Path

import numpy as np

from common import cli, provenance, toolchain
from common.cpu import host
from common.score.against_onnx import read_bin
from common.speed.table import table
from tools.inspect import blame, layers, npu_layers, offline_layers

WORST = 10  # layers of the offline model that are shown; the JSON has them all


def look(args, module, manifest, chosen, theirs):
    """Print tables for the rows `chosen` of the manifest. `theirs`: the offline model's logits
    (rows, classes). Returns what belongs into the JSON, and what was found as one sentence under
    "finding"."""
    images = [read_bin(args.bins, manifest.rows[i], manifest.info) for i in chosen]
    found, model, by_torch = layers.compare(module, args.onnx, images)
    found, apart = blame.split(model.graph, found)
    print(f"\n{len(found)} modules of torch and their tensors in {args.onnx}, "
          f"on {', '.join(manifest.rows[i].image for i in chosen)}")
    if apart:
        names = cli.some([f"{x.module} ({x.relative:.1e})" for x in apart])
        print("note: what follows agrees, so these are right too; they are part of a neighbour "
              f"there: {names}")
    content = {"layers": described(found), "apart": described(apart), "first_jump": None}
    at, worst = blame.jump(found), max(x.relative for x in found)
    if at is not None:
        return {**content, **accused(model.graph, found, at)}
    if not worst <= blame.TOLERANCE:
        return {**content, "finding": f"the error of the ONNX grows to {worst:.1e} without a jump"}
    content["finding"] = f"no layer of the ONNX differs from torch (at most {worst:.1e})"
    meta = provenance.read(args.model) or {}
    try:
        if meta.get("engine") in host.ENDINGS:
            more = on_cpu(args, meta, images, found, by_torch, theirs[chosen])
        elif meta.get("engine") == "ascend":
            more = on_npu(args, meta, manifest, chosen[0], model)
        else:
            raise cli.Failure("it has no record")
    except cli.Failure as e:
        more = {"finding": f"the layers of {args.model} are not compared: {e}"}
    return {**content, **more, "finding": f"{content['finding']}; {more['finding']}"}


def described(found):
    """A list of dataclasses as the JSON has it."""
    return [dataclasses.asdict(x) for x in found]


def accused(graph, found, at):
    """Show the layer found[at] of the ONNX, from which on it differs; what the JSON says of it."""
    table(["module", "max abs error", "relative", ""],
          [[x.module, f"{x.error:.1e}", f"{x.relative:.1e}", "first jump" if i == at else ""]
           for i, x in enumerate(found[:at + 4])])
    after = found[at + 1:]
    if len(after) > 3:
        print(f"… and {len(after) - 3} more; of the {len(after)} modules after the first jump "
              f"{sum(map(blame.differs, after))} differ")
    operators, weights = say_between(graph, found, at, "ONNX")
    return {"first_jump": found[at].module, "operators": operators, "weights": weights,
            "finding": f"the first layer whose error jumps: {found[at].module} {sizes(found, at)}"}


def say_between(graph, found, at, what):
    """Print what lies between found[at] and what still agrees: (operators, weights)."""
    operators, weights = blame.between(graph, found, at)
    print(f"between it and what still agrees the {what} has {cli.some(operators, 8)}"
          + (f", with the weights {cli.some(weights, 8)}" if weights else ""))
    return operators, weights


def sizes(found, at):
    """The error of found[at] and the one before it, in brackets."""
    before = f"{found[at - 1].relative:.1e} before it" if at else "it is the first"
    return f"({found[at].relative:.1e}, {before})"


def on_cpu(args, meta, images, found, by_torch, theirs):
    """Compare the offline model of a CPU layer by layer; what the JSON says of it."""
    off, model, logits = offline_layers.compare(args.onnx, meta, images, found, by_torch)
    title, limit = f"{meta['engine']} {meta['precision']}", toolchain.TOLERANCE[meta["precision"]]
    if meta["precision"] == "f32":  # a lower one is off everywhere
        off = blame.split(model.graph, off, limit)[0]
    at = next((i for i, x in enumerate(off) if blame.differs(x, limit)), None)
    in_onnx = {x.tensor: x for x in found}
    worst = sorted(off, key=lambda x: -np.nan_to_num(x.relative, nan=np.inf))[:WORST]
    print(f"the largest errors of the offline model, {title}, relative to the module's values:")
    table(["module", "ONNX", title, ""],
          [[x.module, f"{in_onnx[x.tensor].relative:.1e}", f"{x.relative:.1e}",
            f"first above {limit:g}" if at is not None and x is off[at] else ""] for x in worst])
    gap = float(np.abs(np.concatenate(logits) - theirs).max() / np.abs(theirs).max())
    print(f"with its layers as outputs it gives logits that are {gap:.1e} from its results")
    content = {"offline_layers": described(off), "first_offline": None, "logits_apart": gap}
    names = cli.some([f"{x.module} ({x.relative:.1e})" for x in worst], 3)
    if at is None and gap > limit:
        finding = (f"no layer of {title} is off by more than {limit:g}, but its results are, by "
                   f"{gap:.1e}: they come from what the engine fuses where no layer is an output")
    elif at is None and meta["precision"] == "f32":
        finding = f"nor does one of {title} (at most {worst[0].relative:.1e})"
    elif at is None:
        finding = f"no layer of {title} is off by more than {limit:g}; the worst: {names}"
    else:
        say_between(model.graph, off, at, "engine's graph")
        content["first_offline"] = off[at].module
        finding = (f"the first layer that {title} computes with more than {limit:g}: "
                   f"{off[at].module} {sizes(off, at)}; the worst: {names}")
    return {**content, "finding": finding}


def on_npu(args, meta, manifest, index, model):
    """Have msprobe compare an .om layer by layer; what the JSON says of it."""
    base = Path(args.json).with_suffix("")
    rows = npu_layers.compare(args, meta, manifest, index, model, f"{base}_msprobe.csv")
    compared = [x for x in rows if not x.reason]
    worst = sorted(compared, key=lambda x: -np.nan_to_num(x.distance, nan=np.inf))[:WORST]
    print(f"the largest errors of {args.model} against the ONNX, by msprobe:")
    table(["module", "operators", "cosine", "distance", "max abs error"],
          [[x.module, cli.some(x.nodes, 2), f"{x.cosine:.4f}", f"{x.distance:.1e}",
            f"{x.error:.1e}"] for x in worst])
    left = len(rows) - len(compared)
    if left:
        print(f"note: {left} operators could not be compared: "
              f"{cli.some(sorted({x.reason for x in rows if x.reason}), 2)}")
    content = {"offline_layers": described(rows), "first_offline": None}
    within = f"a cosine of {npu_layers.COSINE} and a distance of {npu_layers.DISTANCE}"
    first = next((x for x in compared if x.beyond()), None)
    if first is None:
        missing = f" ({left} operators could not be compared)" if left else ""
        return {**content, "finding": f"nor does one of {args.model}, by {within}{missing}"}
    keep = f"{base}_keep_dtype.txt"
    npu_layers.write_keep_dtype(keep, first, model)
    end = "" if compared[-1].beyond() else ", although the end of the network is within it"
    return {**content, "first_offline": first.module, "keep_dtype": keep, "finding":
            f"the first layer of {args.model} beyond {within}: {first.module} (cosine "
            f"{first.cosine:.4f}, distance {first.distance:.1e}){end}; to keep its own type: "
            f"make om ATC_FLAGS=--keep_dtype={keep}"}
