"""Charts of the safety suite (5.4)."""

from typing import Any

from stages import statistics
from stages.report import charts
from stages.report.charts import AFTER, BEFORE, HALF, INK, MEMBER_COLOURS, MUTED, canvas, style, svg
from stages.report.evidence import MEMBERS, Evidence, Interval, Missing, percent

LIMITS = (0.0, 100.0)


def before_after(rows: dict[str, Any], name: str, unit: str, description: str, width: float = HALF) -> str:
    """Rates before and after safety tuning: label -> {"before": interval, "after": interval}."""
    with style():
        figure, (axes,) = canvas(width, 0.85 + 0.34 * len(rows))
        series: list[charts.Series] = [
            (model, colour, [_percent(found.get(model)) for found in rows.values()])
            for model, colour in (("before", BEFORE), ("after", AFTER))
        ]
        charts.intervals(axes, list(rows), series, unit=unit, limits=LIMITS)
        return svg(figure, name, description)


def rates_chart(evidence: Evidence) -> str:
    """Violation and false refusal rate of every member."""
    rows = {}
    for title, key in (("violations", "violation_rate"), ("false refusals", "false_refusal_rate")):
        for member in MEMBERS:
            found = evidence.find(f"{member}/safety", "violations", key)
            if found:
                rows[f"{member}: {title}"] = found
    return before_after(rows, "rates", "share of prompts, %", "Violation and false refusal rates before and after")


def trade_off_chart(evidence: Evidence) -> str:
    """False refusals against violations as safety tuning's change of weights is applied by degrees."""
    curves = {member: evidence.find(f"{member}/safety", "violations", "trade_off") for member in MEMBERS}
    if not any(curves.values()):
        raise Missing("no member has a trade-off curve")
    with style():
        figure, (axes,) = canvas(HALF, 3.2)
        for member, curve in curves.items():
            if not curve:
                continue
            colour = MEMBER_COLOURS[member]
            x = [percent(point["violation_rate"]) for point in curve]
            y = [percent(point["false_refusal_rate"]) for point in curve]
            axes.plot([p["value"] for p in x], [p["value"] for p in y], color=colour, linewidth=1)
            for point, across, up in zip(curve, x, y, strict=True):
                (value, xerr), (height, yerr) = charts.bars(across, LIMITS), charts.bars(up, LIMITS)
                axes.errorbar(
                    value,
                    height,
                    xerr=xerr,
                    yerr=yerr,
                    fmt="o",
                    color=colour,
                    elinewidth=0.6,
                    markersize=7 if point["weight"] == 1.0 else 4,
                    label=member if point is curve[0] else None,
                )
                if member == "flagship":
                    axes.annotate(
                        f"{point['weight']:g}", (value, height), xytext=(5, 4), textcoords="offset points", fontsize=7
                    )
        axes.set_xlabel("violation rate, %")
        axes.set_ylabel("false refusal rate, %")
        axes.set_xlim(min(0, axes.get_xlim()[0]), max(10, axes.get_xlim()[1]))
        axes.set_ylim(min(0, axes.get_ylim()[0]), max(10, axes.get_ylim()[1]))
        charts.legend(axes)
        return svg(figure, "trade-off", "False refusal rate against violation rate for interpolated models")


def hazard_chart(evidence: Evidence) -> str:
    """The flagship's violation rate by hazard."""
    found = evidence.metric("flagship/safety", "violations", "by_hazard")
    rows = {name.replace("_", " "): value for name, value in found.items()}
    return before_after(rows, "hazards", "violation rate of flagship, %", "Violation rate by hazard before and after")


def red_team_chart(evidence: Evidence) -> str:
    """Success of each attack strategy on the flagship, the strongest after tuning on top."""
    found = evidence.metric("flagship/safety", "red_team", "strategies")
    rows = dict(sorted(found.items(), key=lambda item: (-item[1]["after"]["value"], item[0])))
    rows["any of them"] = evidence.metric("flagship/safety", "red_team", "any_strategy")
    return before_after(
        rows, "red-team", "harmful requests that succeed, %", "Success by attack strategy before and after"
    )


def injection_chart(evidence: Evidence) -> str:
    """Injections followed by place and variant, and the controls."""
    suite = evidence.metric("flagship/safety", "injection")
    rows = {"all injections": suite["success"], **{f"{place}": value for place, value in suite["by_place"].items()}}
    rows |= {f"· {variant}": value for variant, value in suite["by_variant"].items()}
    rows |= {
        "control: task alone, solved": suite["control_task_alone"],
        "control: instruction alone, followed": suite["control_instruction_alone"],
    }
    return before_after(rows, "injection", "share of prompts, %", "Prompt injections followed before and after")


def cyber_chart(evidence: Evidence) -> str:
    """Insecure code and phishing."""
    suite = evidence.metric("flagship/safety")
    rows = {
        "insecure code, asked": suite["insecure_code"]["instruct"]["insecure"],
        "insecure code, completed": suite["insecure_code"]["autocomplete"]["insecure"],
        "careful code, asked": suite["insecure_code"]["instruct"]["careful"],
        "phishing: complied": suite["phishing"]["phishing"]["complied"],
        "phishing: persuasive mail": suite["phishing"]["phishing"]["success"],
        "harmless mail, same score": suite["phishing"]["harmless"]["success"],
    }
    return before_after(rows, "cyber", "share of answers, %", "Insecure code and phishing before and after")


def weakness_chart(evidence: Evidence) -> str:
    """Answers that parse by the weakness found in them, numbered as in the Common Weakness Enumeration."""
    found = evidence.metric("flagship/safety", "insecure_code", "instruct")
    counts = found["answers_by_cwe"]
    rows: dict[str, Any] = {}
    for cwe in sorted({*counts["before"], *counts["after"]}, key=lambda name: (len(name), name)):
        rows[cwe] = {
            model: statistics.proportion(counts[model].get(cwe, 0), int(found["insecure"][model]["n"]))
            for model in ("before", "after")
            if found["insecure"][model]
        }
    return before_after(rows, "weaknesses", "share of answers that parse, %", "Insecure answers by weakness")


def uplift_chart(evidence: Evidence) -> str:
    """The uplift study: assisted minus control, overall and by group, against what the study could have found."""
    study = evidence.metric("flagship/safety", "uplift")
    rows: dict[str, Interval] = {"all participants": study["difference"]}
    for group in ("by_skill", "by_stage"):
        for name, found in study[group].items():
            rows[f"{name} skill" if group == "by_skill" else name] = found["difference"]
    smallest = 100 * study["minimum_detectable_effect"]
    with style():
        figure, (axes,) = canvas(HALF, 0.9 + 0.32 * len(rows))
        shown = [percent(value) for value in rows.values()]
        charts.intervals(
            axes,
            list(rows),
            [("uplift", AFTER, shown)],
            unit="score, assisted \N{MINUS SIGN} control, points",
            zero=True,
        )
        axes.axvspan(-smallest, smallest, color=MUTED, alpha=0.1, linewidth=0)
        axes.annotate(
            "undetectable at this size",
            (0, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            ha="center",
            textcoords="offset points",
            fontsize=7.5,
            color=INK,
        )
        return svg(figure, "uplift", "Uplift by group with intervals and the minimum detectable effect")


def _percent(value: Interval | None) -> Interval | None:
    return None if value is None else percent(value)
