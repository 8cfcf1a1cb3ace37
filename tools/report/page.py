"""The report as HTML: a part for each model with its charts and tables. tools/report/figures.py gathers what is shown."""
import html
import sys
import textwrap
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from common.speed import bench  # noqa: E402
from tools.report import (
    charts,
    record,  # noqa: E402
)
from tools.report.figures import published_fps, to_torch, verdict, weights_of  # noqa: E402

DEMO = ' <span class="demo">demo weights</span>'


def esc(value):
    """Text of a record or result for the page; a dash where there is none."""
    return html.escape(str(value)) if value not in (None, "") else "–"


def short(digest):
    """The first digits of a hash."""
    return f"<code>{esc((digest or '')[:12])}</code>"


def table(head, rows):
    """A table in a box of its own that scrolls. A cell is HTML, or (HTML, class); the class of a heading is its column's."""
    def row(cells, tag):
        pairs = [c if isinstance(c, tuple) else (c, "") for c in cells]
        kinds = [" ".join(filter(None, dict.fromkeys((kind, h[1] if isinstance(h, tuple) else ""))))
                 for (_, kind), h in zip(pairs, head)]
        return "".join(f'<{tag} class="{kind}">{text}</{tag}>' if kind else f"<{tag}>{text}</{tag}>"
                       for (text, _), kind in zip(pairs, kinds))
    return (f'<div class="wide"><table><thead><tr>{row(head, "th")}</tr></thead>\n<tbody>'
            + "\n".join(f"<tr>{row(cells, 'td')}</tr>" for cells in rows) + "</tbody></table></div>")


def what(r):
    """Engine and precision of a record, and what is not as usual."""
    more = [r["input"] if r["input"] != "float32" else "", r["runner"] if r["runner"] != "ais_bench" else "",
            "batches in a bin" if r["bins"] == "batch" else ""]
    return ", ".join([f"{r['engine']} {r['precision'] or ''}".strip(), *filter(None, more)])


def lines_of(records):
    """{hardware: [Line]}: two curves an engine and precision, the computation alone and from .bin."""
    groups, result = {}, {}
    for r in records:
        groups.setdefault(r["hardware"]["name"], {}).setdefault((what(r), r["demo"]), []).append(r)
    for hardware, series in groups.items():
        for color, ((name, _), rows) in enumerate(series.items()):
            parts = {part: {r["batch"]: r[part] for r in rows if r[part]} for part in ("compute_only", "from_bin")}
            fps = {part: {b: p["fps"] for b, p in have.items()} for part, have in parts.items()}
            label = "\n".join([*textwrap.wrap(name, 22), f"● compute {charts.best(fps['compute_only'])}",
                               *([f"■ from .bin {charts.best(fps['from_bin'])}"] if fps["from_bin"] else [])])
            for part, text, shape in (("compute_only", label, "o"), ("from_bin", "", "s")):
                bars = {b: (min(p["repeats"]), max(p["repeats"])) for b, p in parts[part].items() if p.get("repeats")}
                if fps[part]:
                    result.setdefault(hardware, []).append(charts.Line(text, fps[part], color, mark=shape, bars=bars))
    return result


def speed_table(records, published):
    """One row a record; the published figure of the same batch stands beside it in italics."""
    def series(r):
        return r["hardware"]["name"], what(r), str(r["demo"])
    best = {}
    for r in records:
        best[series(r)] = max(best.get(series(r), 0), r["compute_only"]["fps"])
    rows = []
    for r in sorted(records, key=lambda r: (series(r), r["batch"])):
        fps, ms, whole = r["compute_only"]["fps"], r["compute_only"]["ms"] or {}, r["from_bin"] or {}
        spread, noisy = record.reliability(r)
        theirs = published["fps"].get(str(r["batch"]))
        rows.append([esc(what(r)) + DEMO * bool(r["demo"]), esc(r["hardware"]["name"]), str(r["batch"]),
                     (f"best {fps:,.1f}", "best") if fps == best[series(r)] else f"{fps:,.1f}",
                     f"{whole['fps']:,.1f}" if whole else "–",
                     *(f"{ms[k]:,.2f}" if ms else "–" for k in ("min", "median", "p99")),
                     (f"{spread}{', noisy' * noisy}", "bad" * noisy),
                     f"{theirs:,.2f}" if theirs else "–"])
    return table([("engine, precision", "text"), ("on", "text"), "batch", "compute only, images/s", "from .bin, images/s",
                  "min ms", "median ms", "p99 ms", "spread", (f"published, {esc(published['chip'])}", "published")], rows)


