"""The scaling law and its predictions (3.2.1)."""

import math
from typing import Any

from stages.report.evidence import MEMBERS
from tests.report.example.values import interval, rate

VERDICTS = {
    "scal-01": "not shown at this scale",
    "scal-02": "shown",
    "scal-03": "shown",
    "scal-04": "not shown at this scale",
    "scal-05": "shown",
}
BUDGETS = (4e11, 8e11, 1.6e12, 3.2e12)


def herd() -> dict[str, Any]:
    budgets = [
        {
            "flops": flops,
            "inner": True,
            "kind": "inner",
            "log_deviation": 0.01,
            "curvature": 0.1 - 0.01 * place,
            "centre": math.log(8e5 * 1.7**place),
            "coefficients": [3.4 - 0.2 * place, -0.01, 0.1 - 0.01 * place],
            "optimal_tokens": 8.4e5 * 1.7**place,
            "minimum_loss": 3.3998 - 0.2 * place,
            "residual": 0.004,
        }
        for place, flops in enumerate(BUDGETS)
    ]
    fit = {
        "alpha": interval(0.77, 0.1, 4),
        "log_a": interval(-7.2, 1, 4),
        "log_loss": interval(3.7, 0.2, 4),
        "loss_exponent": interval(-0.092, 0.01, 4),
        "tokens": interval(6e6, 1e6, 4),
        "parameters": interval(1.2e6, 3e5, 4),
        "loss": interval(2.26, 0.08, 4),
        "flagship_flops": 4.5e13,
        "residual": 0.006,
        "resamples_with_a_power_law": 1.0,
        "curvature_slope": interval(-0.02, 0.005, 4),
        "budgets": budgets,
    }
    members = {
        name: {
            "parameters": parameters,
            "tokens": 7.5e6,
            "flops": 45e6 * parameters,
            "overtraining": over,
            "optimal_tokens": 7.5e6 / over,
            "against_optimal_tokens": interval(-0.05 * (over - 1), 0.01, 20),
            "optimal_size": {
                "parameters": parameters * over,
                "tokens": 7.5e6 / over,
                "against": interval(0.02 * (over - 1), 0.01, 20),
            },
            "loss": interval(2.26, 0.08, 20),
            "config": {"num_hidden_layers": 4, "hidden_size": 96, "num_attention_heads": 4, "num_key_value_heads": 2},
        }
        for name, parameters, over in (("small", 280_000, 3.4), ("medium", 600_000, 1.7), ("flagship", 1_000_000, 1.02))
    }
    parametric = {
        "irreducible": interval(1.8, 0.1, 20),
        "a": interval(650, 50, 20),
        "b": interval(5000, 500, 20),
        "residual": 0.01,
        "parameters_exponent": interval(0.6, 0.05, 20),
        "tokens_exponent": interval(0.65, 0.05, 20),
        "alpha": interval(0.48, 0.05, 20),
    }
    return {"fit": fit, "parametric": parametric, "members": members}


def metrics() -> dict[str, Any]:
    points = []
    for budget in herd()["fit"]["budgets"]:
        for step in (-0.8, -0.4, 0.0, 0.4, 0.8):
            a, b, c = budget["coefficients"]
            points.append(
                {
                    "flops": budget["flops"],
                    "tokens": math.exp(budget["centre"] + step),
                    "parameters": 50_000,
                    "loss": a + b * step + c * step * step + 0.003 * math.sin(7 * step),
                    "loss_error": 0.03,
                }
            )
    predicted, reached = downstream()
    return {"isoflops": {"points": points}, "downstream": predicted, "multiple_choice": reached}


def downstream() -> tuple[dict[str, Any], dict[str, Any]]:
    """Predicted and reached multiple-choice results of every member."""
    runs = [
        {
            "flops": flops,
            "parameters": 50_000,
            "tokens": 1e6,
            "answer_nats": 1.6 - 0.2 * place,
            "answer_accuracy": 0.3 + 0.05 * place,
        }
        for place, flops in enumerate(BUDGETS)
    ]
    predicted = {
        "likelihood": {
            "intercept": 9.4,
            "slope": interval(-0.29, 0.02, 20),
            "off_optimum": 0.1,
            "residual": 0.03,
            "first_flops": BUDGETS[1],
            "straight": True,
        },
        "accuracy": {
            "slope": interval(4.0, 0.5, 20),
            "middle": interval(0.6, 0.1, 20),
            "floor": interval(0.3, 0.02, 20),
            "chance": 0.25,
            "questions": 200,
            "residual": 0.02,
        },
        "members": {
            member: {"nats": interval(0.7 - 0.1 * place, 0.05, 20), "accuracy": interval(0.55 + 0.1 * place, 0.03, 20)}
            for place, member in enumerate(MEMBERS)
        },
        "runs": runs,
    }
    names = {"flagship-initial": 0.7, "flagship-base": 0.76, "medium-base": 0.7, "small-base": 0.5}
    reached = {name: {"nats": interval(1.2 - p, 0.05, 200), "accuracy": rate(p, 200)} for name, p in names.items()}
    return predicted, reached
