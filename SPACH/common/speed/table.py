"""Tables of what was measured, beside what ModelZoo publishes.

    python3 -m common.speed.table build/perf_bs1_openvino.json build/perf_bs8_openvino.json     throughput per batch
    python3 -m common.speed.table --demo build/demo --bs 8 --folders ShiftViT SPACH             the demo of several models
"""
import argparse
from pathlib import Path

from common import cli


def get_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", metavar="DIR", help="the demo's folder inside each model folder")
    parser.add_argument("--engine", default=["openvino"], nargs="+", help="engine of the offline models, one for all or one "
                                                                          "for each folder (default: openvino)")
    parser.add_argument("--bs", type=int, default=8, help="batch size (default: %(default)s)")
    parser.add_argument("--folders", nargs="+", default=["."], help="model folders of the demo (default: this one)")
    parser.add_argument("paths", nargs="*", help="perf_*.json")
    args = parser.parse_args(argv)
    if bool(args.demo) == bool(args.paths):
        parser.error("give either perf_*.json, or --demo")
    if args.demo and len(args.engine) not in (1, len(args.folders)):
        parser.error("give one --engine, or one for each of --folders")
    return args


def table(head, rows):
    """Print rows of strings under `head`, columns aligned, numbers to the right."""
    width = [max(len(r[i]) for r in [head, *rows]) for i in range(len(head))]
    for row in [head, ["-" * w for w in width], *rows]:
        print("  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, width))))


def demo(folders, args):
    """One row a model: torch and offline model on the demo images, and the published figures."""
    rows, lines, disagree = [], [], []
    engines = args.engine * len(folders) if len(args.engine) == 1 else args.engine
    for folder, engine in zip(map(Path, folders), engines):
        run = f"bs{args.bs}_{engine}"
        published = cli.read_json(folder / "published.json", "restore the file")
        online, offline, perf = (cli.read_json(folder / args.demo / f, f"make -C {folder} demo") for f in (
            "online.json", f"eval_{run}.json", f"perf_{run}.json"))
        same = online["good"] == offline["good"] and online["total"] == offline["total"]
        fps = published["fps"].get(str(args.bs))
        rows.append([published["model"], str(offline["total"]), f"{online['top1']:.2f}%", f"{offline['top1']:.2f}%",
                     f"{offline['top5']:.2f}%", "yes" if same else "NO", f"{online['produced_by']['fps']:.1f}",
                     f"{perf['fps']:.1f}", f"{published['top1']:g}%" if published["top1"] else "-",
                     f"{fps:g} ({published['chip']})" if fps else "-"])
        name = published["model"] if len(folders) > 1 else ""
        lines.append(f"{offline['line']} {name}".rstrip())
        disagree += [] if same else [published["model"]]
    where = "this NPU" if "ascend" in engines else f"{' and '.join(sorted(set(engines)))} on this CPU, f32"
    print(f"\nDemo: generated images of ten classes, seeded weights, {where}, batch {args.bs}. "
          "Only the two columns at the right are ModelZoo's, on ImageNet.")
    table(["model", "images", "Top-1 torch", "Top-1 offline", "Top-5", "agree", "fps torch", "fps offline", "published Top-1",
           "published fps"], rows)
    if disagree:
        raise cli.Failure(f"torch and the offline model disagree for {', '.join(disagree)}", "see the lines above")
    print("\n".join(lines))


def throughput(files):
    """One row a batch size; the best is marked."""
    perfs = [cli.read_json(f, "make bench") for f in files]
    best = max(p["fps"] for p in perfs)
    times = [[f"{p['ms']['median']:.2f}", f"{p['ms']['p99']:.2f}", f"{p['ms']['min']:.2f}…{p['ms']['max']:.2f}"]
             if "ms" in p else ["-"] * 3 for p in perfs]
    rows = [[str(p["batch"]), f"{p['fps']:.1f}", *ms, "best" if p["fps"] == best else ""]
            for p, ms in zip(perfs, times)]
    first = perfs[0]
    mark = ", demo weights" if first.get("demo") else ""
    print(f"{first.get('engine', 'ascend')} {first.get('engine_version', '')}, {first.get('precision', '')}, "
          f"{first.get('cpu') or first['device']}{mark}, compute only")
    table(["batch", "fps", "median ms", "p99 ms", "min…max ms", ""], rows)


def main():
    args = get_args()
    if args.demo:
        demo(args.folders, args)
    else:
        throughput(args.paths)


if __name__ == "__main__":
    cli.run(main)
