"""The fit (3.2.1): a parabola per budget, its minimum, and the power law through the minima. Then the members' sizes,
and the loss that the parametric law through all runs predicts for each member."""

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
from stages.scaling.parabolas import INNER, KINDS, Parabolas, SweepDesign
from stages.scaling.parametric import LawEnsemble
from stages.statistics import bootstrap_estimate, percentile_interval
from stages.training.loader import TokenShards


class Herd(Section):
    """The FLOPs of the flagship, and the relative sizes of the other members."""

    flagship_flops: float = Field(gt=0)
    """Training FLOPs of the flagship (paper 3.2: 3.8e25)."""
    medium_ratio: float = Field(gt=0, lt=1)
    """Parameters of medium over those of the flagship (paper: 70 / 405)."""
    small_ratio: float = Field(gt=0, lt=1)
    """Parameters of small over those of the flagship (paper: 8 / 405)."""
    sibling_tokens: float = Field(gt=0)
    """Tokens of medium and small over those of the flagship; determines their over-training (paper 3.2: 1, all members
    are trained on the 15T tokens)."""
    bootstrap: int = Field(ge=100)
    """Resamples behind each interval of the fit (assumption)."""


@dataclass(frozen=True)
class Config:
    seed: Annotated[int, "seed"]
    architecture: Annotated[Architecture, "architecture"]
    ladder: Annotated[Ladder, "ladder"]
    herd: Annotated[Herd, "herd"]


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """sweep, tokens -> herd (JSON: shape, tokens and predicted loss of each member, and the fits)."""
    points = json.loads((inputs["sweep"] / "points.json").read_text())
    fit = fit_power_law(points, config.herd, config.seed)
    vocab_size = TokenShards(inputs["tokens"]).vocab_size
    sizes = [config.architecture.config(shape, vocab_size) for shape in config.ladder]
    chosen = choose_sizes(sizes, fit["parameters"]["value"], config.herd)
    tokens = tokens_for(config.herd.flagship_flops, chosen["flagship"].parameters)
    extra = json.loads((inputs["sweep"] / "extra.json").read_text())
    laws = LawEnsemble.fit([*points, *extra], config.herd.bootstrap, config.seed)
    members = {}
    for name, size in chosen.items():
        member_tokens = tokens if name == "flagship" else config.herd.sibling_tokens * tokens
        members[name] = {
            "config": size.to_json(),
            "parameters": size.parameters,
            "tokens": member_tokens,
            "flops": training_flops(size.parameters, member_tokens),
            "loss": laws.predict(size.parameters, member_tokens),
            **describe_overtraining(size.parameters, member_tokens, fit, laws),
        }
    herd = {"members": members, "fit": fit, "parametric": laws.to_json()}
    outputs["herd"].write_text(json.dumps(herd, indent=1, sort_keys=True) + "\n")
    columns = ("parameters", "tokens", "flops", "overtraining")
    context.table(
        "members",
        [
            {"member": name, **{key: member[key] for key in columns}, "loss": member["loss"]["value"]}
            for name, member in members.items()
        ],
    )
    without_config = {name: {k: v for k, v in member.items() if k != "config"} for name, member in members.items()}
    return {"fit": fit, "parametric": herd["parametric"], "members": without_config}


def describe_overtraining(parameters: int, tokens: float, fit: Mapping[str, Any], laws: LawEnsemble) -> dict[str, Any]:
    """A member's tokens over its optimal tokens, and the loss difference by the parametric law: against the same size
    (equal inference cost) on its optimal tokens, and against the optimal size for the same FLOPs."""
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
    """The shapes of the members. The flagship is the rung nearest to `optimum` parameters, from the third rung on. The
    others are the rungs nearest to their ratios, each below the next larger member."""
    ladder = sorted(sizes, key=lambda size: size.parameters)

    def nearest(rungs: Sequence[LlamaConfig], parameters: float) -> LlamaConfig:
        return min(rungs, key=lambda size: abs(np.log(size.parameters / parameters)))

    flagship = nearest(ladder[2:], optimum)
    medium = nearest(ladder[1 : ladder.index(flagship)], herd.medium_ratio * flagship.parameters)
    small = nearest(ladder[: ladder.index(medium)], herd.small_ratio * flagship.parameters)
    return {"small": small, "medium": medium, "flagship": flagship}


