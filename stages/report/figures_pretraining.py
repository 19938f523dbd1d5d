"""Charts of pretraining (3.4)."""

import numpy as np

from stages.report import charts
from stages.report.charts import BLUE, GREY, HALF, INK, MEMBER_COLOURS, MUTED, canvas, style, svg
from stages.report.evidence import MEMBERS, Evidence, Interval, Missing

PHASES = ("initial", "long", "anneal")
PHASE_NAMES = {"initial": "initial", "long": "long context", "anneal": "annealing"}
POINTS = 260
"""Points of a smoothed curve that are drawn."""


def smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Running mean over up to `window` values on either side of each."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    place = np.arange(len(values))
    starts, ends = np.maximum(0, place - window), np.minimum(len(values), place + window + 1)
    return (sums[ends] - sums[starts]) / (ends - starts)


def thin(tokens: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most POINTS of the points, the last one among them."""
    keep = np.unique(np.linspace(0, len(tokens) - 1, min(POINTS, len(tokens))).round().astype(int))
    return tokens[keep], values[keep]


def training_chart(evidence: Evidence) -> str:
    """Training loss and learning rate of every member over its tokens, phase by phase, with validation losses."""
    with style():
        figure, (upper, lower) = canvas(charts.WIDE, 4.6, 2, 1, sharex=True, height_ratios=[3, 1])
        spans: dict[str, tuple[float, float]] = {}
        ends: list[tuple[float, str]] = []
        settled: list[float] = []
        for member in MEMBERS:
            start, colour = 0.0, MEMBER_COLOURS[member]
            boundaries = {}
            curves = {phase: evidence.curve(f"{member}-{phase}") for phase in PHASES}
            window = max(2, sum(len(curve["loss"]) for curve in curves.values() if curve) // 60)
            for phase, curve in curves.items():
                if not curve:
                    continue
                tokens = curve["tokens"] + start
                smoothed = smooth(curve["loss"], window)
                upper.plot(*thin(tokens, smoothed), color=colour, linewidth=1.5)
                lower.plot(*thin(tokens, curve["lr"]), color=colour, linewidth=1.3)
                settled += smoothed[len(tokens) // 8 :].tolist() if phase == "initial" else smoothed.tolist()
                spans[phase] = (start, float(tokens[-1]))
                start = boundaries[phase] = float(tokens[-1])
            held_out = {
                "initial": evidence.find(f"{member}/initial", "validation_loss"),
                "long": evidence.find(f"{member}/annealing", "loss_before"),
                "anneal": evidence.find(f"{member}/annealing", "validation_loss"),
            }
            for phase, loss in held_out.items():
                if loss and phase in boundaries:
                    upper.plot(
                        boundaries[phase],
                        loss["value"],
                        marker="o",
                        color=colour,
                        markersize=6,
                        markeredgecolor=INK,
                        markeredgewidth=0.8,
                        zorder=5,
                        clip_on=False,
                    )
                    settled.append(loss["value"])
                    if phase == "anneal":
                        ends.append((loss["value"], member))
        if not settled:
            raise Missing("no training curve")
        low, high = min(settled), max(settled)
        upper.set_ylim(low - 0.05 * (high - low), high + 0.12 * (high - low))
        for phase, (start, end) in spans.items():
            for axes in (upper, lower):
                if phase != "initial":
                    axes.axvspan(start, end, color=GREY if phase == "long" else BLUE, alpha=0.13, linewidth=0)
            # The last two phases are short: their names go to either side of the line between them.
            place, side = {"initial": ((start + end) / 2, "center"), "long": (end, "right"), "anneal": (start, "left")}[
                phase
            ]
            upper.annotate(
                PHASE_NAMES[phase],
                (place, 1.0),
                xycoords=("data", "axes fraction"),
                ha=side,
                xytext=({"right": -3, "left": 3}.get(side, 0), 3),
                textcoords="offset points",
                fontsize=7.5,
                color=MUTED,
            )
        label_ends(upper, ends)
        upper.set_ylabel("loss, nats per token")
        lower.set_ylabel("learning rate")
        lower.set_xlabel("training tokens")
        lower.set_ylim(bottom=0)
        lower.set_xlim(0, max(end for _, end in spans.values()) * 1.01)
        charts.compact(lower, "x")
        return svg(figure, "training", "Training loss and learning rate of the three members over training tokens")


def label_ends(axes: charts.Axes, ends: list[tuple[float, str]]) -> None:
    """The members' names beside their last validation loss, far enough apart to read."""
    low, high = axes.get_ylim()
    gap, last = 0.065 * (high - low), -np.inf
    for value, member in sorted(ends):
        height = max(value, last + gap)
        last = height
        axes.annotate(
            f"{member} {value:.3f}",
            (1.0, height),
            xycoords=("axes fraction", "data"),
            xytext=(9, 0),
            textcoords="offset points",
            va="center",
            color=MEMBER_COLOURS[member],
            fontsize=8.5,
            annotation_clip=False,
        )


EFFECTS = {
    "change": "annealing: after \N{MINUS SIGN} before",
    "against_control": "annealed \N{MINUS SIGN} same tokens\nwithout annealing",
    "average_minus_last": "average \N{MINUS SIGN} last checkpoint",
}


def annealing_chart(evidence: Evidence) -> str:
    """What annealing and averaging did to the validation loss of each member."""
    series = [
        (member, MEMBER_COLOURS[member], [evidence.find(f"{member}/annealing", effect) for effect in EFFECTS])
        for member in MEMBERS
    ]
    with style():
        figure, (axes,) = canvas(HALF, 2.7)
        charts.intervals(
            axes, list(EFFECTS.values()), series, unit="difference in validation loss, nats per token", zero=True
        )
        return svg(
            figure, "annealing", "Effect of annealing and averaging on validation loss by member, with intervals"
        )


def bucket_chart(evidence: Evidence) -> str:
    """The members' final validation loss by bucket."""
    buckets = list(evidence.metric("flagship/annealing", "validation_loss_by_bucket"))

    def losses(member: str) -> list[Interval | None]:
        return [evidence.find(f"{member}/annealing", "validation_loss_by_bucket", bucket) for bucket in buckets]

    with style():
        figure, (axes,) = canvas(HALF, 2.7)
        series = [(member, MEMBER_COLOURS[member], losses(member)) for member in MEMBERS]
        charts.intervals(axes, buckets, series, unit="validation loss, nats per token")
        return svg(figure, "buckets", "Final validation loss by bucket and member, with intervals")
