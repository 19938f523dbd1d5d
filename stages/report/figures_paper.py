"""The paper's cluster (3.3): charts of what interruptions cost, and the table of the plan."""

import numpy as np

from stages.report import charts
from stages.report.charts import BLUE, GREY, HALF, MUTED, ORANGE, canvas, style, svg
from stages.report.evidence import Evidence

CAUSES = 8
"""Causes of interruptions that are drawn, the costliest first."""


def reliability_chart(evidence: Evidence) -> str:
    """Useful share of the time over the number of GPUs, at a fixed and at the best checkpoint interval."""
    found = evidence.metric("paper", "reliability")
    gpus = [row["gpus"] for row in found["by_gpus"]]
    with style():
        figure, (axes,) = canvas(HALF, 2.6)
        axes.set_xscale("log", base=2)
        axes.plot(
            gpus,
            [100 * row["effective"] for row in found["by_gpus"]],
            "o-",
            color=BLUE,
            markersize=4,
            label="fixed interval",
        )
        axes.plot(
            gpus,
            [100 * row["effective_at_best"] for row in found["by_gpus"]],
            "o-",
            color=GREY,
            markersize=4,
            label="best interval",
        )
        axes.axhline(90, color=MUTED, linewidth=1, linestyle="--")
        axes.annotate("the paper: over 90%", (gpus[0], 90), xytext=(0, -10), textcoords="offset points", fontsize=7.5)
        axes.set_xticks(gpus, [f"{count // 1024}K" for count in gpus])
        axes.set_ylim(0, 100)
        axes.set_xlabel("GPUs (log)")
        axes.set_ylabel("useful time, %")
        charts.legend(axes)
        return svg(figure, "reliability", "Useful training time over the number of GPUs")


def causes_chart(evidence: Evidence) -> str:
    """The time that interruptions of each cause cost."""
    lost = sorted(evidence.metric("paper", "reliability", "lost_by_cause").items(), key=lambda item: item[1])
    shown = lost[-CAUSES:]
    with style():
        figure, (axes,) = canvas(HALF, 2.6)
        axes.barh(np.arange(len(shown)), [100 * share for _, share in shown], color=ORANGE, height=0.6)
        axes.set_yticks(np.arange(len(shown)), [cause for cause, _ in shown])
        axes.set_xlabel("lost time, % of 54 days")
        return svg(figure, "causes", "Time lost by cause of interruption")


def plan_table(evidence: Evidence) -> list[dict[str, str]]:
    """A row per number of the plan: for 405B, what that rests on, and for this run's flagship."""
    here = {row["quantity"]: row["value"] for row in evidence.find("plan", "table") or []}
    return [row | {"here": here.get(row["quantity"], "")} for row in evidence.metric("plan-405b", "table")]
