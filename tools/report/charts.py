"""Throughput and latency by batch size, drawn for the page (SVG that follows its light or dark
theme) and as PNG.

Axes start at 0 and have the batch sizes on a logarithmic scale; lines are labelled at their
ends. What ModelZoo publishes is dashed with hollow marks, what was measured here solid with
filled ones; a ring marks the best batch of a line.
"""
import contextlib
import dataclasses
import html
import io
import os
import re
import textwrap

os.environ.pop("MPLBACKEND", None)  # the user's is for windows; we draw into files

import matplotlib  # noqa: E402
from matplotlib import font_manager, ticker  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.text import Text  # noqa: E402

from tools import fonts  # noqa: E402

BATCHES = (1, 4, 8, 16, 32, 64)  # that an axis has at least
# Okabe and Ito's colours, told apart with any colour vision; each is a variable of report.css.
LINES = ("#0072b2", "#d55e00", "#009e73", "#8a5a9e")
INK, GRID, PAPER = "#1b1f24", "#d8dee4", "#ffffff"
VARIABLES = {**{color: f"var(--line{i})" for i, color in enumerate(LINES)},
             INK: "var(--ink)", GRID: "var(--grid)", PAPER: "var(--paper)"}
SVG = "http://www.w3.org/2000/svg"
FPS = "images/s"
SIZE = (5.0, 3.4)  # inches, of one panel; a phone shows it 366 pixels wide: texts of 11 and more
TEXT = {"color": INK, "fontsize": 11, "parse_math": False}  # a $ in a name is a $


@dataclasses.dataclass
class Line:
    """One curve: fps maps batch → images/s, bars batch → (lowest, highest) of the repeats;
    color counts into LINES. The label, of several rows or none, is written at its end."""

    label: str
    fps: dict
    color: int
    published: bool = False
    bars: dict = dataclasses.field(default_factory=dict)
    mark: str = "o"


def apart(places, heights):
    """Move the centres of labels up or down as little as it takes that none touches its
    neighbour; their order stays."""
    order = sorted(range(len(places)), key=places.__getitem__)
    groups = [(places[i], [heights[i]]) for i in order]  # centre, heights of labels that touch
    i = 0
    while i + 1 < len(groups):
        (a, low), (b, high) = groups[i], groups[i + 1]
        if b - a >= (sum(low) + sum(high)) / 2:
            i += 1
            continue
        # Each label pulls to its own place: the stack's centre is in the middle of these.
        n, m = len(low), len(high)
        centre = (n * (a + sum(high) / 2) + m * (b - sum(low) / 2)) / (n + m)
        groups[i:i + 2] = [(centre, low + high)]
        i = max(i - 1, 0)
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


def ticks(batches):
    """The batch sizes that an axis for all of them names: the largest, then those that have room
    for their text."""
    batches = sorted({*BATCHES, *batches}, reverse=True)
    named, apart_by = batches[:1], (batches[0] / batches[-1]) ** (1 / 7)
    for batch in batches[1:]:
        if named[-1] / batch >= apart_by:
            named.append(batch)
    return named[::-1]


def scales(axes, title, top, unit, batches):
    """Set up axes for `batches` and 0 to `top` of `unit`."""
    named = ticks(batches)
    axes.set(xscale="log", xlim=(0.8, 1.25 * named[-1]), ylim=(0, top))
    axes.set_xticks(named, map(str, named))
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.yaxis.set_major_locator(ticker.MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:,.0f}" if top > 5 else "{x:g}"))
    axes.set_title(textwrap.fill(title, 40), loc="left", pad=18,
                   **{**TEXT, "fontweight": "bold"})
    axes.text(0, 1.03, unit, transform=axes.transAxes, **TEXT)
    axes.set_xlabel("batch size", **TEXT)
    axes.tick_params(length=0, labelsize=11, labelcolor=INK)
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    for side, spine in axes.spines.items():
        spine.set(visible=side == "bottom", color=INK, linewidth=0.8)


def curve(axes, line, ring):
    """Draw one Line, the bars of its repeats, and with `ring` one around its best batch."""
    color, batches = LINES[line.color % len(LINES)], sorted(line.fps)
    for batch, (low, high) in line.bars.items():
        axes.plot([batch, batch], [low, high], color=color, linewidth=3, alpha=0.35,
                  solid_capstyle="butt")
    axes.plot(batches, [line.fps[b] for b in batches], color=color, marker=line.mark,
              markersize=4.5, linewidth=1.6, linestyle="--" if line.published else "-",
              markerfacecolor=PAPER if line.published else color)
    if not ring:
        return
    top = max(batches, key=line.fps.get)
    axes.plot([top], [line.fps[top]], color=color, marker="o", markersize=10,
              markerfacecolor="none")


