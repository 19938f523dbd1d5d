"""Claims on scaling laws (3.2.1)."""

from collections.abc import Mapping

import numpy as np

from stages import statistics
from stages.report.evidence import MEMBERS, Evidence, Interval, format_interval, rescale, subtract, to_percent
from stages.report.verdict import ABOVE, BELOW, ClaimFamily, Expectation, Finding, finding

PAPER_ALPHA = 0.53
LOSS_TOLERANCE = 5.0
"""Percent by which the flagship's loss may deviate from the prediction."""
ACCURACY_TOLERANCE = 5.0
"""Percentage points by which its accuracy may deviate from the prediction (the paper says "slightly")."""
COVERAGE = 0.95
LOSS_UNIT = "nats per token"
NATS_UNIT = "nats per character"
CURVATURE_UNIT = "nats per (ln tokens)^2"

claims = ClaimFamily()


@claims.register("scal-01", "3.2.1", "IsoFLOP curves are parabolas with inner minima", paper="Fig. 2")
def count_inner_minima(evidence: Evidence) -> Finding:
    budgets = evidence.herd["fit"]["budgets"]
    num_inner = sum(budget["inner"] for budget in budgets)
    curvature = statistics.mean_over_seeds(np.array([budget["curvature"] for budget in budgets]))
    residual = float(np.mean([budget["residual"] for budget in budgets]))
    excluded = [f"{budget['flops']:.1e} FLOPs: {budget['kind']}" for budget in budgets if not budget["inner"]]
    note = f" Excluded from the power law: {', '.join(excluded)}." if excluded else ""
    return finding(
        to_percent(statistics.clopper_pearson(num_inner, len(budgets))),
        "% of budgets",
        "budgets whose parabola has an inner minimum",
        Expectation("above", 50.0),
        detail=f"{num_inner} of {len(budgets)} budgets; mean residual from the parabola {residual:.4f} nats.{note} The "
        f"interval is the exact binomial one: {len(budgets)} budgets are few.",
        over="budgets",
        secondary=[finding(curvature, CURVATURE_UNIT, "curvature, mean over budgets", ABOVE, over="budgets")],
    )


@claims.register(
    "scal-02", "3.2.1", "The compute-optimal number of tokens follows a power law", paper="exponent 0.53, A 0.29"
)
def check_power_law(evidence: Evidence) -> Finding:
    fit = evidence.herd["fit"]
    alpha, coverage = fit["alpha"], fit["resamples_with_a_power_law"]
    is_covered = coverage >= COVERAGE
    is_inside = alpha["low"] <= PAPER_ALPHA <= alpha["high"]
    deviations = [abs(budget["log_deviation"]) for budget in fit["budgets"] if budget["inner"]]
    detail = (
        f"A = {np.exp(fit['log_a']['value']):.6g} with alpha = {alpha['value']:.6f}. The minima deviate from the law "
        f"by up to {100 * np.expm1(max(deviations)):.1f}%. The paper's {PAPER_ALPHA} is "
        f"{'inside' if is_inside else 'outside'} the interval. {100 * coverage:.0f}% of the resampled sweeps have a "
        f"power law{'' if is_covered else ', too few for a 95% interval'}."
    )
    return finding(
        alpha,
        "exponent",
        "exponent of optimal training tokens over compute",
        ABOVE,
        detail=detail,
        is_conclusive=is_covered,
        over="budgets",
        secondary=[
            finding(rescale(fit["tokens"], 1e-6), "million tokens", "optimal tokens at the flagship's budget"),
            finding(rescale(fit["parameters"], 1e-6), "million parameters", "optimal size at the flagship's budget"),
            finding(fit["loss_exponent"], "exponent", "exponent of the loss at the minima over compute", BELOW),
        ],
    )


@claims.register("scal-03", "3.2.1", "IsoFLOP curves flatten at the minimum as compute grows", paper="yes")
def measure_curvature_change(evidence: Evidence) -> Finding:
    fit = evidence.herd["fit"]
    first, *_, last = fit["budgets"]
    return finding(
        fit["curvature_slope"],
        CURVATURE_UNIT,
        "change of the curvature per e-fold of compute",
        BELOW,
        over="budgets",
        detail=f"Curvature {first['curvature']:.3f} at {first['flops']:.1e} FLOPs, {last['curvature']:.3f} at "
        f"{last['flops']:.1e} FLOPs.",
    )


