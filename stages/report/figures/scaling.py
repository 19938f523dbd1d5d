"""Charts of scaling laws (3.2.1)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from stages import statistics
from stages.report import charts
from stages.report.charts import (
    BLUE,
    FULL_WIDTH,
    HALF_WIDTH,
    INK,
    MEMBER_COLOURS,
    MUTED,
    ORANGE,
    RAMP,
    annotate,
    chart,
    make_figure,
)
from stages.report.evidence import MEMBERS, Evidence, to_percent
from stages.scaling.flops import parameters_for


@chart("isoflops", "IsoFLOP curves: loss over training tokens by compute budget, with minima")
def draw_isoflops(evidence: Evidence) -> Figure:
    """The runs of each budget with the fitted parabola and its minimum."""
    points, fit = evidence.metric("isoflops", "points"), evidence.herd["fit"]
    scatter = statistics.Z * fit["residual"]
    figure, (axes,) = make_figure(HALF_WIDTH, 3.5)
    axes.set_xscale("log")
    colours = sample_ramp(len(fit["budgets"]))
    for colour, budget in zip(colours, fit["budgets"], strict=True):
        runs = sorted((p["tokens"], p["loss"]) for p in points if p["flops"] == budget["flops"])
        tokens, losses = np.array([run[0] for run in runs]), [run[1] for run in runs]
        axes.errorbar(tokens, losses, yerr=scatter, fmt="o", color=colour, markersize=4, elinewidth=0.8)
        grid = np.geomspace(tokens[0], tokens[-1], 60)
        c0, c1, c2 = budget["coefficients"]
        x = np.log(grid) - budget["centre"]
        parabola = c0 + c1 * x + c2 * x * x
        axes.plot(grid, parabola, color=colour)
        label = f"{charts.format_compact(budget['flops'])} FLOPs"
        annotate(axes, label, (grid[-1], parabola[-1]), (5, -2), color=INK, fontsize=7)
        if budget["inner"]:
            axes.plot(budget["optimal_tokens"], budget["minimum_loss"], marker="D", color=INK, markersize=5, zorder=5)
    low, high = axes.get_xlim()
    axes.set_xlim(low, high * (high / low) ** 0.28)
    charts.use_log_axis(axes, "x")
    axes.set_xlabel("training tokens (log)")
    axes.set_ylabel("validation loss, nats per token")
    return figure


@chart("power_law", "Power laws of optimal tokens and loss over compute, with the flagship")
def draw_power_law(evidence: Evidence) -> Figure:
    """Tokens and loss at the minima over compute, the fitted laws, and the flagship as predicted and as trained."""
    fit, flagship = evidence.herd["fit"], evidence.herd["members"]["flagship"]
    reached = evidence.find_metric("flagship/annealing", "validation_loss")
    inner = [budget for budget in fit["budgets"] if budget["inner"]]
    flops = np.array([budget["flops"] for budget in inner])
    target = fit["flagship_flops"]
    grid = np.geomspace(flops.min() / 1.5, target * 1.3, 40)
    figure, (upper, lower) = make_figure(HALF_WIDTH, 3.5, 2, 1, sharex=True)
    for axes, key, intercept, slope in (
        (upper, "optimal_tokens", "log_a", "alpha"),
        (lower, "minimum_loss", "log_loss", "loss_exponent"),
    ):
        axes.set_xscale("log")
        axes.set_yscale("log")
        law = np.exp(fit[intercept]["value"] + fit[slope]["value"] * np.log(grid))
        axes.plot(grid, law, color=MUTED, linewidth=1)
        axes.plot(flops, [budget[key] for budget in inner], "D", color=INK, markersize=4.5)
    optimal = [compute_optimal_loss(evidence.herd["parametric"], budget) for budget in grid]
    lower.plot(grid, optimal, color=BLUE, linewidth=1)
    for axes, predicted in ((upper, fit["tokens"]), (lower, flagship["loss"])):
        value, error = charts.error_bar(predicted, (1e-9, np.inf))
        axes.errorbar(target, value, yerr=error, fmt="o", color=BLUE, markersize=5, label="predicted, 95%")
    upper.plot(target, flagship["tokens"], "s", color=ORANGE, markersize=5.5, label="flagship")
    if reached:
        lower.plot(target, reached["value"], "s", color=ORANGE, markersize=5.5)
        annotate(lower, f"reached {reached['value']:.3f} ", (target, reached["value"]), (-6, -3), ha="right")
    upper.set_ylabel("optimal tokens")
    lower.set_ylabel("loss at minimum, nats")
    lower.set_xlabel("compute, training FLOPs (log)")
    charts.use_log_axis(upper, "y")
    charts.use_log_axis(lower, "y")
    charts.use_log_axis(lower, "x")
    charts.add_legend(upper)
    return figure


def compute_optimal_loss(law: Mapping[str, Mapping[str, float]], flops: float) -> float:
    """The loss of the compute-optimal model of a budget, by the parametric law."""
    names = ("irreducible", "a", "b", "parameters_exponent", "tokens_exponent")
    e, a, b, alpha, beta = (law[name]["value"] for name in names)
    product = parameters_for(flops, 1)  # parameters times tokens
    optimum = (alpha * a / (beta * b)) ** (1 / (alpha + beta)) * product ** (beta / (alpha + beta))
    return float(e + a / optimum**alpha + b / (product / optimum) ** beta)


def sample_ramp(count: int) -> list[str]:
    """`count` colours along the ramp, from light to dark."""
    return [RAMP[round(index * (len(RAMP) - 1) / max(1, count - 1))] for index in range(count)]


@chart("downstream", "Likelihood of right answers over compute, and accuracy over that likelihood")
def draw_downstream(evidence: Evidence) -> Figure:
    """The models of the sweep, the prediction for each member, and what the members reached."""
    downstream = evidence.metric("downstream")
    line, sigmoid, runs = downstream["likelihood"], downstream["accuracy"], downstream["runs"]
    run_nats = [run["answer_nats"] for run in runs]
    largest = max(member["flops"] for member in evidence.herd["members"].values())
    figure, (left, right) = make_figure(FULL_WIDTH, 3.4, 1, 2)
    left.set_xscale("log")
    grid = np.geomspace(line["first_flops"], largest * 1.3, 50)
    left.plot(grid, line["intercept"] + line["slope"]["value"] * np.log(grid), color=MUTED, linewidth=1)
    left.plot([run["flops"] for run in runs], run_nats, "o", color=INK, markersize=3.5)
    nats = np.linspace(0, 1.05 * max(run_nats), 100)
    share = 1 / (1 + np.exp(sigmoid["slope"]["value"] * (nats - sigmoid["middle"]["value"])))
    floor = sigmoid["floor"]["value"]
    right.plot(nats, 100 * (floor + (1 - floor) * share), color=MUTED, linewidth=1)
    run_accuracies = [100 * run["answer_accuracy"] for run in runs]
    right.plot(run_nats, run_accuracies, "o", color=INK, markersize=3.5, label="sweep")
    right.axhline(100 * sigmoid["chance"], color=MUTED, linewidth=0.8, linestyle=":")
    for member in MEMBERS:
        predicted, flops = downstream["members"][member], evidence.herd["members"][member]["flops"]
        colour = MEMBER_COLOURS[member]
        circle: dict[str, Any] = {"fmt": "o", "color": colour, "markersize": 5, "markerfacecolor": "none"}
        x, error = charts.error_bar(predicted["nats"], (-np.inf, np.inf))
        left.errorbar(flops, x, yerr=error, **circle)
        accuracy, error = charts.error_bar(to_percent(predicted["accuracy"]), (0, 100))
        right.errorbar(x, accuracy, yerr=error, label=member, **circle)
        reached = evidence.find_metric("multiple_choice", f"{member}-base")
        if reached:
            x, y = reached["nats"]["value"], 100 * reached["accuracy"]["value"]
            left.plot(flops, x, "s", color=colour, markersize=5.5)
            right.plot(x, y, "s", color=colour, markersize=5.5)
    charts.use_log_axis(left, "x")
    left.set_xlabel("training FLOPs (log)")
    left.set_ylabel("correct answers, nats per character")
    right.set_xlabel("correct answers, nats per character")
    right.set_ylabel("accuracy, %")
    charts.add_legend(right)
    return figure
