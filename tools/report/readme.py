"""Write the READMEs' tables of measured figures, between two marks, from the recorded
results/reference.json.

    python3 -m tools.report.readme                            (make readme)
    python3 -m tools.report.readme --from results/HOST.json   record these figures first
    python3 -m tools.report.readme --check                    (make check-readme) change nothing,
                                                              fail where a table is not theirs
"""
import argparse
from pathlib import Path

from common import cli
from tools.report import record, tables
from tools.report.faq import plain

ROOT = Path(__file__).resolve().parents[2]
BEGIN, END = "<!-- measured:begin -->", "<!-- measured:end -->"
WORDS = {
    "README.md": {
        "intro": "Measured on {hardware}, {threads} threads, {dates}{demo}: another machine than "
                 "the published figures'.",
        "demo": ", demo weights",
        "model": ("engine, precision", "batch", "compute only, images/s", "from .bin, images/s",
                  "median ms", "p99 ms", "spread"),
        "all": ("model", "engine, precision", "compute only, images/s", "from .bin, images/s",
                "spread"),
        "at": "{} at {}", "noisy": "noisy"},
    "README.zh-CN.md": {
        "intro": "实测环境：{hardware}，{threads} 线程，{dates}{demo}；与公布数据不是同一台机器。",
        "demo": "，演示权重",
        "model": ("引擎，精度", "batch", "仅计算，张/秒", "从 .bin 起，张/秒", "中位数 ms",
                  "p99 ms", "波动"),
        "all": ("模型", "引擎，精度", "仅计算，张/秒", "从 .bin 起，张/秒", "波动"),
        "at": "{}（batch {}）", "noisy": "波动过大"},
}


def get_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true",
                        help="change nothing; name what is stale and exit 1")
    parser.add_argument("--from", dest="source", type=Path, metavar="JSON",
                        help="take these records as the reference first")
    parser.add_argument("--root", type=Path, default=ROOT,
                        help="the repository (default: this one)")
    args = parser.parse_args(argv)
    if args.source and args.check:
        parser.error("--from and --check do not go together")
    return args


def markdown(head, rows, left):
    """A Markdown table whose first `left` columns are text, the others numbers."""
    rule = ["---" if i < left else "---:" for i in range(len(head))]
    texts = [[plain(cell) for cell in cells] for cells in rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, rule, *texts])


def figures(r, words):
    """(computation, from .bin, spread) of a record as text."""
    whole = r["from_bin"]
    spread, noisy = record.reliability(r)
    return (f"{r['compute_only']['fps']:,.1f}", f"{whole['fps']:,.1f}" if whole else "–",
            f"{spread}, {words['noisy']}" if noisy else spread)


def labels(records, words):
    """[(what made it, record)], as text: engine, its release, precision, what is not as usual; its
    machine where there are several, and demo weights where not all have them."""
    several = len({record.machine(r) for r in records}) > 1
    mixed = not all(r["demo"] for r in records)
    found = []
    for r in records:
        made = [f"{r['engine']} {r['engine_version'] or ''}".strip(), str(r["precision"]),
                *tables.unusual(r), *([record.machine(r)] if several else [])]
        found.append((", ".join(made) + (words["demo"] if mixed and r["demo"] else ""), r))
    return found


def intro(records, words):
    """The sentence above a table: where, when and with which weights."""
    def all_of(values):
        return " / ".join(sorted({str(v or "–") for v in values}))

    dates = sorted(r["date"][:10] for r in records)
    return words["intro"].format(
        hardware=all_of(r["hardware"]["name"] for r in records),
        threads=all_of(r["threads"] for r in records),
        dates=dates[0] if dates[0] == dates[-1] else f"{dates[0]} – {dates[-1]}",
        demo=words["demo"] if all(r["demo"] for r in records) else "")


def of_model(records, words):
    """The table of one model's README: a row per setting."""
    rows = []
    for made, r in sorted(labels(records, words), key=lambda pair: (pair[0], pair[1]["batch"])):
        compute, whole, spread = figures(r, words)
        ms = r["compute_only"]["ms"]
        times = [f"{ms[k]:,.2f}" if ms else "–" for k in ("median", "p99")]
        rows.append([made, str(r["batch"]), compute, whole, *times, spread])
    return markdown(words["model"], rows, 1)


def of_all(records, words):
    """The table of the top README: a row per model and label, at its best batch."""
    best = {}
    for made, r in sorted(labels(records, words), key=lambda p: p[1]["compute_only"]["fps"]):
        best[r["model"], made] = r
    rows = []
    for (model, made), r in sorted(best.items()):
        compute, whole, spread = figures(r, words)
        rows.append([model, made, words["at"].format(compute, r["batch"]), whole, spread])
    return markdown(words["all"], rows, 2)


def renewed(path, records, words, table):
    """The text of the README `path` with its table renewed; None where it has no marks."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    if BEGIN not in text and END not in text:
        return None, text
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise cli.Failure(f"{path} has not one {BEGIN} followed by one {END}", "fix the marks")
    shown = f"{intro(records, words)}\n\n{table(records, words)}\n" if records else ""
    head, tail = text[:text.index(BEGIN)], text[text.index(END):]
    return f"{head}{BEGIN}\n{shown}{tail}", text


def record_from(source, reference):
    """Make the records in the file `source` the reference."""
    if not source.exists():
        raise cli.Failure(f"{source} does not exist", "run make sweep")
    cli.write_json(reference, record.read(source))


def main():
    args = get_args()
    reference = args.root / "results" / "reference.json"
    if args.source:
        record_from(args.source, reference)
    records = record.read(reference)
    if not records:
        raise cli.Failure(f"{reference} holds no records",
                          "make sweep, then python3 -m tools.report.readme --from FILE")
    folders = {args.root: None}
    for path in sorted(args.root.glob("*/published.json")):
        folders[path.parent] = cli.read_json(path, "restore the file")["model"]
    stale, seen = [], 0
    for folder, model in folders.items():
        mine = [r for r in records if model in (None, r["model"])]
        for name, words in WORDS.items():
            new, old = renewed(folder / name, mine, words, of_model if model else of_all)
            seen += new is not None
            if new not in (None, old):
                stale.append(str((folder / name).relative_to(args.root)))
                if not args.check:
                    with cli.whole_file(folder / name) as part:
                        part.write_text(new, encoding="utf-8")
    if args.check and stale:
        raise cli.Failure(f"the measured tables of {', '.join(stale)} are not those of "
                          f"{reference.relative_to(args.root)}", "make readme")
    print(f"{seen} READMEs with measured figures: "
          + (f"wrote {', '.join(stale)}" if stale else "all are those of the recorded results"))


if __name__ == "__main__":
    cli.run(main)