@claims.register("scal-04", "3.2.1", "The fit predicts the flagship", paper="402B parameters on 16.55T tokens")
def check_loss_prediction(evidence: Evidence) -> Finding:
    members, fit, law = (evidence.herd[key] for key in ("members", "fit", "parametric"))
    predicted, reached = members["flagship"]["loss"], evidence.metric("flagship/annealing", "validation_loss")

    def deviate(reached: Mapping[str, float], predicted: Mapping[str, float]) -> Interval:
        """In percent, with the uncertainty of the prediction and of the measurement: half-widths add in squares."""
        logs = [{key: float(np.log(one[key])) for key in ("value", "low", "high")} for one in (reached, predicted)]
        difference = subtract(*(one | {"n": reached["n"]} for one in logs))
        return {key: value if key == "n" else 100 * float(np.expm1(value)) for key, value in difference.items()}

    expected = Expectation("within", LOSS_TOLERANCE)
    by_minima = deviate(reached, fit["loss"])
    extrapolation = fit["flagship_flops"] / fit["budgets"][-1]["flops"]
    deviation = deviate(reached, predicted)
    detail = (
        f"Reached {reached['value']:.3f} nats per token. The parametric law through all runs predicts "
        f"{format_interval(predicted, 3)}, missed by {format_interval(deviation, 1, '%')}; the power law through the "
        f"minima predicts {format_interval(fit['loss'], 3)}, missed by {format_interval(by_minima, 1, '%')}. The "
        f"intervals have the uncertainty of the prediction and of the measurement. The flagship has "
        f"{extrapolation:.0f} times the compute of the largest budget. No run of the sweep has its last phases, long "
        "context and annealing on another mix; the deviation before them is listed below."
    )
    minima = "reached loss over the loss predicted by the power law through the minima, minus 1"
    secondary = [
        finding(by_minima, "%", minima, expected, over="budgets"),
        finding(predicted, LOSS_UNIT, "predicted loss of the flagship"),
        finding(reached, LOSS_UNIT, "reached loss; interval over validation windows", over="documents"),
        finding(law["irreducible"], LOSS_UNIT, "irreducible loss of the parametric law"),
        finding(law["alpha"], "exponent", "exponent of optimal tokens over compute, by the parametric law"),
    ]
    others = [("flagship/initial", "flagship", "deviation before long context and annealing")]
    others += [
        (f"{member}/annealing", member, f"{member}: reached over predicted loss, minus 1") for member in MEMBERS[1::-1]
    ]
    for name, member, quantity in others:
        other = evidence.find_metric(name, "validation_loss")
        if other:
            secondary.append(finding(deviate(other, members[member]["loss"]), "%", quantity, over="budgets"))
    return finding(
        deviation,
        "%",
        "reached loss over the loss predicted by the parametric law, minus 1",
        expected,
        detail=detail,
        over="budgets",
        secondary=secondary,
    )


@claims.register(
    "scal-05", "3.2.1", "Task accuracy is predicted from compute in two stages", paper="only slightly underestimated"
)
def check_accuracy_prediction(evidence: Evidence) -> Finding:
    predicted = evidence.metric("downstream", "members")
    reached = evidence.metric("multiple_choice", "flagship-base")
    sigmoid, line = evidence.metric("downstream", "accuracy"), evidence.metric("downstream", "likelihood")
    flagship = predicted["flagship"]

    def deviate(reached: Mapping[str, float], predicted: Mapping[str, float], factor: float) -> Interval:
        """Reached minus predicted; the prediction's interval includes the scatter of runs and of questions."""
        ends = (predicted["value"], predicted["high"], predicted["low"])
        values = [factor * (reached["value"] - end) for end in ends]
        return dict(zip(("value", "low", "high"), values, strict=True)) | {"n": reached["n"]}

    share = 1 / (1 + np.exp(sigmoid["slope"]["value"] * (reached["nats"]["value"] - sigmoid["middle"]["value"])))
    floor = sigmoid["floor"]["value"]
    by_sigmoid = 100 * (floor + (1 - floor) * share)
    is_inside = flagship["accuracy"]["low"] <= reached["accuracy"]["value"] <= flagship["accuracy"]["high"]
    detail = (
        f"Predicted before training: {format_interval(to_percent(flagship['accuracy']), 1, '%')} at "
        f"{format_interval(flagship['nats'], 3)} nats per character. Reached: "
        f"{100 * reached['accuracy']['value']:.1f}% at {reached['nats']['value']:.3f}, "
        f"{'inside' if is_inside else 'outside'} the prediction's interval. The sigmoid alone gives {by_sigmoid:.1f}% "
        f"at the reached likelihood. Chance is {100 * sigmoid['chance']:.1f}%. The line is fitted to the sweep's "
        f"models from {line['first_flops']:.1e} FLOPs on, "
        f"{'where they follow a line' if line['straight'] else 'although they do not follow a line'}."
    )
    secondary = [
        finding(to_percent(flagship["accuracy"]), "%", "predicted accuracy"),
        finding(to_percent(reached["accuracy"]), "%", "reached accuracy"),
        finding(
            deviate(reached["nats"], flagship["nats"], 1.0),
            NATS_UNIT,
            "stage 1: correct answers, reached minus predicted",
        ),
        finding(line["slope"], NATS_UNIT, "stage 1: change per e-fold of compute", BELOW),
        finding(sigmoid["slope"], "per nat per character", "stage 2: steepness of the sigmoid", ABOVE),
    ]
    others = [("flagship-initial", "flagship", "before long context and annealing: reached minus predicted accuracy")]
    others += [(f"{member}-base", member, f"{member}: reached minus predicted accuracy") for member in MEMBERS[:-1]]
    for name, member, quantity in others:
        other = evidence.find_metric("multiple_choice", name)
        if other:
            interval = deviate(other["accuracy"], predicted[member]["accuracy"], 100)
            secondary.append(finding(interval, "percentage points", quantity))
    return finding(
        deviate(reached["accuracy"], flagship["accuracy"], 100),
        "percentage points",
        "flagship's accuracy on held-out prompts, reached minus predicted",
        Expectation("within", ACCURACY_TOLERANCE),
        detail=detail,
        over="budgets",
        secondary=secondary,
    )
