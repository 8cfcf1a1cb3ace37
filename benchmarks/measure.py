"""How every benchmark here measures: all sides in one process, turn about, warm, several rounds;
then ratios of one round.

    times = interleave({"ours": f, "peer": g}, rounds=7)
    print(shown(ratio(times, "peer", "ours")))      median and spread of peer's time over ours

Absolute times wander with the machine; the ratio of two sides that were measured within the same
seconds does not.
"""
import os
import platform
import statistics
import time
from pathlib import Path

from common import cli
from common.speed import measure as timing

RUN = "BENCHMARK_RUN"  # set by `make benchmarks`: parts of one run have one value


def interleave(sides, rounds=7, warm=1, before=None):
    """Call each of `sides` {name: function without arguments} once per round, in turn; return
    {name: [seconds]}.

    The order is turned round after each round, so that no side always follows the same one. The
    first `warm` rounds are not counted. before(name) is called ahead of each turn, untimed.
    """
    times = {name: [] for name in sides}
    for i in range(-warm, rounds):
        for name in list(sides)[::1 if i % 2 else -1]:
            if before:
                before(name)
            start = time.perf_counter()
            sides[name]()
            elapsed = time.perf_counter() - start
            if i >= 0:
                times[name].append(elapsed)
    return times


def ratio(times, slow, fast):
    """(median, lowest, highest) of slow's time over fast's, taken round by round."""
    ratios = [a / b for a, b in zip(times[slow], times[fast], strict=True)]
    return statistics.median(ratios), min(ratios), max(ratios)


def noise(times):
    """By how much two turns of one side after another differ: the median, as a share; NaN for a
    single turn."""
    pairs = list(zip(times, times[1:], strict=False))
    return statistics.median([abs(a - b) / b for a, b in pairs] or [float("nan")])


def per_second(times, items):
    """Items per second at the median time."""
    return items / statistics.median(times)


def shown(r):
    """A ratio as text: ×3.52 (3.40…3.61)."""
    return f"×{r[0]:.2f} ({r[1]:.2f}…{r[2]:.2f})"


def machine():
    """One line on what this ran on."""
    return f"{timing.cpu_name()}, {cli.cores()} cores, Python {platform.python_version()}"


def outside_make():
    """Forget the make that runs this: what a benchmark makes is a call of its own, as a user's."""
    for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES"):
        os.environ.pop(name, None)


def table(head, rows):
    """Print rows of strings under `head` as a Markdown table, columns aligned."""
    width = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in [head, ["-" * w for w in width], *rows]:
        cells = (cell.ljust(w) for cell, w in zip(row, width, strict=True))
        print(f"| {' | '.join(cells)} |", flush=True)


def finish(args, title, head, rows, targets, notes=()):
    """Print the table and whether each target was reached; write all to args.json for RESULTS.md.

    rows: lists of strings. targets: (claim, figure, wanted), reached when figure >= wanted; a
    target that was missed is shown as missed, never left out.
    """
    print(f"\n{title} — {machine()}")
    table(head, rows)
    verdicts = [[claim, f"{figure:.2f}", f"{wanted:g}", "reached" if figure >= wanted else "MISSED"]
                for claim, figure, wanted in targets]
    if verdicts:
        print()
        table(["claim", "measured", "target", ""], verdicts)
    for note in notes:
        print(note)
    if args.json:
        Path(args.json).parent.mkdir(parents=True, exist_ok=True)
        cli.write_json(args.json, {
            "title": title, "machine": machine(), "date": time.strftime("%Y-%m-%d"),
            "run": os.environ.get(RUN), "head": head, "rows": rows, "targets": verdicts,
            "notes": list(notes)})
        print(f"wrote {args.json}")
