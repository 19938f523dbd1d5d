"""Claims on scaling laws (3.2.1)."""

from collections.abc import Mapping

import numpy as np

from stages import statistics
from stages.report.evidence import MEMBERS, Evidence, describe, join, percent, rescale, wilson
from stages.report.verdict import ABOVE, BELOW, Claim, Expectation, Finding, finding, judge

PAPER_ALPHA = 0.53
PREDICTION_TOLERANCE = 5.0
"""Percent by which the flagship's loss may miss the prediction."""
ACCURACY_TOLERANCE = 5.0
"""Percentage points by which its accuracy may miss the prediction: the paper says "slightly" and gives no number."""
COVERAGE = 0.95
LOSS = "nats per token"
NATS = "nats per character"


def inner_minima(evidence: Evidence) -> Finding:
    budgets = evidence.herd["fit"]["budgets"]
    inner = sum(budget["inner"] for budget in budgets)
    curvature = statistics.over_seeds(np.array([budget["curvature"] for budget in budgets]))
    residual = float(np.mean([budget["residual"] for budget in budgets]))
    others = [f"{budget['flops']:.1e} FLOPs: {budget['kind']}" for budget in budgets if not budget["inner"]]
    left_out = f" Left out of the power law: {', '.join(others)}." if others else ""
    detail = (
        f"{inner} of {len(budgets)} budgets; mean distance of a run from its parabola {residual:.4f} nats.{left_out}"
    )
    also = (finding(curvature, "nats per (ln tokens)^2", "curvature, mean over budgets", ABOVE),)
    return finding(
        percent(wilson(inner, len(budgets))),
        "% of budgets",
        "budgets whose parabola has an inner minimum",
        Expectation("above", 50.0),
        detail=detail,
        also=also,
    )


def power_law(evidence: Evidence) -> Finding:
    fit = evidence.herd["fit"]
    alpha, covered = fit["alpha"], fit["resamples_with_a_power_law"]
    inside = alpha["low"] <= PAPER_ALPHA <= alpha["high"]
    away = [abs(budget["log_deviation"]) for budget in fit["budgets"] if budget["inner"]]
    detail = (
        join(
            [
                f"A = {np.exp(fit['log_a']['value']):.6g} with alpha = {alpha['value']:.6f}",
                f"minima lie up to {100 * np.expm1(max(away)):.1f}% from the law",
                f"The paper's {PAPER_ALPHA} lies {'inside' if inside else 'outside'} the interval",
                f"{100 * covered:.0f}% of resampled sweeps have a power law"
                + ("" if covered >= COVERAGE else ", too few for a 95% interval"),
            ]
        )
        + "."
    )
    also = (
        finding(rescale(fit["tokens"], 1e-6), "million tokens", "optimal tokens at the flagship's budget"),
        finding(rescale(fit["parameters"], 1e-6), "million parameters", "optimal size at the flagship's budget"),
        finding(fit["loss_exponent"], "exponent", "exponent of the loss at the minima over compute", BELOW),
    )
    return finding(
        alpha,
        "exponent",
        "exponent of optimal training tokens over compute",
        ABOVE,
        detail=detail,
        conclusive=covered >= COVERAGE,
        also=also,
    )


def curves_flatten(evidence: Evidence) -> Finding:
    fit = evidence.herd["fit"]
    first, *_, last = fit["budgets"]
    detail = (
        f"Curvature {first['curvature']:.3f} at {first['flops']:.1e} FLOPs, {last['curvature']:.3f} at "
        f"{last['flops']:.1e} nats per (ln tokens)^2."
    )
    return finding(
        fit["curvature_slope"],
        "nats per (ln tokens)^2",
        "change of the curvature per e-fold of compute",
        BELOW,
        detail=detail,
    )


def flagship_predicted(evidence: Evidence) -> Finding:
    predicted, scatter = evidence.herd["members"]["flagship"]["loss"], evidence.herd["parametric"]["residual"]
    reached = evidence.metric("flagship/annealing", "validation_loss")

    def miss(reached: Mapping[str, float], predicted: Mapping[str, float]) -> dict[str, float]:
        """In percent; a run repeated scatters around its expectation as the runs of the sweep do."""
        spread = (0.0, -statistics.Z * scatter, statistics.Z * scatter)
        ends = [100 * (reached["value"] * np.exp(end) / predicted["value"] - 1) for end in spread]
        return dict(zip(("value", "low", "high"), map(float, ends), strict=True)) | {"n": reached["n"]}

    inside = predicted["low"] <= reached["value"] <= predicted["high"]
    fit = evidence.herd["fit"]
    reach = fit["flagship_flops"] / fit["budgets"][-1]["flops"]
    detail = (
        f"Predicted {describe(predicted, 3)}, reached {reached['value']:.3f} nats per token, "
        f"{'inside' if inside else 'outside'} the prediction's interval. The flagship's compute is {reach:.0f} times "
        "that of the largest budget, and its last phases, long context and annealing on another mix, are in no run of "
        "the sweep: what it reached before them stands below."
    )
    also = [
        finding(predicted, LOSS, "predicted loss of the flagship"),
        finding(reached, LOSS, "reached loss; interval over validation windows"),
        finding(evidence.herd["fit"]["loss"], LOSS, "loss that a power law through the minima would predict"),
        finding(evidence.herd["parametric"]["irreducible"], LOSS, "loss that no model goes below, by the fit"),
        finding(
            evidence.herd["parametric"]["alpha"],
            "exponent",
            "exponent of optimal tokens over compute, by the parametric law",
        ),
    ]
    initial = evidence.find("flagship/initial", "validation_loss")
    if initial:
        also.append(finding(miss(initial, predicted), "%", "deviation before long context and annealing"))
    for member in ("medium", "small"):
        other = evidence.find(f"{member}/annealing", "validation_loss")
        if other:
            deviation = miss(other, evidence.herd["members"][member]["loss"])
            also.append(finding(deviation, "%", f"{member}: reached over predicted loss, minus 1"))
    deviation, expected = miss(reached, predicted), Expectation("within", PREDICTION_TOLERANCE)
    # A prediction too wide to be refuted is not contradicted by what lies inside it.
    conclusive = not inside or judge(deviation["low"], deviation["high"], expected) == "shown"
    return finding(
        deviation,
        "%",
        "reached loss over predicted loss, minus 1",
        expected,
        detail=detail,
        conclusive=conclusive,
        also=tuple(also),
    )


