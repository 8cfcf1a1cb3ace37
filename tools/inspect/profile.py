"""The heaviest operators of an offline model, with torch's modules. Run from a model's folder
(make profile BS=8):

    python3 -m tools.inspect.profile --model build/m_bs8.om --batch 8 --json build/profile_bs8.json

On a CPU the engine's own clocks are read, in turn with runs that are not profiled; on an NPU the
vendor's msprof (npu_profile.py), around the command after --. A picture goes beside the JSON.
"""
import argparse
import re
from pathlib import Path

from common import cli, provenance
from common.cpu import host
from common.speed import bench, measure
from common.speed.table import table
from tools.inspect.places import place
from tools.report import operators

HEAVIEST = 10
APART = 0.05  # how far the operators' sum may be from the time of a run
# By the operator's type, in this order; what is left computes each value by itself: vector.
KINDS = {"matrix": re.compile("conv(?!ert)|matmul|gemm|fullyconnected|einsum", re.I),
         "memory": re.compile("reorder|transpose|reshape|slice|concat|pad|split|gather|transdata|"
                              "memcpy|copy|convert|cast|squeeze|flatten|expand|tile|roll|input|"
                              "output|result|parameter|identity", re.I)}
WHY = {"matrix": "weights are read once for all images, so a larger batch helps while reading them "
                 "takes longer than computing",
       "memory": "moves as many bytes for each image; a larger batch only shares what starting an "
                 "operator costs",
       "vector": "computes as many values for each image; a larger batch only shares what starting "
                 "an operator costs"}


def get_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="offline model")
    parser.add_argument("--batch", type=int, required=True, help="images in a run")
    parser.add_argument("--json", required=True, help="file for all operators")
    parser.add_argument("command", nargs="*", help="for an .om: -- and ais_bench's command")
    return parser.parse_args(argv)


def kind(operator):
    """matrix, memory or vector, by the operator's type. A depthwise convolution counts as matrix,
    although reading its images takes most of its time."""
    return next((name for name, words in KINDS.items() if words.search(operator)), "vector")


def module(name):
    """torch's module in an engine's name of a node, "" where there is none. Engines add words
    after the operator (…/fc1/Conv/WithoutBiases) and before the first module."""
    path = re.match(r"[^/]*((?:/[^/]+)*?)/[A-Z]", name)
    return place(f"{path[1]}/") if path else ""


def described(times):
    """[{"name", "type", "module", "kind", "ms", "share"}] for [(name, type, ms)] in the order of
    computation. What an engine made itself and gave no module belongs "before" the next one."""
    total, rows, after = sum(ms for _, _, ms in times), [], ""
    for name, operator, ms in reversed(times):
        own = module(name)
        after = own or after
        said = own or (f"before {after}" if after else "(the network itself)")
        rows.append({"name": name, "type": operator, "module": said, "kind": kind(operator),
                     "ms": ms, "share": ms / total})
    return rows[::-1]


# ---- what people see ----

def show(content):
    """Print the heaviest operators, the sum beside the time of a run, and what bounds it."""
    rows = sorted(content["operators"], key=lambda row: -row["ms"])[:HEAVIEST]
    what, of = operators.about(content), len(content["operators"])
    print(f"\n{what}, the heaviest {len(rows)} of {of} operators:")
    table(["module", "operator", "kind", "ms", "share"],
          [[row["module"], row["type"], row["kind"], f"{row['ms']:.2f}", f"{row['share']:.1%}"]
           for row in rows])
    for name, share in content["kinds"].items():
        print(f"{name} {share:.0%}: {WHY[name]}")
    part = content.get("part")
    if part and part != content["batch"]:
        print(f"note: {part} images are computed at a time: from there on a batch changes little")
    print(f"the operators' sum {content['sum_ms']:.2f} ms, a run without profiling "
          f"{content['ms']:.2f} ms: {content['ratio']:.3f}")
    why = bench.noise({"others": content["others"]})
    if why:
        print(f"warning: {why}: the times are too long; profile again on an idle host")
    if abs(content["ratio"] - 1) > APART:
        print(f"warning: they differ by more than {APART:.0%}: gaps between operators, the "
              "profiler's own cost, or another program; shares are of the sum")


def draw(content, file):
    """One bar for each outer module, its kinds of operators stacked, as a PNG."""
    from matplotlib.figure import Figure

    names = {}
    for row in content["operators"]:
        outer = ".".join(row["module"].removeprefix("before ").split(".")[:2])
        kinds = names.setdefault(outer, dict.fromkeys(WHY, 0.0))
        kinds[row["kind"]] += row["ms"]
    figure = Figure(figsize=(9, 1.5 + 0.3 * len(names)), layout="constrained")
    axes = figure.subplots()
    left = [0.0] * len(names)
    for name in WHY:
        width = [kinds[name] for kinds in names.values()]
        axes.barh(list(names), width, left=left, label=name)
        left = [a + b for a, b in zip(left, width)]
    axes.invert_yaxis()
    axes.set(xlabel="ms of a run", title=operators.about(content))
    axes.legend()
    with cli.whole_file(file) as part:
        figure.savefig(part, format="png", dpi=120)


def main():
    from tools.inspect import cpu_profile, npu_profile  # --help does without numpy

    args = get_args()
    on_npu = Path(args.model).suffix == ".om" and Path(args.model).exists()
    path = Path(args.model) if on_npu else host.find(args.model)
    links = bench.chain(path)
    with measure.alone():
        others = measure.Others()
        if on_npu:
            meta, times, ms = npu_profile.timed(path, args.batch, args.command)
        else:
            meta, times, ms = cpu_profile.timed(path, args.batch)
        busy = None if on_npu else others.share()
    rows = described(times)
    total = sum(row["ms"] for row in rows)
    kinds = {name: sum(row["share"] for row in rows if row["kind"] == name) for name in WHY}
    content = {**{key: meta.get(key) for key in ("engine", "engine_version", "device", "precision",
                                                 "part", "demo")},
               "batch": args.batch, "ms": ms, "sum_ms": total, "ratio": total / ms,
               "kinds": kinds, "others": busy, "operators": rows, **measure.conditions(),
               "chain": links, "made": provenance.made(args.json, [path])}
    cli.write_json(args.json, content)
    show(content)
    picture = Path(args.json).with_suffix(".png")
    try:
        draw(content, picture)
        print(f"wrote {args.json} and {picture}")
    except ModuleNotFoundError as e:
        print(f"wrote {args.json}; no picture: {e.name} is not installed")


if __name__ == "__main__":
    cli.run(main)
