"""Charts of scaling laws (3.2.1)."""

from collections.abc import Mapping

import numpy as np

from stages import statistics
from stages.report import charts
from stages.report.charts import BLUE, HALF, INK, MEMBER_COLOURS, MUTED, ORANGE, RAMP, canvas, style, svg
from stages.report.evidence import MEMBERS, Evidence
from stages.scaling.flops import parameters_for


def isoflop_chart(evidence: Evidence) -> str:
    """Loss over training tokens for each budget, with the fitted parabola and its minimum."""
    points, fit = evidence.metric("isoflops", "points"), evidence.herd["fit"]
    scatter = statistics.Z * fit["residual"]
    with style():
        figure, (axes,) = canvas(HALF, 3.5)
        axes.set_xscale("log")
        colours = spread(len(fit["budgets"]))
        for colour, budget in zip(colours, fit["budgets"], strict=True):
            mine = sorted((p["tokens"], p["loss"]) for p in points if p["flops"] == budget["flops"])
            tokens = np.array([p[0] for p in mine])
            axes.errorbar(
                tokens, [p[1] for p in mine], yerr=scatter, fmt="o", color=colour, markersize=4, elinewidth=0.8
            )
            grid = np.geomspace(tokens[0], tokens[-1], 60)
            c0, c1, c2 = budget["coefficients"]
            x = np.log(grid) - budget["centre"]
            curve = c0 + c1 * x + c2 * x * x
            axes.plot(grid, curve, color=colour)
            axes.annotate(
                f"{charts.short(budget['flops'])} FLOPs",
                (grid[-1], curve[-1]),
                xytext=(5, -2),
                textcoords="offset points",
                color=INK,
                fontsize=7,
            )
            if budget["inner"]:
                axes.plot(
                    budget["optimal_tokens"], budget["minimum_loss"], marker="D", color=INK, markersize=5, zorder=5
                )
        low, high = axes.get_xlim()
        axes.set_xlim(low, high * (high / low) ** 0.28)
        charts.log_axis(axes, "x")
        axes.set_xlabel("training tokens (log)")
        axes.set_ylabel("validation loss, nats per token")
        return svg(figure, "isoflops", "IsoFLOP curves: loss over training tokens by compute budget, with minima")


def power_law_chart(evidence: Evidence) -> str:
    """The minima's tokens and losses over compute, the laws through them, and what they say of the flagship."""
    fit = evidence.herd["fit"]
    reached = evidence.find("flagship/annealing", "validation_loss")
    trained = evidence.herd["members"]["flagship"]["tokens"]
    inner = [budget for budget in fit["budgets"] if budget["inner"]]
    flops = np.array([budget["flops"] for budget in inner])
    target = fit["flagship_flops"]
    grid = np.geomspace(flops.min() / 1.5, target * 1.3, 40)
    with style():
        figure, (upper, lower) = canvas(HALF, 3.5, 2, 1, sharex=True)
        for axes in (upper, lower):
            axes.set_xscale("log")
            axes.set_yscale("log")
        tokens = np.exp(fit["log_a"]["value"] + fit["alpha"]["value"] * np.log(grid))
        loss = np.exp(fit["log_loss"]["value"] + fit["loss_exponent"]["value"] * np.log(grid))
        upper.plot(grid, tokens, color=MUTED, linewidth=1)
        lower.plot(grid, loss, color=MUTED, linewidth=1)
        upper.plot(flops, [budget["optimal_tokens"] for budget in inner], "D", color=INK, markersize=4.5)
        lower.plot(flops, [budget["minimum_loss"] for budget in inner], "D", color=INK, markersize=4.5)
        lower.plot(grid, [lowest_loss(evidence.herd["parametric"], flops) for flops in grid], color=BLUE, linewidth=1)
        for axes, predicted in ((upper, fit["tokens"]), (lower, evidence.herd["members"]["flagship"]["loss"])):
            value, error = charts.bars(predicted, (1e-9, np.inf))
            axes.errorbar(target, value, yerr=error, fmt="o", color=BLUE, markersize=5, label="predicted, 95%")
        upper.plot(target, trained, marker="s", color=ORANGE, markersize=5.5, linestyle="none", label="flagship")
        if reached:
            lower.plot(target, reached["value"], marker="s", color=ORANGE, markersize=5.5, linestyle="none")
            lower.annotate(
                f"reached {reached['value']:.3f} ",
                (target, reached["value"]),
                xytext=(-6, -3),
                textcoords="offset points",
                ha="right",
                fontsize=7.5,
            )
        upper.set_ylabel("optimal tokens")
        lower.set_ylabel("loss at minimum, nats")
        lower.set_xlabel("compute, training FLOPs (log)")
        charts.log_axis(upper, "y")
        charts.log_axis(lower, "y")
        charts.log_axis(lower, "x")
        charts.legend(upper)
        return svg(figure, "power-law", "Power laws of optimal tokens and loss over compute, with the flagship")


