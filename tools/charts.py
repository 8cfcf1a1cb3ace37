"""Throughput against batch size, drawn once for the page (SVG that follows its light or dark theme) and once as PNG.

Axes start at 0 and have the batch sizes on a logarithmic scale; lines are labelled at their ends. What ModelZoo publishes is
dashed with hollow marks, what was measured here solid with filled ones; a ring marks the best batch of a line.
"""
import dataclasses
import html
import io
import re

import matplotlib
from matplotlib import ticker
from matplotlib.figure import Figure

BATCHES = (1, 4, 8, 16, 32, 64)
# Okabe and Ito's colours, told apart with any colour vision; each is a variable in the page's style sheet.
LINES = ("#0072b2", "#d55e00", "#009e73", "#8a5a9e")
INK, GRID, PAPER = "#1b1f24", "#d8dee4", "#ffffff"
VARIABLES = {**{color: f"var(--line{i})" for i, color in enumerate(LINES)}, INK: "var(--ink)", GRID: "var(--grid)",
             PAPER: "var(--paper)"}
SVG = "http://www.w3.org/2000/svg"
SIZE = (4.5, 3.0)  # inches, of one panel


@dataclasses.dataclass
class Line:
    """One curve: fps maps batch → images/s, bars batch → (lowest, highest) of the repeats; color counts into LINES."""

    label: str
    fps: dict
    color: int
    published: bool = False
    bars: dict = dataclasses.field(default_factory=dict)
    mark: str = "o"


def apart(places, least):
    """Move numbers up or down as little as it takes to have `least` between neighbours, keeping their order."""
    order = sorted(range(len(places)), key=places.__getitem__)
    groups = [[places[i], 1] for i in order]  # centre and size of labels that touch
    i = 0
    while i + 1 < len(groups):
        (a, n), (b, m) = groups[i], groups[i + 1]
        if b - a < least * (n + m) / 2:
            groups[i:i + 2] = [[(a * n + b * m) / (n + m), n + m]]
            i = max(i - 1, 0)
        else:
            i += 1
    moved = [centre + (k - (n - 1) / 2) * least for centre, n in groups for k in range(n)]
    return [moved[order.index(i)] for i in range(len(places))]


def number(value):
    """A throughput as text: three digits that count, or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def panel(axes, title, lines):
    """Draw `lines` into matplotlib axes."""
    top = 1.08 * max(max([*line.fps.values(), *(high for _, high in line.bars.values())]) for line in lines)
    axes.set(xscale="log", xlim=(0.8, 80), ylim=(0, top))
    axes.set_xticks(BATCHES, map(str, BATCHES))
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.yaxis.set_major_locator(ticker.MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:,.0f}" if top > 5 else "{x:g}"))
    axes.set_title(title, loc="left", color=INK, fontsize=9.5, fontweight="bold", pad=16)
    axes.text(0, 1.03, "images/s", transform=axes.transAxes, color=INK, fontsize=9)
    axes.set_xlabel("batch size", color=INK, fontsize=9)
    axes.tick_params(length=0, labelsize=9, labelcolor=INK)
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    for side, spine in axes.spines.items():
        spine.set(visible=side == "bottom", color=INK, linewidth=0.8)
    for line in lines:
        color, batches = LINES[line.color % len(LINES)], sorted(line.fps)
        values = [line.fps[b] for b in batches]
        for b, (low, high) in line.bars.items():
            axes.plot([b, b], [low, high], color=color, linewidth=3, alpha=0.35, solid_capstyle="butt")
        axes.plot(batches, values, color=color, marker=line.mark, markersize=4.5, linewidth=1.6,
                  linestyle="--" if line.published else "-", markerfacecolor=PAPER if line.published else color)
        best = max(batches, key=line.fps.get)
        axes.plot([best], [line.fps[best]], color=color, marker="o", markersize=10, markerfacecolor="none")
    # Two rows of text each: what it is, and its best.
    ends = apart([line.fps[max(line.fps)] / top for line in lines], 0.17)
    shift = max(0.0, max(ends) - 0.97) - max(0.0, 0.03 - min(ends))
    for line, y in zip(lines, ends):
        best = max(line.fps, key=line.fps.get)
        axes.text(1.03, y - shift, f"{line.label}\nbest {number(line.fps[best])} at {best}", transform=axes.transAxes,
                  color=LINES[line.color % len(LINES)], fontsize=9, va="center", linespacing=1.1)


def figure(panels):
    """A figure with (title, lines) panels side by side."""
    result = Figure(figsize=(SIZE[0] * len(panels), SIZE[1]))
    for i, (title, lines) in enumerate(panels):
        n = len(panels)
        panel(result.add_axes(((i + 0.12) / n, 0.16, 0.53 / n, 0.66)), title, lines)
    return result


def svg(title, lines, name):
    """One panel as an <svg> element; colours are the page's, `name` keeps its ids apart from other charts'."""
    out = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.family": "sans-serif"}):
        figure([(title, lines)]).savefig(out, format="svg", transparent=True,
                                         metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = out.getvalue()[out.getvalue().index("<svg"):]
    text = re.sub(r"<metadata>.*?</metadata>\s*|<style.*?</style>\s*", "", text, flags=re.S)
    text = re.sub(r"font-family: [^;\"]*;?", "", text).replace(' xmlns:xlink="http://www.w3.org/1999/xlink"', "")
    text = re.sub(r'(url\(#|href="#|\bid=")', rf"\g<1>{name}-", text).replace("xlink:href", "href")
    view = re.search(r'viewBox="[^"]*"', text)[0]
    alt = html.escape(f"{title}: " + "; ".join(f"{line.label} {line.fps}" for line in lines).replace("\n", " "))
    text = re.sub(r"<svg[^>]*>", f'<svg class="chart" role="img" aria-label="{alt}" {view} xmlns="{SVG}">', text, count=1)
    for color, variable in VARIABLES.items():
        text = text.replace(color, variable)
    return text.strip()


def png(panels, path):
    """The same panels side by side, on white."""
    figure(panels).savefig(path, dpi=160, facecolor=PAPER, format="png")