def accuracy_table(results, published):
    """torch, ONNX Runtime, offline model and published, with the difference to torch and the verdict."""
    rows = []
    for kind, r in sorted(results, key=lambda pair: ("torch", "ONNX Runtime", "offline model").index(pair[0])):
        by, difference = r["produced_by"], to_torch(r, results)
        words, color = verdict(r, published) if kind != "torch" else ("", "")
        rows.append([kind + DEMO.replace("demo weights", "demo") * bool(r["demo"]),
                     f"{esc(by.get('engine'))} {esc(by.get('engine_version'))}, {esc(by.get('precision'))}, "
                     f"batch {esc(by.get('batch'))}",
                     f"{r['top1']:.2f} %", f"{r['top5']:.2f} %", f"{r['total']:,}{' partial' * r['partial']}",
                     "" if kind == "torch" else "–" if difference is None else f"{difference:+.3f}", (words, color),
                     r["date"][:10]])
    for name, top1, top5 in (("PyTorch", published.get("top1_torch"), published.get("top5_torch")),
                             (published["chip"], published["top1"], published.get("top5"))):
        if not top1 and not published["top1"]:
            continue  # nobody has published any
        rows.append([(t, "published") for t in (f"published, {esc(name)}", "", f"{top1:g} %" if top1 else "–",
                                                f"{top5:g} %" if top5 else "–", "50,000", "", "", "")])
    return table([("Top-1 of", "text"), ("made with", "text"), "Top-1", "Top-5", "images", "minus torch, points",
                  "≥ 99 % of the reference", "date"], rows)


def file_name(name):
    """A file's name, which may be broken behind its underscores."""
    return esc(name).replace("_", "_<wbr/>")


def origin_table(records, results):
    """What produced the figures: one row for each set of inputs, programs and machine."""
    rows = {}
    for r in records:
        key = ("speed: " + esc(what(r)) + DEMO * bool(r["demo"]), esc(r["engine_version"]), esc(r["hardware"]["name"]),
               esc(r["threads"]), file_name(r["weights"]["file"]), short(r["weights"]["sha256"]), short(r["onnx_sha256"]),
               esc(" ".join(f"{k} {v}" for k, v in r["versions"].items())))
        rows.setdefault(key, []).append(r["date"][:10])
    for kind, r in results:
        by = r["produced_by"]
        onnx = by.get("onnx") or {}
        metadata = onnx.get("metadata") or {}
        versions = {**r["versions"], **{k: metadata[k] for k in ("torch", "onnx") if k in metadata}}
        key = (f"accuracy: {kind}" + DEMO.replace("demo weights", "demo") * bool(r["demo"]), esc(by.get("engine_version")),
               esc(by.get("cpu") or by.get("soc") or by.get("device")), "–",
               file_name(metadata.get("weights") or Path(by.get("weights") or "").name), short(weights_of(r)),
               short(onnx.get("sha256")), esc(" ".join(f"{k} {v}" for k, v in versions.items())))
        rows.setdefault(key, []).append(r["date"][:10])
    shown = [[*key, min(dates) if min(dates) == max(dates) else f"{min(dates)} – {max(dates)}"] for key, dates in rows.items()]
    return table([("figures", "text"), ("engine version", "text"), ("on", "text"), "threads", ("weights", "text wrap"),
                  ("SHA-256 of weights", "text"), ("of ONNX", "text"), ("versions", "text wrap"), "date"], shown)


