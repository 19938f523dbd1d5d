"""Charts of the safety suite (5.4)."""

from typing import Any

from matplotlib.figure import Figure

from stages.report import charts
from stages.report.charts import BLUE, GREY, HALF_WIDTH, INK, MEMBER_COLOURS, MUTED, annotate, chart, make_figure
from stages.report.evidence import MEMBERS, Evidence, Interval, NotMeasured, to_percent

LIMITS = (0.0, 100.0)


def plot_before_after(rates: dict[str, Any], unit: str) -> Figure:
    """Rates before and after safety tuning: label -> {"before": interval, "after": interval}."""
    figure, (axes,) = make_figure(HALF_WIDTH, 0.85 + 0.34 * len(rates))
    series: list[charts.Series] = [
        (model, colour, [rate.get(model) and to_percent(rate[model]) for rate in rates.values()])
        for model, colour in (("before", GREY), ("after", BLUE))
    ]
    charts.plot_intervals(axes, list(rates), series, unit=unit, limits=LIMITS)
    return figure


@chart("rates", "Violation and false refusal rates before and after")
def draw_rates(evidence: Evidence) -> Figure:
    rates = {
        f"{member}: {title}": evidence.find_metric(f"{member}/safety", "violations", key)
        for title, key in (("violations", "violation_rate"), ("false refusals", "false_refusal_rate"))
        for member in MEMBERS
    }
    return plot_before_after({label: rate for label, rate in rates.items() if rate}, "share of prompts, %")


@chart("trade_off", "False refusal rate against violation rate for interpolated models")
def draw_trade_off(evidence: Evidence) -> Figure:
    """Both rates as a fraction of safety tuning's change of weights is applied."""
    curves = {member: evidence.find_metric(f"{member}/safety", "violations", "trade_off") for member in MEMBERS}
    if not any(curves.values()):
        raise NotMeasured("no member has a trade-off curve")
    figure, (axes,) = make_figure(HALF_WIDTH, 3.2)
    for member, curve in curves.items():
        if not curve:
            continue
        colour = MEMBER_COLOURS[member]
        violations = [to_percent(point["violation_rate"]) for point in curve]
        refusals = [to_percent(point["false_refusal_rate"]) for point in curve]
        axes.plot([one["value"] for one in violations], [one["value"] for one in refusals], color=colour, linewidth=1)
        for point, violation, refusal in zip(curve, violations, refusals, strict=True):
            (x, xerr), (y, yerr) = charts.error_bar(violation, LIMITS), charts.error_bar(refusal, LIMITS)
            size = 7 if point["weight"] == 1.0 else 4
            label = member if point is curve[0] else None
            axes.errorbar(
                x, y, xerr=xerr, yerr=yerr, fmt="o", color=colour, elinewidth=0.6, markersize=size, label=label
            )
            if member == "flagship":
                annotate(axes, f"{point['weight']:g}", (x, y), (5, 4), fontsize=7)
    axes.set_xlabel("violation rate, %")
    axes.set_ylabel("false refusal rate, %")
    axes.set_xlim(min(0, axes.get_xlim()[0]), max(10, axes.get_xlim()[1]))
    axes.set_ylim(min(0, axes.get_ylim()[0]), max(10, axes.get_ylim()[1]))
    charts.add_legend(axes)
    return figure


@chart("hazards", "Violation rate by hazard before and after")
def draw_hazards(evidence: Evidence) -> Figure:
    by_hazard = evidence.metric("flagship/safety", "violations", "by_hazard")
    rates = {name.replace("_", " "): rate for name, rate in by_hazard.items()}
    return plot_before_after(rates, "violation rate of flagship, %")


@chart("red_team", "Success by attack strategy before and after")
def draw_red_team(evidence: Evidence) -> Figure:
    """The strategy with the highest success after safety tuning on top."""
    strategies = evidence.metric("flagship/safety", "red_team", "strategies")
    rates = dict(sorted(strategies.items(), key=lambda item: (-item[1]["after"]["value"], item[0])))
    rates["any of them"] = evidence.metric("flagship/safety", "red_team", "any_strategy")
    return plot_before_after(rates, "harmful requests that succeed, %")


@chart("injection", "Prompt injections followed before and after")
def draw_injection(evidence: Evidence) -> Figure:
    suite = evidence.metric("flagship/safety", "injection")
    rates = {"all injections": suite["attack_success_rate"], **suite["by_type"]}
    rates |= {f"· {variant}": rate for variant, rate in suite["by_variant"].items()}
    rates |= {
        "control: task alone, solved": suite["control_task_alone"],
        "control: instruction alone, followed": suite["control_instruction_alone"],
    }
    return plot_before_after(rates, "share of prompts, %")


@chart("cyber", "Insecure code and phishing before and after")
def draw_cyber(evidence: Evidence) -> Figure:
    suite = evidence.metric("flagship/safety")
    code, mails = suite["insecure_code"], suite["phishing"]
    rates = {
        "insecure code, instructed": code["instruct"]["insecure"],
        "insecure code, completed": code["autocomplete"]["insecure"],
        "secure code, instructed": code["instruct"]["secure"],
        "phishing: complied": mails["phishing"]["compliance_rate"],
        "phishing: persuasive mail": mails["phishing"]["success_rate"],
        "harmless mail, same score": mails["harmless"]["success_rate"],
    }
    return plot_before_after(rates, "share of answers, %")


@chart("weaknesses", "Insecure answers by weakness")
def draw_weaknesses(evidence: Evidence) -> Figure:
    """By the weakness that a careless answer to the request has."""
    rates = evidence.metric("flagship/safety", "insecure_code", "instruct", "by_weakness_asked")
    return plot_before_after(rates, "share of answers, %")


@chart("uplift", "Uplift by group with intervals and the minimum detectable effect")
def draw_uplift(evidence: Evidence) -> Figure:
    """Assisted minus control, for all participants and by group."""
    study = evidence.metric("flagship/safety", "uplift")
    differences: dict[str, Interval] = {"all participants": study["difference"]}
    differences |= {f"{skill} skill": group["difference"] for skill, group in study["by_skill"].items()}
    differences |= {stage: group["difference"] for stage, group in study["by_stage"].items()}
    smallest = 100 * study["minimum_detectable_effect"]
    figure, (axes,) = make_figure(HALF_WIDTH, 0.9 + 0.32 * len(differences))
    series = [("uplift", BLUE, [to_percent(value) for value in differences.values()])]
    unit = "score, assisted \N{MINUS SIGN} control, points"
    charts.plot_intervals(axes, list(differences), series, unit=unit, has_zero_line=True)
    axes.axvspan(-smallest, smallest, color=MUTED, alpha=0.1, linewidth=0)
    fraction = ("data", "axes fraction")
    annotate(axes, "undetectable at this size", (0, 1), (0, 3), xycoords=fraction, ha="center", color=INK)
    return figure
