"""The paper's cluster (3.3): charts of the time lost to interruptions, and the table of the training plan."""

import numpy as np
from matplotlib.figure import Figure

from stages.report import charts
from stages.report.charts import BLUE, GREY, HALF_WIDTH, MUTED, ORANGE, annotate, chart, make_figure
from stages.report.evidence import Evidence

MAX_CAUSES = 8
"""Causes of interruptions in the chart: those that cost most."""


@chart("reliability", "Effective training time over the number of GPUs")
def draw_effective_time(evidence: Evidence) -> Figure:
    """At a fixed and at the best checkpoint interval."""
    sizes = evidence.metric("paper", "reliability")["by_gpus"]
    gpus = [size["gpus"] for size in sizes]
    figure, (axes,) = make_figure(HALF_WIDTH, 2.6)
    axes.set_xscale("log", base=2)
    for key, colour, label in (("effective", BLUE, "fixed interval"), ("effective_at_best", GREY, "best interval")):
        axes.plot(gpus, [100 * size[key] for size in sizes], "o-", color=colour, markersize=4, label=label)
    axes.axhline(90, color=MUTED, linewidth=1, linestyle="--")
    annotate(axes, "the paper: over 90%", (gpus[0], 90), (0, -10))
    axes.set_xticks(gpus, [f"{count // 1024}K" for count in gpus])
    axes.set_ylim(0, 100)
    axes.set_xlabel("GPUs (log)")
    axes.set_ylabel("effective time, %")
    charts.add_legend(axes)
    return figure


@chart("causes", "Time lost by cause of interruption")
def draw_lost_time(evidence: Evidence) -> Figure:
    lost = sorted(evidence.metric("paper", "reliability", "lost_by_cause").items(), key=lambda item: item[1])
    shown = lost[-MAX_CAUSES:]
    figure, (axes,) = make_figure(HALF_WIDTH, 2.6)
    axes.barh(np.arange(len(shown)), [100 * share for _, share in shown], color=ORANGE, height=0.6)
    axes.set_yticks(np.arange(len(shown)), [cause for cause, _ in shown])
    axes.set_xlabel("lost time, % of 54 days")
    return figure


def plan_table(evidence: Evidence) -> list[dict[str, str]]:
    """One record per number of the plan: for 405B, what it is derived from, and for this run's flagship."""
    here = {one["quantity"]: one["value"] for one in evidence.find_metric("plan", "table") or []}
    return [one | {"here": here.get(one["quantity"], "")} for one in evidence.metric("plan-405b", "table")]
