"""Tables of the report: their cells are plain texts, which page.html escapes."""
import dataclasses
from pathlib import Path

from tools.report import record
from tools.report.figures import to_torch, verdict, weights_of


@dataclasses.dataclass
class Cell:
    """A cell: a text or number, None for a dash; its class; a mark of the demo; a part of the
    page that it leads to."""

    text: object
    kind: str = ""
    demo: str = ""
    link: str = ""


@dataclasses.dataclass
class Table:
    """Headings, whose kinds are their columns', and rows, of Cells."""

    head: list
    rows: list


def table(head, rows):
    """A Table of Cells, values, or (value, class)."""
    def cells(values):
        return [v if isinstance(v, Cell) else Cell(*v) if isinstance(v, tuple) else Cell(v)
                for v in values]

    return Table(cells(head), [cells(row) for row in rows])


def with_demo(text, is_demo, mark="demo weights"):
    """A Cell, marked where weights or images are a demo's."""
    return Cell(text, demo=mark if is_demo else "")


def short(digest):
    """The first digits of a hash."""
    return (digest or "")[:12] or None, "code"


def unusual(r):
    """[text] of what in the setting of a record is not as usual."""
    more = [r["input"] if r["input"] != "float32" else "",
            r["runner"] if r["runner"] != "ais_bench" else "",
            "batches in a bin" if r["bins"] == "batch" else ""]
    return list(filter(None, more))


def what(r):
    """Engine, its release and precision of a record, and what is not as usual."""
    made = " ".join(filter(None, (r["engine"], r["engine_version"], r["precision"])))
    return ", ".join([made, *unusual(r)])


def spread_of(r):
    """The spread of a record's figures, marked where they are noisy."""
    spread, noisy = record.reliability(r)
    return (f"{spread}, noisy", "bad") if noisy else spread


def speed_table(records, published):
    """A row per record, the published figure of the same batch in italics."""
    def series(r):
        return record.machine(r), what(r), str(r["demo"])

    best = {}
    for r in records:
        best[series(r)] = max(best.get(series(r), 0), r["compute_only"]["fps"])
    rows = []
    for r in sorted(records, key=lambda r: (series(r), r["batch"])):
        fps, ms, whole = r["compute_only"]["fps"], r["compute_only"]["ms"], r["from_bin"]
        theirs = published["fps"].get(str(r["batch"]))
        rows.append([
            with_demo(what(r), r["demo"]), record.machine(r), r["batch"],
            (f"best {fps:,.1f}", "best") if fps == best[series(r)] else f"{fps:,.1f}",
            f"{whole['fps']:,.1f}" if whole else None,
            *(f"{ms[k]:,.2f}" if ms else None for k in ("min", "median", "p99")),
            spread_of(r), f"{theirs:,.2f}" if theirs else None])
    theirs = f"published, {published['chip'] or '–'}"
    return table([("engine, precision", "text"), ("on", "text"), "batch",
                  "compute only, images/s", "from .bin, images/s", "min ms", "median ms",
                  "p99 ms", "spread", (theirs, "published")], rows)


def side_by_side(records):
    """A row per engine, release, precision and batch; a column per machine."""
    machines = sorted({record.machine(r) for r in records})
    rows = {}
    for r in sorted(records, key=lambda r: (what(r), str(r["demo"]), r["batch"])):
        row = rows.setdefault((what(r), r["demo"], r["batch"]), {})
        noisy = record.reliability(r)[1]
        row[record.machine(r)] = f"{r['compute_only']['fps']:,.1f}{', noisy' if noisy else ''}"
    return table([("engine, precision", "text"), "batch", *machines],
                 [[with_demo(made, demo), batch, *(row.get(m) for m in machines)]
                  for (made, demo, batch), row in rows.items()])


def accuracy_row(kind, r, results):
    """A row of accuracy_table() for one result."""
    by, difference = r["produced_by"], to_torch(r, results)
    made = (f"{by.get('engine') or '–'} {by.get('engine_version') or '–'}, "
            f"{by.get('precision') or '–'}, batch {by.get('batch') or '–'}")
    beside = "" if kind == "torch" else None if difference is None else f"{difference:+.3f}"
    return [with_demo(kind, r["demo"], "demo"), made, f"{r['top1']:.2f} %", f"{r['top5']:.2f} %",
            f"{r['total']:,}{' partial' if r['partial'] else ''}", beside,
            verdict(r) if kind != "torch" else "", r["date"][:10]]


def accuracy_table(results, published):
    """torch, ONNX Runtime, offline model and published, each with its difference to torch."""
    order = ("torch", "ONNX Runtime", "offline model")
    rows = [accuracy_row(kind, r, results)
            for kind, r in sorted(results, key=lambda pair: order.index(pair[0]))]
    theirs = (("PyTorch", published.get("top1_torch"), published.get("top5_torch")),
              (published["chip"], published["top1"], published.get("top5")))
    for name, *tops in theirs if published["top1"] else ():
        texts = [f"{top:g} %" if top else "–" for top in tops]
        cells = (f"published, {name}", "", *texts, "50,000", "", "", "")
        rows.append([(text, "published") for text in cells])
    return table([("Top-1 of", "text"), ("made with", "text"), "Top-1", "Top-5", "images",
                  "minus torch, points", ("reaches 99 % of the published", "text wrap"),
                  "date"], rows)


def versions(found):
    """{program: version} as text."""
    return " ".join(f"{name} {version}" for name, version in found.items() if version)


def speed_origin(r):
    """What produced a record of speed: (its row of origin_table() without date, whether demo)."""
    return (f"speed: {what(r)}", r["engine_version"], r["hardware"]["name"], r["threads"],
            r["weights"]["file"], short(r["weights"]["sha256"]), short(r["onnx_sha256"]),
            versions(r["versions"])), bool(r["demo"])


def accuracy_origin(kind, r):
    """As speed_origin(), of a result of accuracy."""
    by = r["produced_by"]
    onnx = by.get("onnx") or {}
    found = {"python": (by.get("host") or {}).get("python"), "torch": onnx.get("torch"),
             "onnx": onnx.get("onnx")}
    return (f"accuracy: {kind}", by.get("engine_version"),
            by.get("cpu") or by.get("soc") or by.get("device"), None,
            onnx.get("weights") or Path(by.get("weights") or "").name, short(weights_of(r)),
            short(onnx.get("sha256")), versions(found)), bool(r["demo"])


def origin_table(records, results):
    """What produced the figures: a row for each set of inputs, programs and machine."""
    rows = {}
    for r in records:
        rows.setdefault(speed_origin(r), []).append(r["date"][:10])
    for kind, r in results:
        rows.setdefault(accuracy_origin(kind, r), []).append(r["date"][:10])
    shown = []
    for ((name, *cells), demo), dates in rows.items():
        first, last = min(dates), max(dates)
        shown.append([with_demo(name, demo, "demo"), *cells,
                      first if first == last else f"{first} – {last}"])
    return table([("figures", "text"), ("engine version", "text"), ("on", "text"), "threads",
                  ("weights", "text wrap"), ("SHA-256 of weights", "text"), ("of ONNX", "text"),
                  ("versions", "text wrap"), "date"], shown)
