"""Write the READMEs' tables of measured figures, between two marks, from the recorded results/reference.json.

    python3 tools/report/readme.py                            (make readme)
    python3 tools/report/readme.py --from results/HOST.json   (make readme FROM=…) these figures become the recorded ones
    python3 tools/report/readme.py --check                    (make check-readme) change nothing; fail when a table is not theirs
"""
import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from common import cli  # noqa: E402
from tools.report import record  # noqa: E402

BEGIN, END = "<!-- measured:begin -->", "<!-- measured:end -->"
WORDS = {
    "README.md": {
        "intro": "Measured on {hardware}, {threads} threads, {dates}{demo}: another machine than the published figures'.",
        "demo": ", demo weights",
        "head": ("engine, precision", "batch", "compute only, images/s", "from .bin, images/s", "median ms", "p99 ms",
                 "spread"),
        "top": ("model", "engine, precision", "compute only, images/s", "from .bin, images/s", "spread"),
        "at": "{} at {}", "noisy": "noisy"},
    "README.zh-CN.md": {
        "intro": "实测环境：{hardware}，{threads} 线程，{dates}{demo}；与公布数据不是同一台机器。",
        "demo": "，演示权重",
        "head": ("引擎，精度", "batch", "仅计算，张/秒", "从 .bin 起，张/秒", "中位数 ms", "p99 ms", "波动"),
        "top": ("模型", "引擎，精度", "仅计算，张/秒", "从 .bin 起，张/秒", "波动"),
        "at": "{}（batch {}）", "noisy": "波动过大"},
}


def get_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; name what is stale and exit 1")
    parser.add_argument("--from", dest="source", type=Path, metavar="JSON", help="take these records as the reference first")
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository (default: this one)")
    return parser.parse_args(argv)


def markdown(head, rows, left):
    """A Markdown table whose first `left` columns are text, the others numbers."""
    rule = ["---" if i < left else "---:" for i in range(len(head))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, rule, *rows])


def figures(r, words):
    """(computation, from .bin, spread) of a record as text."""
    whole = r["from_bin"] or {}
    spread, noisy = record.reliability(r)
    return f"{r['compute_only']['fps']:,.1f}", f"{whole['fps']:,.1f}" if whole else "–", spread + f", {words['noisy']}" * noisy


def engine(r):
    return f"{r['engine']} {r['engine_version'] or ''}, {r['precision']}".replace(" ,", ",")


def intro(records, words):
    """The sentence above a table: where, when and with which weights."""
    dates = sorted(r["date"][:10] for r in records)
    return words["intro"].format(
        hardware=" / ".join(sorted({r["hardware"]["name"] for r in records})),
        threads=" / ".join(sorted({str(r["threads"] or "–") for r in records})),
        dates=dates[0] if dates[0] == dates[-1] else f"{dates[0]} – {dates[-1]}",
        demo=words["demo"] if any(r["demo"] for r in records) else "")


def of_model(records, words):
    """The table of one model's README: a row a setting."""
    rows = []
    for r in sorted(records, key=lambda r: (engine(r), r["batch"])):
        compute, whole, spread = figures(r, words)
        ms = r["compute_only"]["ms"] or {}
        rows.append([engine(r), str(r["batch"]), compute, whole, *(f"{ms[k]:,.2f}" if ms else "–" for k in ("median", "p99")),
                     spread])
    return f"{intro(records, words)}\n\n{markdown(words['head'], rows, 1)}"


def of_all(records, words):
    """The table of the top README: a row a model, engine and precision, at its best batch."""
    best = {}
    for r in records:
        key = (r["model"], engine(r))
        if key not in best or r["compute_only"]["fps"] > best[key]["compute_only"]["fps"]:
            best[key] = r
    rows = []
    for (model, made), r in sorted(best.items()):
        compute, whole, spread = figures(r, words)
        rows.append([model, made, words["at"].format(compute, r["batch"]), whole, spread])
    return f"{intro(records, words)}\n\n{markdown(words['top'], rows, 2)}"


def main():
    args = get_args()
    reference = args.root / "results" / "reference.json"
    if args.source and args.check:
        raise cli.Usage("--from and --check do not go together", "leave one away")
    if args.source:
        if not args.source.exists():
            raise cli.Failure(f"{args.source} does not exist", "run make sweep")
        # How a run was started (interpreter, folders) is that host's affair.
        cli.write_json(reference, [{**r, "compute_only": {k: v for k, v in r["compute_only"].items() if k != "command"}}
                                   for r in record.read(args.source)])
    records = record.read(reference)
    if not records:
        raise cli.Failure(f"{reference} holds no records", "make sweep, then make readme FROM=results/<host>.json")
    readmes = {args.root: "", **{p.parent: cli.read_json(p, "restore the file")["model"]
                                 for p in sorted(args.root.glob("*/published.json"))}}
    stale, seen = [], 0
    for folder, model in readmes.items():
        for name, words in WORDS.items():
            path = folder / name
            text = path.read_text(encoding="utf-8") if path.exists() else ""
            if BEGIN not in text and END not in text:
                continue
            if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
                raise cli.Failure(f"{path} has not one {BEGIN} followed by one {END}", "mend the marks")
            seen += 1
            have = [r for r in records if r["model"] == model] if model else records
            table = (of_model if model else of_all)(have, words) + "\n" if have else ""
            head, tail = text[:text.index(BEGIN) + len(BEGIN)], text[text.index(END):]
            new = f"{head}\n{table}{tail}"
            if new != text:
                stale.append(path)
                if not args.check:
                    with cli.whole_file(path) as part:
                        part.write_text(new, encoding="utf-8")
    names = ", ".join(str(p.relative_to(args.root)) for p in stale)
    if args.check and stale:
        raise cli.Failure(f"the measured tables of {names} are not those of {reference.relative_to(args.root)}",
                          "run: make readme")
    print(f"{seen} READMEs with measured figures: " + (f"wrote {names}" if stale else "all are those of the recorded results"))


if __name__ == "__main__":
    cli.run(main)
