"""The fit (3.2.1): a parabola per budget, its minimum, and the power law through the minima; then the herd's sizes, and
the loss that the parametric law through all runs predicts for each member."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from stages.interface import Context, Metrics, Paths, Section, StageError
from stages.model.llama import LlamaConfig
from stages.scaling.flops import parameters_for, tokens_for, training_flops
from stages.scaling.ladder import Architecture, Ladder
from stages.scaling.parabolas import INNER, KINDS, Design, Parabolas
from stages.scaling.parametric import Laws
from stages.statistics import percentile_interval
from stages.training.loader import TokenShards


class Herd(Section):
    """The budget of the flagship, and how much smaller its siblings are."""

    flagship_flops: float = Field(gt=0)
    """Training FLOPs of the flagship (paper 3.2: 3.8e25)."""
    medium_ratio: float = Field(gt=0, lt=1)
    """Parameters of medium over those of the flagship (paper: 70 / 405)."""
    small_ratio: float = Field(gt=0, lt=1)
    """Parameters of small over those of the flagship (paper: 8 / 405)."""
    sibling_tokens: float = Field(gt=0)
    """Tokens of medium and small over those of the flagship: what they are over-trained by (paper 3.2: 1, all members
    see the 15T tokens)."""
    bootstrap: int = Field(ge=100)
    """Resamples behind each interval of the fit (assumption)."""


@dataclass(frozen=True)
class Config:
    seed: Annotated[int, "seed"]
    architecture: Annotated[Architecture, "architecture"]
    ladder: Annotated[Ladder, "ladder"]
    herd: Annotated[Herd, "herd"]


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """sweep, tokens -> herd (a JSON file: shape, tokens and predicted loss of each member, and the fits behind)."""
    points = json.loads((inputs["sweep"] / "points.json").read_text())
    fit = fit_power_law(points, config.herd, config.seed)
    vocab_size = TokenShards(inputs["tokens"]).vocab_size
    sizes = [config.architecture.config(shape, vocab_size) for shape in config.ladder]
    chosen = choose_sizes(sizes, fit["parameters"]["value"], config.herd)
    tokens = tokens_for(config.herd.flagship_flops, chosen["flagship"].parameters)
    extra = json.loads((inputs["sweep"] / "extra.json").read_text())
    laws = Laws.fit([*points, *extra], config.herd.bootstrap, config.seed)
    members = {}
    for member, size in chosen.items():
        seen = tokens if member == "flagship" else config.herd.sibling_tokens * tokens
        members[member] = {
            "config": size.to_json(),
            "parameters": size.parameters,
            "tokens": seen,
            "flops": training_flops(size.parameters, seen),
            "loss": laws.predict(size.parameters, seen),
            **overtraining(size.parameters, seen, fit, laws),
        }
    herd = {"members": members, "fit": fit, "parametric": laws.numbers()}
    outputs["herd"].write_text(json.dumps(herd, indent=1, sort_keys=True) + "\n")
    numbers = ("parameters", "tokens", "flops", "overtraining")
    context.table(
        "members",
        [
            {"member": name, **{key: row[key] for key in numbers}, "loss": row["loss"]["value"]}
            for name, row in members.items()
        ],
    )
    sizes_only = {name: {k: v for k, v in row.items() if k != "config"} for name, row in members.items()}
    return {"fit": fit, "parametric": herd["parametric"], "members": sizes_only}


def overtraining(parameters: int, tokens: float, fit: Mapping[str, Any], laws: Laws) -> dict[str, Any]:
    """How far past its optimum a member is trained, and what the parametric law says that this buys: against the same
    size, and so the same cost of inference, on its optimal tokens; and against the optimal size for the same FLOPs."""
    optimum = optimal_tokens(parameters, fit)
    flops = training_flops(parameters, tokens)
    best_tokens = float(np.exp(fit["log_a"]["value"] + fit["alpha"]["value"] * np.log(flops)))
    best = parameters_for(flops, best_tokens)
    return {
        "overtraining": tokens / optimum,
        "optimal_tokens": optimum,
        "against_optimal_tokens": laws.difference((parameters, parameters), (tokens, optimum)),
        "optimal_size": {
            "parameters": best,
            "tokens": best_tokens,
            "against": laws.difference((parameters, best), (tokens, best_tokens)),
        },
    }


def choose_sizes(sizes: Sequence[LlamaConfig], optimum: float, herd: Herd) -> dict[str, LlamaConfig]:
    """The flagship's shape, nearest to the optimal number of parameters, and its siblings': each the rung nearest to
    its ratio among those below the next larger one. The two lowest rungs are left for the siblings."""
    ladder = sorted(sizes, key=lambda size: size.parameters)

    def nearest(rungs: Sequence[LlamaConfig], parameters: float) -> LlamaConfig:
        return min(rungs, key=lambda size: abs(np.log(size.parameters / parameters)))

    flagship = nearest(ladder[2:], optimum)
    medium = nearest(ladder[1 : ladder.index(flagship)], herd.medium_ratio * flagship.parameters)
    small = nearest(ladder[: ladder.index(medium)], herd.small_ratio * flagship.parameters)
    return {"small": small, "medium": medium, "flagship": flagship}


def fit_power_law(points: Sequence[Mapping[str, Any]], herd: Herd, seed: int) -> dict[str, Any]:
    """D* = A C^alpha in tokens through the inner minima, the loss at the minima, and what both say of the flagship.

    Intervals: sweeps are redrawn around the parabolas, and everything is done again with each, the choice of minima
    included. Raises StageError for a sweep without two inner minima, or without runs to estimate its scatter from.
    """
    design = Design.of(points)
    if design.freedom < 1:
        raise StageError(
            f"{len(points)} runs in {len(design.budgets)} budgets: parabolas through three points have no residual, so "
            "nothing says how sure the fit is: give scaling.isoflops.budgets four rungs or more"
        )
    measured = design.fit(np.array([[point["loss"] for point in points]]))
    kinds = [KINDS[kind] for kind in measured.kinds[0]]
    if kinds.count("inner") < 2:
        raise StageError(
            f"only {kinds.count('inner')} of {len(kinds)} budgets have an inner minimum, the power law needs 2: "
            "give scaling.isoflops.budgets rungs on both sides of the optimum, or more runs where the curve is flat ("
            + ", ".join(f"{flops:.1e} FLOPs: {kind}" for flops, kind in zip(design.budgets, kinds, strict=True))
            + ")"
        )
    generator = np.random.default_rng(seed)
    redrawn, scatter = measured.redraw(herd.bootstrap, generator)
    laws = redrawn.laws()
    has_law = laws.pop("minima") >= 2
    if has_law.sum() < 10:
        raise StageError(
            f"only {has_law.sum()} of {herd.bootstrap} resampled sweeps have a power law: the sweep is too noisy"
        )
    draws = at_budget(laws, herd.flagship_flops)
    # A new run of the flagship would scatter around the curve as the sweep's runs do.
    draws["loss"] = draws["loss"] + generator.normal(size=len(scatter)) * scatter
    best = measured.laws()
    minima = int(best.pop("minima")[0])
    result: dict[str, Any] = {
        name: {"value": float(value[0]), **percentile_interval(draws[name][has_law]), "n": minima}
        for name, value in at_budget(best, herd.flagship_flops).items()
    }
    result["curvature_slope"] = {
        "value": float(measured.flattening[0]),
        **percentile_interval(redrawn.flattening),
        "n": len(kinds),
    }
    result["flagship_flops"] = herd.flagship_flops
    result["residual"] = float(measured.scatter[0])
    # Resamples whose minima fall off the edge say nothing of the power law: a small share makes it worth little.
    result["resamples_with_a_power_law"] = float(has_law.mean())
    law = best["log_a"][0] + best["alpha"][0] * np.log(design.budgets)
    result["budgets"] = [budget(measured, redrawn, place, float(law[place])) for place in range(len(kinds))]
    result["left_out"] = {kind: kinds.count(kind) for kind in KINDS if kind != "inner"}
    return result


def budget(measured: Parabolas, redrawn: Parabolas, place: int, law: float) -> dict[str, Any]:
    """What is known of one budget; `law` is ln of the tokens that the power law gives it."""
    design = measured.design
    kind = KINDS[measured.kinds[0, place]]
    inner = kind == "inner"
    again = redrawn.kinds[:, place] == INNER
    log_minimum = float(measured.log_minimum[0, place])
    minima = np.exp(redrawn.log_minimum[again, place])
    return {
        "flops": float(design.budgets[place]),
        "kind": kind,
        "inner": inner,
        "curvature": float(measured.curvature[0, place]),
        "curvature_interval": percentile_interval(redrawn.curvature[:, place]),
        "coefficients": [float(value) for value in measured.coefficients[0, place]],
        "centre": float(design.centres[place]),
        "optimal_tokens": float(np.exp(log_minimum)) if inner else None,
        "optimal_tokens_interval": percentile_interval(minima) if inner and len(minima) else None,
        "log_deviation": log_minimum - law if inner else None,
        "resamples_inner": float(again.mean()),
        "minimum_loss": float(measured.minimum_loss[0, place]) if inner else None,
        "residual": float(np.sqrt(np.mean(measured.residuals[0, design.rows[place]] ** 2))),
        "residuals": [float(value) for value in measured.residuals[0, design.rows[place]]],
    }


def at_budget(laws: Mapping[str, np.ndarray], flops: float) -> dict[str, np.ndarray]:
    """The laws, and their values at `flops`: optimal tokens and parameters, and the loss there. All [R]."""
    tokens = np.exp(laws["log_a"] + laws["alpha"] * np.log(flops))
    loss = np.exp(laws["log_loss"] + laws["loss_exponent"] * np.log(flops))
    return {**laws, "tokens": tokens, "parameters": parameters_for(flops, tokens), "loss": loss}


def optimal_tokens(parameters: int, fit: Mapping[str, Any]) -> float:
    """Tokens at which a model of so many parameters is compute-optimal: D = A (6 N D)^alpha solved for D."""
    alpha, log_a = fit["alpha"]["value"], fit["log_a"]["value"]
    return float(np.exp((log_a + alpha * np.log(training_flops(parameters, 1))) / (1 - alpha)))
