"""The report as HTML: a part for each model with its charts and tables. figures.py gathers what
is shown, tables.py and charts.py show it, page.html has the words."""
import textwrap
from pathlib import Path

import jinja2
from markupsafe import Markup

from common.speed import bench
from tools.report import charts, operators, record, tables
from tools.report.figures import published_fps, verdict
from tools.report.tables import Cell, spread_of, table, what, with_demo

HERE = Path(__file__).parent


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


def latency(name, color, records):
    """[a charts.Line of the median milliseconds of a batch], [] where they are not known."""
    ms = {r["batch"]: r["compute_only"]["ms"]["median"] for r in records if r["compute_only"]["ms"]}
    if not ms:
        return []
    least = min(ms)
    label = [*textwrap.wrap(name, 22), f"{charts.number(ms[least])} ms at {least}"]
    return [charts.Line("\n".join(label), ms, color)]


def lines_of(records, draw=curves):
    """{machine: [charts.Line]}."""
    groups = {}
    for r in records:
        series = groups.setdefault(record.machine(r), {})
        series.setdefault((what(r), r["demo"]), []).append(r)
    result = {}
    for machine, series in groups.items():
        for color, ((name, demo), rows) in enumerate(series.items()):
            name = f"{name}, demo" if demo else name
            result.setdefault(machine, []).extend(draw(name, color, rows))
    return result


def panels_of(published, records):
    """[(title, [charts.Line], unit)] of one model."""
    lines = [charts.Line(f"{chip}\nbest {charts.best(fps)}", fps, i, published=True)
             for i, (chip, fps) in enumerate(published_fps(published).items())]
    panels = [("Published by ModelZoo", lines, charts.FPS)] if lines else []
    panels += [(f"Measured: {name}", found, charts.FPS) for name, found in
               lines_of(records).items()]
    return panels + [(f"Latency of a batch: {name}", found, "median ms")
                     for name, found in lines_of(records, latency).items() if found]


def key_of(folder):
    """The id of a model's part of the page."""
    return "".join(c for c in folder.lower() if c.isalnum())


def section(folder, published, records, results, profiles, panels):
    """What page.html shows of one model."""
    several = len({record.machine(r) for r in records}) > 1
    key = key_of(folder)
    return {"key": key, "folder": folder, "published": published, "scored": bool(results),
            "charts": [Markup(charts.svg(*panel, name=f"{key}{i}"))
                       for i, panel in enumerate(panels)],
            "speeds": tables.speed_table(records, published) if records else None,
            "machines": tables.side_by_side(records) if several else None,
            "profiles": [(operators.title(p), operators.tree(p["operators"])) for p in profiles],
            "accuracies": tables.accuracy_table(results, published),
            "origins": tables.origin_table(records, results) if records or results else None}


def overview_row(folder, published, records, results, _):
    """A row of overview() for one model."""
    theirs = max(published["fps"], key=published["fps"].get, default=None)
    ours = max(records, key=lambda r: r["compute_only"]["fps"], default=None)
    verdicts = [verdict(r) for kind, r in results if kind != "torch"]
    order = ("bad", "good", "")  # one that failed is not hidden by those that passed
    found = min(verdicts, key=lambda v: order.index(v[1]), default=("not scored", ""))
    cells = [Cell(published["model"], link=key_of(folder)),
             f"{published['fps'][theirs]:,.1f} at {theirs}" if theirs else None]
    if ours:
        whole = ours["from_bin"]
        where = f"{record.machine(ours)}, {what(ours)}"
        cells += [f"{ours['compute_only']['fps']:,.1f} at {ours['batch']}",
                  f"{whole['fps']:,.1f}" if whole else None, spread_of(ours),
                  with_demo(where, ours["demo"])]
    else:
        cells += [None] * 4
    return [*cells, f"{published['top1']:g} %" if published["top1"] else None, found]


def overview(models):
    """A row per model: its best figures, published and measured."""
    return table([("model", "text"), ("published: best images/s", "published"),
                  "measured: compute only, images/s", "from .bin, images/s", "spread",
                  ("measured on", "text wrap"), ("published Top-1", "published"),
                  ("reaches 99 % of the published", "text wrap")],
                 [overview_row(*model) for model in models])


def page(models, made):
    """The page as text, and {folder: panels} of what can be drawn. models: (folder, content of
    published.json, records of speed, results of accuracy, profiles); made: the date."""
    panels = {folder: panels_of(published, records) for folder, published, records, *_ in models}
    loader = jinja2.Environment(loader=jinja2.FileSystemLoader(HERE), autoescape=True)
    text = loader.get_template("page.html").render(
        css=Markup((HERE / "report.css").read_text(encoding="utf-8")),
        overview=overview(models), most=bench.MOST, made=made,
        parts=[section(*model, panels[model[0]]) for model in models])
    return text, {folder: found for folder, found in panels.items() if found}
