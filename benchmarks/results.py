"""Put together what the benchmarks wrote: build/benchmarks/*.json → benchmarks/RESULTS.md. Why a
target is missed stands in reasons.json, by the start of its claim.

    python3 -m benchmarks.results --run    (make benchmarks) measure all parts, about an
                                           hour; only this writes the headline
    python3 -m benchmarks.results          after a part was measured again by itself: it gets a
                                           date of its own, the headline stays that of the run
"""
import argparse
import os
import secrets
import subprocess
import sys
from pathlib import Path

from benchmarks import measure
from common import cli

HERE = Path(__file__).parent
PARTS = ("prep", "e2e", "infer", "throughput", "precision", "score", "startup", "memory")
INTRO = ("Written by `make benchmarks`; do not edit. Figures are medians; ratios are of two sides "
         "measured turn about in one run, median (lowest…highest of the rounds). Absolute figures "
         "are of this machine on this day only.")


def get_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", action="store_true", help="measure everything first")
    parser.add_argument("--folder", type=Path, default=Path("build/benchmarks"),
                        help="where the JSONs are (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=HERE / "RESULTS.md",
                        help="(default: %(default)s)")
    return parser.parse_args(argv)


def run(folder):
    """Measure all parts as one run, and keep its headline in `folder`. A run in which a part failed
    goes on with those that it lacks."""
    unfinished = folder / "unfinished.json"
    if not unfinished.exists():
        folder.mkdir(parents=True, exist_ok=True)
        cli.write_json(unfinished, {"run": secrets.token_hex(8)})
    token, failed = cli.read_json(unfinished, "delete it")["run"], []
    for name in PARTS:
        path = folder / f"{name}.json"
        if path.exists() and cli.read_json(path, "delete it").get("run") == token:
            print(f"benchmarks.{name} is measured already")
            continue
        command = [sys.executable, "-m", f"benchmarks.{name}", "--json", path]
        if subprocess.run(command, env={**os.environ, measure.RUN: token}).returncode:
            failed.append(f"benchmarks.{name}")
    if failed:
        raise cli.Failure(f"{cli.some(failed)} failed, so there is no headline of this run",
                          "see the messages above, then make benchmarks: it goes on")
    unfinished.unlink()
    parts = read(folder)
    cli.write_json(folder / "headline.json", {"run": token, "line": headline(parts.values())})


def read(folder):
    """{name: content of its JSON} of all parts; Failure where one is absent."""
    return {name: cli.read_json(folder / f"{name}.json", "make benchmarks") for name in PARTS}


def headline(parts):
    """How many targets were reached in one run, and which were not."""
    parts = list(parts)
    targets = [row for part in parts for row in part["targets"]]
    missed = [row[0] for row in targets if row[-1] == "MISSED"]
    reached = f"{len(targets) - len(missed)} of {len(targets)} targets reached"
    return (f"{parts[0]['machine']}, {parts[-1]['date']}. {reached}"
            + (f"; missed: {', '.join(missed)}" if missed else "") + ".")


def markdown(head, rows):
    """A Markdown table of strings."""
    return "\n".join(f"| {' | '.join(r)} |" for r in [head, ["---"] * len(head), *rows]) + "\n"


def missed(targets, reasons):
    """[a line] for each target that was missed, with its reason of `reasons` {start of a claim:
    text}; of several the longest start counts."""
    lines = []
    for claim in [row[0] for row in targets if row[-1] == "MISSED"]:
        known = max((start for start in reasons if claim.startswith(start)), key=len, default=None)
        lines.append(f"- {claim}: {reasons[known] if known else 'why is not known'}")
    return lines


def page(head, parts):
    """RESULTS.md: `head` is the run's headline, parts {name: content}."""
    reasons = cli.read_json(HERE / "reasons.json", "restore the file")
    again = [name for name, part in parts.items() if part.get("run") != head["run"]]
    lines = ["# Measured\n", f"{INTRO}\n", f"{head['line']}\n"]
    if again:
        lines.append("Measured again since, by themselves, and not in the line above: "
                     f"{', '.join(parts[name]['title'] for name in again)}.\n")
    for name, part in parts.items():
        when = f", measured again on {part['date']}, {part['machine']}" if name in again else ""
        lines += [f"## {part['title']}\n", f"`python3 -m benchmarks.{name}`{when}\n",
                  markdown(part["head"], part["rows"])]
        if part["targets"]:
            lines.append(markdown(["claim", "measured", "target", ""], part["targets"]))
            why = missed(part["targets"], reasons)
            lines += ["Missed:\n", "\n".join(why) + "\n"] if why else []
        lines += [f"{note}\n" for note in part["notes"]]
    return "\n".join(lines)


def main():
    args = get_args()
    if args.run:
        run(args.folder)
    head = cli.read_json(args.folder / "headline.json", "make benchmarks")
    with cli.whole_file(args.out) as part:
        part.write_text(page(head, read(args.folder)), encoding="utf-8")
    print(f"wrote {args.out}: {head['line']}")


if __name__ == "__main__":
    cli.run(main)
