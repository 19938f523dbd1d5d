"""Charts as inline SVG: the page's colours by CSS variable, so that they follow light and dark, and equal bytes for
equal data."""

import io
import re
from collections.abc import Sequence
from html import escape
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from stages.report.evidence import Interval, Missing

# Colours that matplotlib writes and the page's stylesheet replaces. Told apart by the colour-blind (Okabe and Ito).
INK, MUTED, GRID = "#010101", "#020202", "#030303"
BLUE, ORANGE, GREEN, PURPLE, GREY = "#010203", "#010204", "#010205", "#010206", "#010207"
RAMP = ("#020301", "#020302", "#020303", "#020304", "#020305", "#020306", "#020307", "#020308")
VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    GRID: "line",
    BLUE: "blue",
    ORANGE: "orange",
    GREEN: "green",
    PURPLE: "purple",
    GREY: "grey",
    **{colour: f"ramp{place}" for place, colour in enumerate(RAMP)},
}
MEMBER_COLOURS = {"small": GREEN, "medium": BLUE, "flagship": ORANGE}
BEFORE, AFTER = GREY, BLUE
WIDE, HALF = 9.0, 4.6
"""Widths in inches: a chart over the whole column, and one of two beside each other."""

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": ["DejaVu Sans"],
    "font.size": 8.5,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8.5,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
}


def canvas(
    width: float, height: float, rows: int = 1, columns: int = 1, automatic: bool = True, **options: Any
) -> tuple[Figure, list[Axes]]:
    """A figure and its axes, row by row; arranges itself if `automatic`. Draw inside `style()`."""
    figure = Figure(figsize=(width, height), layout="constrained" if automatic else None)
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    return figure, list(axes.flat)


def style() -> Any:
    """A context in which matplotlib draws in the page's style."""
    return matplotlib.rc_context(STYLE)


def svg(figure: Figure, name: str, description: str) -> str:
    """The figure as an <svg> element that scales with its column; `name` makes its ids unique on the page."""
    stream = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(stream, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<style[^>]*>.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r' id="[a-z0-9]+_\d+"', "", text)  # figure_1, axes_1: the same in every chart
    for used in sorted(set(re.findall(r'id="([^"]+)"', text))):
        text = text.replace(f'"{used}"', f'"{name}-{used}"').replace(f"#{used}", f"#{name}-{used}")
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var(--{variable})")
    # The page's own family; the text was measured in DejaVu Sans, which is wider than what browsers choose.
    text = re.sub(r" ?font-family: [^;\"]*;?", "", text)
    text = re.sub(r"\s*\n\s*", " ", text)
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", text).replace("xlink:href", "href")
    size = re.search(r'width="([\d.]+)pt" height="([\d.]+)pt"', text)
    assert size
    label = f'role="img" aria-label="{escape(description)}" style="max-width:{1.62 * float(size[1]):.0f}px"'
    return text.replace(size[0], label, 1).strip()


def bars(interval: Interval, limits: tuple[float, float] | None = None) -> tuple[float, list[list[float]]]:
    """The value and matplotlib's error lengths, cut to `limits` where a rate's interval leaves them."""
    low, high = interval["low"], interval["high"]
    if limits:
        low, high = max(low, limits[0]), min(high, limits[1])
    value = interval["value"]
    return value, [[max(0.0, value - low)], [max(0.0, high - value)]]


Series = tuple[str, str, Sequence[Interval | None]]
"""A name, a colour, and an interval per row."""


def intervals(
    axes: Axes,
    rows: Sequence[str],
    series: Sequence[Series],
    *,
    unit: str,
    zero: bool = False,
    limits: tuple[float, float] | None = None,
) -> None:
    """A row per label with each series' point and interval, the first row on top; raises Missing without any."""
    if not any(interval for _, _, found in series for interval in found):
        raise Missing("nothing of this was measured")
    count = len(series)
    for place, (name, colour, found) in enumerate(series):
        offset = (place - (count - 1) / 2) * min(0.28, 0.7 / count)
        first = True
        for row, interval in enumerate(found):
            if interval is None:
                continue
            value, error = bars(interval, limits)
            axes.errorbar(
                value,
                row + offset,
                xerr=error,
                fmt="o",
                color=colour,
                markersize=4.5,
                elinewidth=1.6,
                capsize=0,
                label=name if first else None,
                clip_on=False,
            )
            first = False
    axes.set_yticks(range(len(rows)), rows)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(False, axis="y")
    axes.set_xlabel(unit)
    axes.tick_params(axis="y", labelcolor=INK, pad=6)
    axes.spines["left"].set_visible(False)
    if limits:
        axes.set_xlim(*limits)
    if zero:
        axes.axvline(0, color=MUTED, linewidth=1)
    if count > 1:
        legend(axes)


def legend(axes: Axes) -> None:
    """Names in a line above the plot, each in its colour."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        axes.legend(
            handles,
            labels,
            loc="lower left",
            bbox_to_anchor=(-0.02, 1.0),
            ncols=4,
            handletextpad=0.3,
            columnspacing=1.2,
            borderaxespad=0.1,
            labelcolor=INK,
        )


def log_axis(axes: Axes, which: str) -> None:
    """A logarithmic axis with plain numbers such as 20K at 1, 2 and 5."""
    getattr(axes, f"set_{which}scale")("log", subs=[2, 5])
    axis = getattr(axes, f"{which}axis")
    axis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    low, high = sorted(getattr(axes, f"get_{which}lim")())
    crowded = high / low > 150
    axis.set_minor_formatter(NullFormatter() if crowded else FuncFormatter(lambda value, _: short(value)))


def compact(axes: Axes, which: str) -> None:
    """Numbers such as 1.5M on a linear axis."""
    getattr(axes, f"{which}axis").set_major_formatter(FuncFormatter(lambda value, _: short(value)))


SUPERSCRIPT = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def short(value: float) -> str:
    """1234567 as 1.2M; powers of ten beyond trillions."""
    size = abs(value)
    for limit, letter in ((1e15, ""), (1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if size >= limit:
            if not letter:
                mantissa, exponent = f"{value:.1e}".split("e")
                return f"{float(mantissa):g}\N{MULTIPLICATION SIGN}10{str(int(exponent)).translate(SUPERSCRIPT)}"
            return f"{value / limit:.3g}{letter}"
    return f"{value:.3g}"