def lowest_loss(law: Mapping[str, Mapping[str, float]], flops: float) -> float:
    """What the parametric law says of the compute-optimal model of a budget."""
    names = ("irreducible", "a", "b", "parameters_exponent", "tokens_exponent")
    e, a, b, alpha, beta = (law[name]["value"] for name in names)
    product = parameters_for(flops, 1)  # parameters times tokens
    optimum = (alpha * a / (beta * b)) ** (1 / (alpha + beta)) * product ** (beta / (alpha + beta))
    return float(e + a / optimum**alpha + b / (product / optimum) ** beta)


def spread(count: int) -> list[str]:
    """`count` colours along the ramp, light to dark."""
    return [RAMP[round(place * (len(RAMP) - 1) / max(1, count - 1))] for place in range(count)]


def downstream_chart(evidence: Evidence) -> str:
    """Likelihood of right answers over compute, and accuracy over that likelihood: the sweep, what it predicts of the
    herd, and what the herd reached."""
    predicted = evidence.metric("downstream")
    line, sigmoid = predicted["likelihood"], predicted["accuracy"]
    runs = predicted["runs"]
    largest = max(member["flops"] for member in evidence.herd["members"].values())
    with style():
        figure, (left, right) = canvas(charts.WIDE, 3.4, 1, 2)
        left.set_xscale("log")
        grid = np.geomspace(line["first_flops"], largest * 1.3, 50)
        left.plot(grid, line["intercept"] + line["slope"]["value"] * np.log(grid), color=MUTED, linewidth=1)
        left.plot([run["flops"] for run in runs], [run["answer_nats"] for run in runs], "o", color=INK, markersize=3.5)
        nats = np.linspace(0, 1.05 * max(run["answer_nats"] for run in runs), 100)
        share = 1 / (1 + np.exp(sigmoid["slope"]["value"] * (nats - sigmoid["middle"]["value"])))
        floor = sigmoid["floor"]["value"]
        right.plot(nats, 100 * (floor + (1 - floor) * share), color=MUTED, linewidth=1)
        right.plot(
            [run["answer_nats"] for run in runs],
            [100 * run["answer_accuracy"] for run in runs],
            "o",
            color=INK,
            markersize=3.5,
            label="sweep",
        )
        right.axhline(100 * sigmoid["chance"], color=MUTED, linewidth=0.8, linestyle=":")
        for member in MEMBERS:
            found, flops = predicted["members"][member], evidence.herd["members"][member]["flops"]
            colour = MEMBER_COLOURS[member]
            nat, error = charts.bars(found["nats"], (-np.inf, np.inf))
            left.errorbar(flops, nat, yerr=error, fmt="o", color=colour, markersize=5, markerfacecolor="none")
            accuracy, error = charts.bars({k: 100 * v for k, v in found["accuracy"].items()}, (0, 100))
            right.errorbar(
                nat,
                accuracy,
                yerr=error,
                fmt="o",
                color=colour,
                markersize=5,
                markerfacecolor="none",
                label=f"{member}, predicted",
            )
            reached = evidence.find("multiple_choice", f"{member}-base")
            if reached:
                left.plot(flops, reached["nats"]["value"], "s", color=colour, markersize=5.5)
                right.plot(
                    reached["nats"]["value"],
                    100 * reached["accuracy"]["value"],
                    "s",
                    color=colour,
                    markersize=5.5,
                    label=f"{member}, reached",
                )
        charts.log_axis(left, "x")
        left.set_xlabel("training FLOPs (log)")
        left.set_ylabel("right answers, nats per character")
        right.set_xlabel("right answers, nats per character")
        right.set_ylabel("accuracy, %")
        charts.legend(right)
        return svg(figure, "downstream", "Likelihood of right answers over compute, and accuracy over that likelihood")
