"""Put what the benchmarks wrote together: build/benchmarks/*.json → benchmarks/RESULTS.md.

    python3 -m benchmarks.results startup score prep
"""
import argparse
import json
from pathlib import Path

HERE = Path(__file__).parent


def get_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", help="benchmarks, in the order of the page")
    parser.add_argument("--folder", type=Path, default=Path("build/benchmarks"), help="where their JSON lies (%(default)s)")
    parser.add_argument("--out", type=Path, default=HERE / "RESULTS.md", help="(default: %(default)s)")
    return parser.parse_args(argv)


def markdown(head, rows):
    """A Markdown table of strings."""
    return "\n".join("| " + " | ".join(r) + " |" for r in [head, ["---"] * len(head), *rows])


def main():
    args = get_args()
    parts = [json.loads((args.folder / f"{name}.json").read_text(encoding="utf-8")) for name in args.names]
    targets = [row for part in parts for row in part["targets"]]
    missed = [row[0] for row in targets if row[-1] == "MISSED"]
    lines = ["# Measured\n", "Written by `make benchmarks`; do not edit. Ratios are of two sides measured turn about in one "
             "run, median (lowest…highest of the rounds); absolute figures are of this machine on this day only.\n",
             f"{parts[0]['machine']}, {parts[-1]['date']}. {len(targets) - len(missed)} of {len(targets)} targets reached"
             + (f"; missed: {', '.join(missed)}" if missed else "") + ".\n"]
    for name, part in zip(args.names, parts, strict=True):
        lines += [f"## {part['title']}\n", f"`python3 -m benchmarks.{name}`\n", markdown(part["head"], part["rows"]) + "\n"]
        if part["targets"]:
            lines.append(markdown(["claim", "measured", "target", ""], part["targets"]) + "\n")
        lines += [f"{note}\n" for note in part["notes"]]
    args.out.write_text("\n".join(lines), encoding="utf-8")
    print(f"wrote {args.out}: {len(targets) - len(missed)} of {len(targets)} targets reached")


if __name__ == "__main__":
    main()
