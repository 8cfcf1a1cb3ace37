"""Tables of the report as HTML. Every cell is escaped, but for what is an Html already."""
import html
from pathlib import Path

from tools.report import record
from tools.report.figures import to_torch, verdict, weights_of


class Html(str):
    """Text that is HTML and not to be escaped."""


DEMO = '<span class="demo">{}</span>'


def esc(value):
    """HTML of a value: text escaped, an Html as it is, a dash for nothing."""
    if isinstance(value, Html):
        return value
    return Html(html.escape(str(value)) if value not in (None, "") else "–")


def with_demo(text, is_demo, mark="demo weights"):
    """`text`, marked where weights or images are a demo's."""
    return Html(f"{esc(text)} {DEMO.format(mark)}") if is_demo else esc(text)


def short(digest):
    """The first digits of a hash."""
    return Html(f"<code>{esc((digest or '')[:12])}</code>")


def file_name(name):
    """A file's name, which may be broken after its underscores."""
    return Html(esc(name).replace("_", "_<wbr/>"))


def row_of(cells, columns, tag):
    """A row of a table: cells are values, or (value, class); `columns` the columns' classes."""
    shown = []
    for cell, column in zip(cells, columns):
        value, kind = cell if isinstance(cell, tuple) else (cell, "")
        kinds = " ".join(dict.fromkeys(filter(None, (kind, column))))
        start = f'<{tag} class="{html.escape(kinds)}">' if kinds else f"<{tag}>"
        shown.append(f"{start}{esc(value) if value != '' else ''}</{tag}>")
    return f"<tr>{''.join(shown)}</tr>"


def table(head, rows):
    """A table in a box of its own that scrolls. The class of a heading is its column's."""
    columns = [h[1] if isinstance(h, tuple) else "" for h in head]
    body = "\n".join(row_of(cells, columns, "td") for cells in rows)
    return (f'<div class="wide"><table><thead>{row_of(head, columns, "th")}</thead>\n'
            f"<tbody>{body}</tbody></table></div>")


def what(r):
    """Engine, its release and precision of a record, and what is not as usual."""
    more = [r["input"] if r["input"] != "float32" else "",
            r["runner"] if r["runner"] != "ais_bench" else "",
            "batches in a bin" if r["bins"] == "batch" else ""]
    made = " ".join(filter(None, (r["engine"], r["engine_version"], r["precision"])))
    return ", ".join([made, *filter(None, more)])


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
        spread, noisy = record.reliability(r)
        theirs = published["fps"].get(str(r["batch"]))
        rows.append([
            with_demo(what(r), r["demo"]), record.machine(r), r["batch"],
            (f"best {fps:,.1f}", "best") if fps == best[series(r)] else f"{fps:,.1f}",
            f"{whole['fps']:,.1f}" if whole else None,
            *(f"{ms[k]:,.2f}" if ms else None for k in ("min", "median", "p99")),
            (f"{spread}, noisy", "bad") if noisy else spread,
            f"{theirs:,.2f}" if theirs else None])
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
                  "minus torch, points", "≥ 99 % of the published", "date"], rows)


def speed_origin(r):
    """What produced a record of speed: a row of origin_table() without its date."""
    return (with_demo(f"speed: {what(r)}", r["demo"]), esc(r["engine_version"]),
            esc(r["hardware"]["name"]), esc(r["threads"]), file_name(r["weights"]["file"]),
            short(r["weights"]["sha256"]), short(r["onnx_sha256"]),
            esc(" ".join(f"{k} {v}" for k, v in r["versions"].items())))


def accuracy_origin(kind, r):
    """As speed_origin(), of a result of accuracy."""
    by = r["produced_by"]
    onnx = by.get("onnx") or {}
    versions = {"python": (by.get("host") or {}).get("python"),
                **{k: onnx.get(k) for k in ("torch", "onnx")}}
    return (with_demo(f"accuracy: {kind}", r["demo"], "demo"), esc(by.get("engine_version")),
            esc(by.get("cpu") or by.get("soc") or by.get("device")), esc(None),
            file_name(onnx.get("weights") or Path(by.get("weights") or "").name),
            short(weights_of(r)), short(onnx.get("sha256")),
            esc(" ".join(f"{k} {v}" for k, v in versions.items() if v)))


def origin_table(records, results):
    """What produced the figures: a row for each set of inputs, programs and machine."""
    rows = {}
    for r in records:
        rows.setdefault(speed_origin(r), []).append(r["date"][:10])
    for kind, r in results:
        rows.setdefault(accuracy_origin(kind, r), []).append(r["date"][:10])
    shown = []
    for cells, dates in rows.items():
        first, last = min(dates), max(dates)
        shown.append([*cells, first if first == last else f"{first} – {last}"])
    return table([("figures", "text"), ("engine version", "text"), ("on", "text"), "threads",
                  ("weights", "text wrap"), ("SHA-256 of weights", "text"), ("of ONNX", "text"),
                  ("versions", "text wrap"), "date"], shown)
