"""Throughput against batch size, drawn once for the page (SVG that follows its light or dark theme) and once as PNG.

Axes start at 0 and have the batch sizes on a logarithmic scale; lines are labelled at their ends. What ModelZoo publishes is
dashed with hollow marks, what was measured here solid with filled ones; a ring marks the best batch of a line.
"""
import dataclasses
import html
import io
import re
import textwrap

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
    """One curve: fps maps batch → images/s, bars batch → (lowest, highest) of the repeats; color counts into LINES. The label,
    of several rows or none, stands at its end."""

    label: str
    fps: dict
    color: int
    published: bool = False
    bars: dict = dataclasses.field(default_factory=dict)
    mark: str = "o"


def apart(places, heights):
    """Move the centres of labels up or down as little as it takes that none touches its neighbour, keeping their order."""
    order = sorted(range(len(places)), key=places.__getitem__)
    groups = [(places[i], [heights[i]]) for i in order]  # centre, and heights of labels that touch
    i = 0
    while i + 1 < len(groups):
        (a, low), (b, high) = groups[i], groups[i + 1]
        if b - a < (sum(low) + sum(high)) / 2:
            # Each label pulls to its own place; what comes out is the middle of where they all would like the stack to be.
            n, m = len(low), len(high)
            centre = (n * (a + sum(high) / 2) + m * (b - sum(low) / 2)) / (n + m)
            groups[i:i + 2] = [(centre, low + high)]
            i = max(i - 1, 0)
        else:
            i += 1
    moved = []
    for centre, stack in groups:
        bottom = centre - sum(stack) / 2
        for height in stack:
            moved.append(bottom + height / 2)
            bottom += height
    return [moved[order.index(i)] for i in range(len(places))]


def number(value):
    """A throughput as text: three digits that count, or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def best(fps):
    """The highest throughput and its batch, as text."""
    return f"{number(max(fps.values()))} at {max(fps, key=fps.get)}"


def panel(axes, title, lines):
    """Draw `lines` into matplotlib axes."""
    top = 1.08 * max(max([*line.fps.values(), *(high for _, high in line.bars.values())]) for line in lines)
    axes.set(xscale="log", xlim=(0.8, 80), ylim=(0, top))
    axes.set_xticks(BATCHES, map(str, BATCHES))
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.yaxis.set_major_locator(ticker.MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:,.0f}" if top > 5 else "{x:g}"))
    axes.set_title(textwrap.fill(title, 46), loc="left", color=INK, fontsize=9.5, fontweight="bold", pad=16)
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
        top_batch = max(batches, key=line.fps.get)
        axes.plot([top_batch], [line.fps[top_batch]], color=color, marker="o", markersize=10, markerfacecolor="none")
    named = [line for line in lines if line.label]
    heights = [0.03 + 0.075 * (line.label.count("\n") + 1) for line in named]
    ends = apart([line.fps[max(line.fps)] / top for line in named], heights)
    shift = max(0.0, max(e + h / 2 for e, h in zip(ends, heights)) - 1.1)
    for line, y in zip(named, ends):
        axes.text(1.03, y - shift, line.label, transform=axes.transAxes, color=LINES[line.color % len(LINES)], fontsize=9,
                  va="center", linespacing=1.1)


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
    alt = html.escape(f"{title}: " + "; ".join(f"{line.label or 'from .bin'} {line.fps}" for line in lines).replace("\n", " "))
    text = re.sub(r"<svg[^>]*>", f'<svg class="chart" role="img" aria-label="{alt}" {view} xmlns="{SVG}">', text, count=1)
    for color, variable in VARIABLES.items():
        text = text.replace(color, variable)
    return text.strip()


def png(panels, path):
    """The same panels side by side, on white."""
    figure(panels).savefig(path, dpi=160, facecolor=PAPER, format="png")