def labels(axes, lines, top):
    """Write the labels of lines beside their ends, none over another."""
    named = [line for line in lines if line.label]
    heights = [0.03 + 0.085 * (line.label.count("\n") + 1) for line in named]
    ends = apart([line.fps[max(line.fps)] / top for line in named], heights)
    over = max(end + height / 2 for end, height in zip(ends, heights)) - 1.1
    for line, end in zip(named, ends):
        text = {**TEXT, "color": LINES[line.color % len(LINES)]}
        axes.text(1.03, end - max(0.0, over), line.label, transform=axes.transAxes, va="center",
                  linespacing=1.1, **text)


def panel(axes, title, lines, unit=FPS):
    """Draw `lines` of `unit` into matplotlib axes."""
    highest = [value for line in lines
               for value in [*line.fps.values(), *(high for _, high in line.bars.values())]]
    top = 1.08 * max(highest)
    scales(axes, title, top, unit, {batch for line in lines for batch in line.fps})
    for line in lines:
        curve(axes, line, unit == FPS)
    labels(axes, lines, top)


@contextlib.contextmanager
def ours(**settings):
    """Matplotlib's own settings and these, whatever the user's matplotlibrc has."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(settings)
        yield


def figure(panels):
    """A figure with (title, lines, unit) panels, three in a row."""
    n = min(len(panels), 3)
    rows = -(-len(panels) // n)
    result = Figure(figsize=(SIZE[0] * n, SIZE[1] * rows))
    for i, each in enumerate(panels):
        left, bottom = i % n + 0.13, rows - 1 - i // n + 0.16
        panel(result.add_axes((left / n, bottom / rows, 0.44 / n, 0.62 / rows)), *each)
    return result


def svg(title, lines, unit=FPS, name=""):
    """One panel as an <svg> element; colours are the page's, `name` keeps its ids apart from
    other charts'."""
    out = io.StringIO()
    settings = {"svg.fonttype": "none", "svg.hashsalt": name, "font.family": "sans-serif"}
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with ours(**settings):
        drawn = figure([(title, lines, unit)])
        drawn.savefig(out, format="svg", transparent=True, metadata=nothing)
    text = out.getvalue()[out.getvalue().index("<svg"):]
    text = re.sub(r"<metadata>.*?</metadata>\s*|<style.*?</style>\s*", "", text, flags=re.S)
    text = re.sub(r"font-family: [^;\"]*;?", "", text)
    text = text.replace(' xmlns:xlink="http://www.w3.org/1999/xlink"', "")
    text = re.sub(r'(url\(#|href="#|\bid=")', rf"\g<1>{name}-", text)
    text = text.replace("xlink:href", "href")
    said = "; ".join(f"{line.label or 'from .bin'} {line.fps}" for line in lines)
    alt = html.escape(f"{title}: {said}".replace("\n", " "))
    view = re.search(r'viewBox="[^"]*"', text)[0]
    start = f'<svg class="chart" role="img" aria-label="{alt}" {view} xmlns="{SVG}">'
    text = re.sub(r"<svg[^>]*>", lambda _: start, text, count=1)
    for color, variable in VARIABLES.items():
        text = text.replace(color, variable)
    return text.strip()


def png(panels, path):
    """The same panels on white; texts in another script take a font that has it, or are spelled."""
    with ours():
        drawn = figure(panels)
        usual = font_manager.get_font(font_manager.findfont("DejaVu Sans")).get_charmap()
        for text in drawn.findobj(Text):
            lacking = frozenset(c for c in text.get_text() if c != "\n" and ord(c) not in usual)
            file = fonts.file_with(lacking) if lacking else None
            if file:
                font_manager.fontManager.addfont(file)
                name = font_manager.FontProperties(fname=file).get_name()
                text.set_fontfamily(["DejaVu Sans", name])
            elif lacking:
                text.set_text(fonts.spelled(text.get_text(), lacking))
        drawn.savefig(path, dpi=160, facecolor=PAPER, format="png")
