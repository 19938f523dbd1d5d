"""Charts as inline SVG. Colours are CSS variables of the page, so charts follow its light and dark theme; equal data
gives equal bytes."""

import functools
import io
import re
from collections.abc import Callable, Sequence
from html import escape
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from stages.report.evidence import Evidence, Interval, NotMeasured

# Placeholders that `to_svg` replaces by CSS variables. The stylesheet has the colour-blind safe palette of Okabe and
# Ito.
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
    **{colour: f"ramp{index}" for index, colour in enumerate(RAMP)},
}
MEMBER_COLOURS = {"small": GREEN, "medium": BLUE, "flagship": ORANGE}
FULL_WIDTH, HALF_WIDTH = 9.0, 4.6
"""Inches: a chart over the whole column, and one of two next to each other."""
SMALL = 7.5
"""Font size of labels inside a plot."""

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


CHARTS: dict[str, Callable[[Evidence], str]] = {}
"""Every registered chart by name: evidence -> SVG; raises NotMeasured if the run lacks what it shows."""


def chart(name: str, description: str) -> Callable[[Callable[[Evidence], Figure]], Callable[[Evidence], str]]:
    """Decorator: registers a function that draws a figure; `description` is the alternative text."""

    def register(draw: Callable[[Evidence], Figure]) -> Callable[[Evidence], str]:
        @functools.wraps(draw)
        def render(evidence: Evidence) -> str:
            with matplotlib.rc_context(STYLE):
                return to_svg(draw(evidence), name.replace("_", "-"), description)

        CHARTS[name] = render
        return render

    return register


def make_figure(
    width: float,
    height: float,
    rows: int = 1,
    columns: int = 1,
    layout: Literal["constrained"] | None = "constrained",
    **options: Any,
) -> tuple[Figure, list[Axes]]:
    """A figure of width x height inches and its axes, row by row."""
    figure = Figure(figsize=(width, height), layout=layout)
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    return figure, list(axes.flat)


def to_svg(figure: Figure, name: str, description: str) -> str:
    """The figure as an <svg> element that scales with its column; `name` makes the element's ids unique on the page."""
    stream = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(stream, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<style[^>]*>.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r' id="[a-z0-9]+_\d+"', "", text)  # figure_1, axes_1: equal in every chart
    for id in sorted(set(re.findall(r'id="([^"]+)"', text))):
        text = text.replace(f'"{id}"', f'"{name}-{id}"').replace(f"#{id}", f"#{name}-{id}")
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var(--{variable})")
    # The page sets the font. matplotlib's layout used DejaVu Sans, which is wider than the usual browser fonts.
    text = re.sub(r" ?font-family: [^;\"]*;?", "", text)
    text = re.sub(r"\s*\n\s*", " ", text)
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", text).replace("xlink:href", "href")
    size = re.search(r'width="([\d.]+)pt" height="([\d.]+)pt"', text)
    assert size
    label = f'role="img" aria-label="{escape(description)}" style="max-width:{1.62 * float(size[1]):.0f}px"'
    return text.replace(size[0], label, 1).strip()


def error_bar(interval: Interval, limits: tuple[float, float] | None = None) -> tuple[float, list[list[float]]]:
    """The value and matplotlib's error lengths, clipped to `limits`."""
    low, high = interval["low"], interval["high"]
    if limits:
        low, high = max(low, limits[0]), min(high, limits[1])
    value = interval["value"]
    return value, [[max(0.0, value - low)], [max(0.0, high - value)]]


Series = tuple[str, str, Sequence[Interval | None]]
"""A name, a colour, and an interval per row."""


def plot_intervals(
    axes: Axes,
    rows: Sequence[str],
    series: Sequence[Series],
    *,
    unit: str,
    has_zero_line: bool = False,
    limits: tuple[float, float] | None = None,
) -> None:
    """One row per label, the first on top, with a point and interval of each series. Raises NotMeasured if all are
    None."""
    if not any(interval for _, _, intervals in series for interval in intervals):
        raise NotMeasured("nothing of this was measured")
    num_series = len(series)
    for index, (name, colour, intervals) in enumerate(series):
        offset = (index - (num_series - 1) / 2) * min(0.28, 0.7 / num_series)
        label: str | None = name
        for row, interval in enumerate(intervals):
            if interval is None:
                continue
            value, error = error_bar(interval, limits)
            options: dict[str, Any] = {"markersize": 4.5, "elinewidth": 1.6, "capsize": 0, "clip_on": False}
            axes.errorbar(value, row + offset, xerr=error, fmt="o", color=colour, label=label, **options)
            label = None
    set_rows(axes, rows)
    axes.set_xlabel(unit)
    axes.tick_params(axis="y", pad=6)
    axes.spines["left"].set_visible(False)
    if limits:
        axes.set_xlim(*limits)
    if has_zero_line:
        axes.axvline(0, color=MUTED, linewidth=1)
    if num_series > 1:
        add_legend(axes)


def set_rows(axes: Axes, labels: Sequence[str], margins: tuple[float, float] = (0.5, 0.5)) -> None:
    """A y axis with one row per label, the first on top; margins below and above in rows."""
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 1 + margins[0], -margins[1])
    axes.tick_params(axis="y", labelcolor=INK)
    axes.grid(False, axis="y")


def annotate(axes: Axes, text: str, at: tuple[float, float], offset: tuple[float, float], **options: Any) -> None:
    """A small label at a position, shifted by `offset` points."""
    axes.annotate(text, at, xytext=offset, textcoords="offset points", **{"fontsize": SMALL} | options)


def add_legend(axes: Axes) -> None:
    """A legend in one line above the plot."""
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


def use_log_axis(axes: Axes, which: str) -> None:
    """A logarithmic axis with ticks such as 20K at 1, 2 and 5."""
    getattr(axes, f"set_{which}scale")("log", subs=[2, 5])
    axis = getattr(axes, f"{which}axis")
    axis.set_major_formatter(FuncFormatter(lambda value, _: format_compact(value)))
    low, high = sorted(getattr(axes, f"get_{which}lim")())
    is_crowded = high / low > 150
    axis.set_minor_formatter(NullFormatter() if is_crowded else FuncFormatter(lambda value, _: format_compact(value)))


def use_compact_ticks(axes: Axes, which: str) -> None:
    """Ticks such as 1.5M on a linear axis."""
    getattr(axes, f"{which}axis").set_major_formatter(FuncFormatter(lambda value, _: format_compact(value)))


SUPERSCRIPT = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def format_compact(value: float) -> str:
    """1234567 as 1.23M; powers of ten from 1e15 on."""
    magnitude = abs(value)
    for limit, letter in ((1e15, ""), (1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if magnitude >= limit:
            if not letter:
                mantissa, exponent = f"{value:.1e}".split("e")
                return f"{float(mantissa):g}\N{MULTIPLICATION SIGN}10{str(int(exponent)).translate(SUPERSCRIPT)}"
            return f"{value / limit:.3g}{letter}"
    return f"{value:.3g}"