def section(folder, published, records, results):
    """The part of one model, and the panels of its charts."""
    lines = [charts.Line(f"{chip}\nbest {charts.best(fps)}", fps, i, published=True)
             for i, (chip, fps) in enumerate(published_fps(published).items())]
    panels = [(title, found) for title, found in (("Published by ModelZoo", lines), *(
        (f"Measured: {name}", measured) for name, measured in lines_of(records).items())) if found]
    key = "".join(c for c in folder.lower() if c.isalnum())
    drawn = "".join(f"<div>{charts.svg(title, found, f'{key}{i}')}</div>" for i, (title, found) in enumerate(panels))
    todo = esc(f"make sweep MODELS={folder}")
    parts = [f'<section id="{key}">\n<h2>{esc(published["model"])}</h2>',
             f'<p class="soft">Published figures: {esc(published["source"])}.</p>',
             f'<div class="charts">{drawn}{"" if records else f"<p>Not timed here yet: <code>{todo}</code></p>"}</div>',
             "<h3>Throughput, and latency of a batch</h3>" + speed_table(records, published) if records else "",
             "<h3>Accuracy</h3>" + accuracy_table(results, published),
             "" if results else f"<p>Not scored here yet: <code>{esc(f'make online eval MODELS={folder}')}</code></p>",
             "<h3>What produced these figures</h3>" + origin_table(records, results) if records or results else "",
             "</section>"]
    return "\n".join(p for p in parts if p), panels


def overview(models):
    """One row a model: its best figures, published and measured."""
    rows = []
    for _, published, records, results in models:
        theirs = max(published["fps"], key=published["fps"].get, default=None)
        ours = max(records, key=lambda r: r["compute_only"]["fps"], default=None)
        verdicts = [verdict(r, published) for kind, r in results if kind == "offline model"]
        rows.append([esc(published["model"]), f"{published['fps'][theirs]:,.1f} at {theirs}" if theirs else "–",
                     f"{ours['compute_only']['fps']:,.1f} at {ours['batch']}" if ours else "–",
                     f"{ours['from_bin']['fps']:,.1f}" if ours and ours["from_bin"] else "–",
                     f"{esc(ours['hardware']['name'])}, {esc(what(ours))}{DEMO * bool(ours['demo'])}" if ours else "–",
                     f"{published['top1']:g} %" if published["top1"] else "–",
                     ([v for v in verdicts if v[1]] or verdicts or [("not scored", "")])[0]])
    return table([("model", "text"), ("published: best images/s", "published"), "measured: compute only, images/s",
                  "from .bin, images/s", ("measured on", "text"), ("published Top-1", "published"),
                  "≥ 99 % of the reference"], rows)


def page(models, made):
    """The page as text, and {folder: panels}. models: (folder, published.json, records of speed, results of accuracy)."""
    parts = {model[0]: section(*model) for model in models}
    css = Path(__file__).with_name("report.css").read_text(encoding="utf-8")
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"/><meta name="viewport" content="width=device-width, initial-scale=1"/>
<title>Offline inference: published and measured</title><link rel="icon" href="data:,"/>
<style>
{css}</style></head>
<body>
<h1>Offline inference: published and measured</h1>
<p><b>Published</b> figures (dashed lines, <i>italics</i>) are ModelZoo's, taken on its machines: a reference, not a comparison.
<b>Measured</b> figures (solid lines) were taken on the hardware that is named with them.</p>
<p class="soft"><b>Compute only</b> is the engine's run of a batch and nothing else. <b>From .bin</b> is the whole way from
reading the bins to the last result file, without the start of the process and the loading of the model. <b>Spread</b> is the
largest less the smallest throughput of the repeats over their median, drawn as bars; where that, or the share of the CPUs that
other programs took meanwhile, is above {bench.NOISY:.0%}, a figure is noisy and not to be relied on. {DEMO.strip()} are
generated: speed is that of the network, accuracy says nothing about the model. Made {esc(made)}.</p>
{overview(models)}
{"".join(text for text, _ in parts.values())}
</body></html>
""", {folder: panels for folder, (_, panels) in parts.items()}