def accuracy_predicted(evidence: Evidence) -> Finding:
    predicted = evidence.metric("downstream", "members")
    reached = evidence.metric("multiple_choice", "flagship-base")
    sigmoid = evidence.metric("downstream", "accuracy")
    flagship = predicted["flagship"]

    def miss(reached: Mapping[str, float], predicted: Mapping[str, float], factor: float) -> dict[str, float]:
        """Reached minus predicted; the prediction's interval holds the scatter of a run and of the questions."""
        ends = (predicted["value"], predicted["high"], predicted["low"])
        values = [factor * (reached["value"] - end) for end in ends]
        return dict(zip(("value", "low", "high"), values, strict=True)) | {"n": reached["n"]}

    share = 1 / (1 + np.exp(sigmoid["slope"]["value"] * (reached["nats"]["value"] - sigmoid["middle"]["value"])))
    floor = sigmoid["floor"]["value"]
    alone = 100 * (floor + (1 - floor) * share)
    line = evidence.metric("downstream", "likelihood")
    inside = flagship["accuracy"]["low"] <= reached["accuracy"]["value"] <= flagship["accuracy"]["high"]
    detail = (
        f"Predicted before training {describe(percent(flagship['accuracy']), 1, '%')} at "
        f"{describe(flagship['nats'], 3)} nats per character; reached {100 * reached['accuracy']['value']:.1f}% at "
        f"{reached['nats']['value']:.3f}, {'inside' if inside else 'outside'} the prediction's interval. At the "
        f"likelihood it reached the sigmoid alone gives {alone:.1f}%. A guess is right "
        f"{100 * sigmoid['chance']:.1f}%. The line is through the sweep's models from {line['first_flops']:.1e} FLOPs "
        f"on, {'from where they do not bend away from it' if line['straight'] else 'though they bend away from it'}."
    )
    also = [
        finding(percent(flagship["accuracy"]), "%", "predicted accuracy"),
        finding(percent(reached["accuracy"]), "%", "reached accuracy"),
        finding(miss(reached["nats"], flagship["nats"], 1.0), NATS, "stage 1: right answers, reached minus predicted"),
        finding(line["slope"], NATS, "stage 1: change per e-fold of compute", BELOW),
        finding(sigmoid["slope"], "per nat per character", "stage 2: steepness of the sigmoid", ABOVE),
    ]
    others = [(f"{member}-base", member, f"{member}: reached minus predicted accuracy") for member in MEMBERS[:-1]]
    for name, member, compared in [
        ("flagship-initial", "flagship", "before long context and annealing: reached minus predicted accuracy"),
        *others,
    ]:
        other = evidence.find("multiple_choice", name)
        if other:
            deviation = miss(other["accuracy"], predicted[member]["accuracy"], 100)
            also.append(finding(deviation, "percentage points", compared))
    deviation, expected = (
        miss(reached["accuracy"], flagship["accuracy"], 100),
        Expectation("within", ACCURACY_TOLERANCE),
    )
    return finding(
        deviation,
        "percentage points",
        "flagship's accuracy on held-out prompts, reached minus predicted",
        expected,
        detail=detail,
        also=tuple(also),
    )


SCALING = (
    Claim("scal-01", "3.2.1", "IsoFLOP curves are parabolas with inner minima", "Fig. 2", inner_minima),
    Claim(
        "scal-02",
        "3.2.1",
        "The compute-optimal number of tokens follows a power law",
        "exponent 0.53, A 0.29",
        power_law,
    ),
    Claim("scal-03", "3.2.1", "Curves flatten at the minimum as compute grows", "yes", curves_flatten),
    Claim("scal-04", "3.2.1", "The fit predicts the flagship", "402B parameters on 16.55T tokens", flagship_predicted),
    Claim(
        "scal-05",
        "3.2.1",
        "Task accuracy is predicted from compute in two stages",
        "only slightly underestimated",
        accuracy_predicted,
    ),
)