def fit_power_law(points: Sequence[Mapping[str, Any]], herd: Herd, seed: int) -> dict[str, Any]:
    """D* = A C^alpha in tokens through the inner minima, the loss at the minima, and both at the flagship's FLOPs.

    Intervals are from a parametric bootstrap: the whole procedure, with the selection of minima, is repeated on sweeps
    that are resampled around the parabolas. Raises StageError for a sweep with fewer than two inner minima, or without
    residual degrees of freedom.
    """
    design = SweepDesign.of(points)
    if design.degrees_of_freedom < 1:
        raise StageError(
            f"{len(points)} runs in {len(design.budgets)} budgets: parabolas through three points have no residual and "
            "no uncertainty; give scaling.isoflops.budgets four rungs or more"
        )
    measured = design.fit(np.array([[point["loss"] for point in points]]))
    kinds = [KINDS[kind] for kind in measured.kinds[0]]
    if kinds.count("inner") < 2:
        raise StageError(
            f"only {kinds.count('inner')} of {len(kinds)} budgets have an inner minimum, the power law needs 2; "
            "give scaling.isoflops.budgets rungs on both sides of the optimum, or more runs where the curve is flat ("
            + ", ".join(f"{flops:.1e} FLOPs: {kind}" for flops, kind in zip(design.budgets, kinds, strict=True))
            + ")"
        )
    generator = np.random.default_rng(seed)
    resampled, scatter = measured.resample(herd.bootstrap, generator)
    laws = resampled.laws()
    has_law = laws.pop("minima") >= 2
    if has_law.sum() < 10:
        raise StageError(
            f"only {has_law.sum()} of {herd.bootstrap} resampled sweeps have a power law: the sweep is too noisy"
        )
    draws = evaluate_laws(laws, herd.flagship_flops)
    # The flagship's run scatters around the law as the runs of the sweep do.
    draws["loss"] = draws["loss"] + generator.normal(size=len(scatter)) * scatter
    best = measured.laws()
    minima = int(best.pop("minima")[0])
    result: dict[str, Any] = {
        name: bootstrap_estimate(float(value[0]), draws[name][has_law], minima)
        for name, value in evaluate_laws(best, herd.flagship_flops).items()
    }
    slope = float(measured.curvature_slope[0])
    result["curvature_slope"] = bootstrap_estimate(slope, resampled.curvature_slope, len(kinds))
    result["flagship_flops"] = herd.flagship_flops
    result["residual"] = float(measured.scatter[0])
    # Resamples with fewer than two inner minima have no law; a small share of laws makes the intervals unreliable.
    result["resamples_with_a_power_law"] = float(has_law.mean())
    law = best["log_a"][0] + best["alpha"][0] * np.log(design.budgets)
    result["budgets"] = [describe_budget(measured, resampled, index, float(law[index])) for index in range(len(kinds))]
    result["left_out"] = {kind: kinds.count(kind) for kind in KINDS if kind != "inner"}
    return result


def describe_budget(measured: Parabolas, resampled: Parabolas, index: int, law: float) -> dict[str, Any]:
    """The result of one budget; `law` is ln of its optimal tokens by the power law."""
    design = measured.design
    kind = KINDS[measured.kinds[0, index]]
    inner = kind == "inner"
    is_inner = resampled.kinds[:, index] == INNER
    log_minimum = float(measured.log_minimum[0, index])
    minima = np.exp(resampled.log_minimum[is_inner, index])
    return {
        "flops": float(design.budgets[index]),
        "kind": kind,
        "inner": inner,
        "curvature": float(measured.curvature[0, index]),
        "curvature_interval": percentile_interval(resampled.curvature[:, index]),
        "coefficients": [float(value) for value in measured.coefficients[0, index]],
        "centre": float(design.centres[index]),
        "optimal_tokens": float(np.exp(log_minimum)) if inner else None,
        "optimal_tokens_interval": percentile_interval(minima) if inner and len(minima) else None,
        "log_deviation": log_minimum - law if inner else None,
        "resamples_inner": float(is_inner.mean()),
        "minimum_loss": float(measured.minimum_loss[0, index]) if inner else None,
        "residual": float(np.sqrt(np.mean(measured.residuals[0, design.run_indices[index]] ** 2))),
        "residuals": [float(value) for value in measured.residuals[0, design.run_indices[index]]],
    }


def evaluate_laws(laws: Mapping[str, np.ndarray], flops: float) -> dict[str, np.ndarray]:
    """The laws, and their values at `flops`: optimal tokens and parameters, and the loss. All [R]."""
    tokens = np.exp(laws["log_a"] + laws["alpha"] * np.log(flops))
    loss = np.exp(laws["log_loss"] + laws["loss_exponent"] * np.log(flops))
    return {**laws, "tokens": tokens, "parameters": parameters_for(flops, tokens), "loss": loss}


def optimal_tokens(parameters: int, fit: Mapping[str, Any]) -> float:
    """Tokens at which a model with `parameters` parameters is compute-optimal: D = A (6 N D)^alpha solved for D."""
    alpha, log_a = fit["alpha"]["value"], fit["log_a"]["value"]
    return float(np.exp((log_a + alpha * np.log(training_flops(parameters, 1))) / (1 - alpha)))
