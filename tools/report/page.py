"""The report as HTML: a part for each model with its charts and tables. figures.py gathers what
is shown, tables.py and charts.py show it."""
import textwrap
from pathlib import Path

from common.speed import bench
from tools.report import charts, record
from tools.report.figures import published_fps, verdict
from tools.report.tables import (
    DEMO,
    accuracy_table,
    esc,
    origin_table,
    side_by_side,
    speed_table,
    table,
    what,
    with_demo,
)

INTRO = """
<h1>Offline inference: published and measured</h1>
<p><b>Published</b> figures (dashed lines, <i>italics</i>) are ModelZoo's, taken on its machines:
a reference, not a comparison. <b>Measured</b> figures (solid lines) were taken on the hardware
that is named with them.</p>
<p class="soft"><b>Compute only</b> is the engine's run of a batch and nothing else. <b>From
.bin</b> is the whole way from reading the bins to the last result file, without the start of the
process and the loading of the model. <b>Spread</b> is the largest less the smallest throughput
of the repeats over their median, drawn as bars; where that, or the share of the CPUs that other
programs took meanwhile, is above {noisy:.0%}, a figure is noisy and not to be relied on. {demo}
are generated: speed is that of the network, accuracy says nothing about the model. Made
{made}.</p>
"""


def curves(name, color, records):
    """Two charts.Lines of records of one engine and precision: compute only, and from .bin."""
    lines, label = [], textwrap.wrap(name, 22)
    for part, mark, word in (("compute_only", "o", "● compute"), ("from_bin", "s", "■ from .bin")):
        have = {r["batch"]: r[part] for r in records if r[part]}
        if not have:
            continue
        fps = {batch: p["fps"] for batch, p in have.items()}
        bars = {batch: (min(p["repeats"]), max(p["repeats"])) for batch, p in have.items()
                if p.get("repeats")}
        label.append(f"{word} {charts.best(fps)}")
        lines.append(charts.Line("", fps, color, mark=mark, bars=bars))
    lines[0].label = "\n".join(label)
    return lines


def lines_of(records):
    """{machine: [charts.Line]}."""
    groups = {}
    for r in records:
        series = groups.setdefault(record.machine(r), {})
        series.setdefault((what(r), r["demo"]), []).append(r)
    result = {}
    for hardware, series in groups.items():
        for color, ((name, _), rows) in enumerate(series.items()):
            result.setdefault(hardware, []).extend(curves(name, color, rows))
    return result


def section(folder, published, records, results):
    """The part of one model, and the panels of its charts."""
    lines = [charts.Line(f"{chip}\nbest {charts.best(fps)}", fps, i, published=True)
             for i, (chip, fps) in enumerate(published_fps(published).items())]
    panels = [("Published by ModelZoo", lines)] if lines else []
    panels += [(f"Measured: {name}", found) for name, found in lines_of(records).items()]
    key = "".join(c for c in folder.lower() if c.isalnum())
    drawn = "".join(f"<div>{charts.svg(title, found, f'{key}{i}')}</div>"
                    for i, (title, found) in enumerate(panels))
    if not records:
        drawn += f"<p>Not timed here yet: <code>make sweep MODELS={esc(folder)}</code></p>"
    parts = [f'<section id="{key}">\n<h2>{esc(published["model"])}</h2>',
             f'<p class="soft">Published figures: {esc(published["source"])}.</p>',
             f'<div class="charts">{drawn}</div>']
    if records:
        parts += ["<h3>Throughput, and latency of a batch</h3>", speed_table(records, published)]
    if len({record.machine(r) for r in records}) > 1:
        parts += ["<h3>Machines side by side: compute only, images/s</h3>", side_by_side(records)]
    parts += ["<h3>Accuracy</h3>", accuracy_table(results, published)]
    if not results:
        parts.append("<p>Not scored here yet: "
                     f"<code>make online eval MODELS={esc(folder)}</code></p>")
    if records or results:
        parts += ["<h3>What produced these figures</h3>", origin_table(records, results)]
    return "\n".join([*parts, "</section>"]), panels


def overview_row(published, records, results):
    """A row of overview() for one model."""
    theirs = max(published["fps"], key=published["fps"].get, default=None)
    ours = max(records, key=lambda r: r["compute_only"]["fps"], default=None)
    verdicts = [verdict(r) for kind, r in results if kind == "offline model"]
    found = [v for v in verdicts if v[1]] or verdicts or [("not scored", "")]
    cells = [published["model"],
             f"{published['fps'][theirs]:,.1f} at {theirs}" if theirs else None]
    if ours:
        whole = ours["from_bin"]
        where = f"{record.machine(ours)}, {what(ours)}"
        cells += [f"{ours['compute_only']['fps']:,.1f} at {ours['batch']}",
                  f"{whole['fps']:,.1f}" if whole else None, with_demo(where, ours["demo"])]
    else:
        cells += [None] * 3
    return [*cells, f"{published['top1']:g} %" if published["top1"] else None, found[0]]


def overview(models):
    """A row per model: its best figures, published and measured."""
    return table([("model", "text"), ("published: best images/s", "published"),
                  "measured: compute only, images/s", "from .bin, images/s",
                  ("measured on", "text"), ("published Top-1", "published"),
                  "≥ 99 % of the published"], [overview_row(*model[1:]) for model in models])


def page(models, made):
    """The page as text, and {folder: panels} of what can be drawn. models: (folder, content of
    published.json, records of speed, results of accuracy); made: the date."""
    parts = {model[0]: section(*model) for model in models}
    css = Path(__file__).with_name("report.css").read_text(encoding="utf-8")
    text = f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<title>Offline inference: published and measured</title><link rel="icon" href="data:,"/>
<style>
{css}</style></head>
<body>{INTRO.format(noisy=bench.NOISY, demo=DEMO.format("demo weights"), made=esc(made))}
{overview(models)}
{"".join(part for part, _ in parts.values())}
</body></html>
"""
    return text, {folder: panels for folder, (_, panels) in parts.items() if panels}
