"""Charts of pretraining (3.4)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from stages.report import charts
from stages.report.charts import (
    BLUE,
    FULL_WIDTH,
    GREY,
    HALF_WIDTH,
    INK,
    MEMBER_COLOURS,
    MUTED,
    annotate,
    chart,
    make_figure,
)
from stages.report.evidence import MEMBERS, Evidence, NotMeasured

PHASES = {"initial": "initial", "long": "long context", "anneal": "annealing"}
MAX_POINTS = 260
"""Points of a smoothed curve in the chart."""


def smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Running mean over up to `window` values on each side."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    place = np.arange(len(values))
    starts, ends = np.maximum(0, place - window), np.minimum(len(values), place + window + 1)
    return (sums[ends] - sums[starts]) / (ends - starts)


def downsample(tokens: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most MAX_POINTS of the points, evenly spaced, including the last."""
    keep = np.unique(np.linspace(0, len(tokens) - 1, min(MAX_POINTS, len(tokens))).round().astype(int))
    return tokens[keep], values[keep]


@chart("training", "Training loss and learning rate of the three members over training tokens")
def draw_training(evidence: Evidence) -> Figure:
    """All members phase by phase, with validation losses at the end of each phase."""
    figure, (upper, lower) = make_figure(FULL_WIDTH, 4.6, 2, 1, sharex=True, height_ratios=[3, 1])
    spans: dict[str, tuple[float, float]] = {}
    final_losses: list[tuple[float, str]] = []
    shown_losses: list[float] = []  # what the y axis must show: without the first eighth of initial pretraining
    for member in MEMBERS:
        start, colour = 0.0, MEMBER_COLOURS[member]
        phase_ends = {}
        curves = {phase: evidence.curve(f"{member}-{phase}") for phase in PHASES}
        window = max(2, sum(len(curve["loss"]) for curve in curves.values() if curve) // 60)
        for phase, curve in curves.items():
            if not curve:
                continue
            tokens = curve["tokens"] + start
            smoothed = smooth(curve["loss"], window)
            upper.plot(*downsample(tokens, smoothed), color=colour, linewidth=1.5)
            lower.plot(*downsample(tokens, curve["lr"]), color=colour, linewidth=1.3)
            shown_losses += smoothed[len(tokens) // 8 if phase == "initial" else 0 :].tolist()
            spans[phase] = (start, float(tokens[-1]))
            start = phase_ends[phase] = float(tokens[-1])
        validation_losses = {
            "initial": evidence.find_metric(f"{member}/initial", "validation_loss"),
            "long": evidence.find_metric(f"{member}/annealing", "loss_before"),
            "anneal": evidence.find_metric(f"{member}/annealing", "validation_loss"),
        }
        for phase, loss in validation_losses.items():
            if loss and phase in phase_ends:
                edge: dict[str, Any] = {"markeredgecolor": INK, "markeredgewidth": 0.8, "zorder": 5, "clip_on": False}
                upper.plot(phase_ends[phase], loss["value"], marker="o", color=colour, markersize=6, **edge)
                shown_losses.append(loss["value"])
                if phase == "anneal":
                    final_losses.append((loss["value"], member))
    if not shown_losses:
        raise NotMeasured("no training curve")
    low, high = min(shown_losses), max(shown_losses)
    upper.set_ylim(low - 0.05 * (high - low), high + 0.12 * (high - low))
    for phase, (start, end) in spans.items():
        for axes in (upper, lower):
            if phase != "initial":
                axes.axvspan(start, end, color=GREY if phase == "long" else BLUE, alpha=0.13, linewidth=0)
        # The last two phases are short, so their names are on opposite sides of the line between them.
        places = {"initial": ((start + end) / 2, 0, "center"), "long": (end, -3, "right"), "anneal": (start, 3, "left")}
        place, shift, side = places[phase]
        fraction = ("data", "axes fraction")
        annotate(upper, PHASES[phase], (place, 1.0), (shift, 3), xycoords=fraction, ha=side, color=MUTED)
    label_final_losses(upper, final_losses)
    upper.set_ylabel("loss, nats per token")
    lower.set_ylabel("learning rate")
    lower.set_xlabel("training tokens")
    lower.set_ylim(bottom=0)
    lower.set_xlim(0, max(end for _, end in spans.values()) * 1.01)
    charts.use_compact_ticks(lower, "x")
    return figure


def label_final_losses(axes: charts.Axes, losses: list[tuple[float, str]]) -> None:
    """The members' names next to their last validation losses, without overlap."""
    low, high = axes.get_ylim()
    gap, height = 0.065 * (high - low), -np.inf
    for value, member in sorted(losses):
        height = max(value, height + gap)
        options: dict[str, Any] = {
            "va": "center",
            "color": MEMBER_COLOURS[member],
            "fontsize": 8.5,
            "annotation_clip": False,
        }
        annotate(axes, f"{member} {value:.3f}", (1.0, height), (9, 0), xycoords=("axes fraction", "data"), **options)


@chart("annealing", "Effect of annealing and averaging on validation loss by member, with intervals")
def draw_annealing(evidence: Evidence) -> Figure:
    rows: dict[str, tuple[str, ...]] = {
        "annealing: after \N{MINUS SIGN} before": ("change",),
        "annealed \N{MINUS SIGN} same tokens\nwithout annealing": ("against_control",),
        "average \N{MINUS SIGN} last checkpoint": ("average_minus_last",),
    }
    return plot_members(evidence, rows, "difference in validation loss, nats per token", has_zero_line=True)


@chart("buckets", "Final validation loss by bucket and member, with intervals")
def draw_loss_by_bucket(evidence: Evidence) -> Figure:
    key = "validation_loss_by_bucket"
    rows = {bucket: (key, bucket) for bucket in evidence.metric("flagship/annealing", key)}
    return plot_members(evidence, rows, "validation loss, nats per token")


def plot_members(
    evidence: Evidence, rows: Mapping[str, tuple[str, ...]], unit: str, has_zero_line: bool = False
) -> Figure:
    """One row per label: each member's interval, by its keys in the metrics of annealing."""
    series = [
        (member, MEMBER_COLOURS[member], [evidence.find_metric(f"{member}/annealing", *keys) for keys in rows.values()])
        for member in MEMBERS
    ]
    figure, (axes,) = make_figure(HALF_WIDTH, 2.7)
    charts.plot_intervals(axes, list(rows), series, unit=unit, has_zero_line=has_zero_line)
    return figure
