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
from stages.scaling.flops import tokens_for, training_flops
from stages.scaling.ladder import Architecture, Ladder
from stages.scaling.parametric import fit_parametric
from stages.statistics import middle
from stages.training.loader import TokenShards


class Herd(Section):
    """The budget of the flagship, and how much smaller its siblings are."""

    flagship_flops: float = Field(gt=0)
    """Training FLOPs of the flagship (paper 3.2: 3.8e25)."""
    medium_ratio: float = Field(gt=0, lt=1)
    """Parameters of medium over those of the flagship (paper: 70 / 405)."""
    small_ratio: float = Field(gt=0, lt=1)
    """Parameters of small over those of the flagship (paper: 8 / 405)."""
    bootstrap: int = Field(ge=100)
    """Resamples behind each interval of the fit (assumption)."""


@dataclass(frozen=True)
class Config:
    seed: Annotated[int, "seed"]
    architecture: Annotated[Architecture, "architecture"]
    ladder: Annotated[Ladder, "ladder"]
    herd: Annotated[Herd, "herd"]


@dataclass(frozen=True)
class Parabola:
    """loss = a + b x + c x^2 in x = ln(tokens) - centre, for one budget."""

    flops: float
    centre: float
    coefficients: tuple[float, float, float]
    low: float
    high: float
    residual: float

    @property
    def curvature(self) -> float:
        return self.coefficients[2]

    @property
    def log_minimum(self) -> float:
        """ln of the tokens at the minimum."""
        return self.centre - self.coefficients[1] / (2 * self.coefficients[2])

    @property
    def inner(self) -> bool:
        """Whether it opens upwards with its minimum between the smallest and the largest run."""
        return self.curvature > 0 and self.low < self.log_minimum < self.high

    @property
    def minimum_loss(self) -> float:
        a, b, c = self.coefficients
        return a - b * b / (4 * c)


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """sweep, tokens -> herd (a JSON file: shape, tokens and predicted loss of each member, and the fits behind)."""
    points = json.loads((inputs["sweep"] / "points.json").read_text())
    fit = fit_power_law(points, config.herd, config.seed)
    vocab_size = TokenShards(inputs["tokens"]).vocab_size
    sizes = [config.architecture.config(shape, vocab_size) for shape in config.ladder]
    chosen = choose_sizes(sizes, fit["parameters"]["value"], config.herd)
    tokens = tokens_for(config.herd.flagship_flops, chosen["flagship"].parameters)
    shapes = {member: (size.parameters, tokens) for member, size in chosen.items()}
    parametric, losses = fit_parametric(points, shapes, config.herd.bootstrap, config.seed)
    members = {
        member: {
            "config": size.to_json(),
            "parameters": size.parameters,
            "tokens": tokens,
            "flops": training_flops(size.parameters, tokens),
            "overtraining": tokens / optimal_tokens(size.parameters, fit),
            "loss": losses[member],
        }
        for member, size in chosen.items()
    }
    herd = {"members": members, "fit": fit, "parametric": parametric}
    outputs["herd"].write_text(json.dumps(herd, indent=1, sort_keys=True) + "\n")
    context.table("members", [{"member": name, **{k: v for k, v in row.items() if k != "config"},
                               "loss": losses[name]["value"]} for name, row in members.items()])  # fmt: skip
    sizes_only = {name: {k: v for k, v in row.items() if k != "config"} for name, row in members.items()}
    return {"fit": fit, "parametric": parametric, "members": sizes_only}


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

    Intervals: the residuals of the parabolas, pooled over budgets, are drawn anew and everything is fitted again. How
    large they are is an estimate from few runs, so each draw has a size of its own (Student's t, not the normal).
    """
    parabolas = fit_parabolas(points)
    inner = [parabola for parabola in parabolas if parabola.inner]
    if len(inner) < 2:
        raise StageError(
            f"only {len(inner)} of {len(parabolas)} budgets have an inner minimum, the power law needs 2: "
            "give scaling.isoflops.budgets rungs on both sides of the optimum"
        )
    if len(points) <= 3 * len(parabolas):
        raise StageError(
            f"{len(points)} runs in {len(parabolas)} budgets: parabolas through three points have no residual, so "
            "nothing says how sure the fit is: give scaling.isoflops.budgets four rungs or more"
        )
    best = predict(inner, herd.flagship_flops)
    generator = np.random.default_rng(seed)
    noise, freedom = pooled_residual(points, parabolas), len(points) - 3 * len(parabolas)
    draws: list[dict[str, float]] = []
    minima: dict[float, list[float]] = {parabola.flops: [] for parabola in parabolas}
    flattening = []
    for _ in range(herd.bootstrap):
        size = noise * float(np.sqrt(freedom / generator.chisquare(freedom)))
        again = [{**point, "loss": point["fitted"] + generator.normal(0, size)} for point in fitted(points, parabolas)]
        every = fit_parabolas(again)
        flattening.append(curvature_slope(every))
        redrawn = [parabola for parabola in every if parabola.inner]
        for parabola in redrawn:
            minima[parabola.flops].append(float(np.exp(parabola.log_minimum)))
        if len(redrawn) >= 2:
            # A new run of the flagship would scatter around the curve as the sweep's runs do.
            draw = predict(redrawn, herd.flagship_flops)
            draws.append(draw | {"loss": draw["loss"] + generator.normal(0, size)})
    if len(draws) < 10:
        raise StageError(
            f"only {len(draws)} of {herd.bootstrap} resampled sweeps have a power law: the sweep is too noisy"
        )
    result: dict[str, Any] = {
        name: {"value": value, **middle([draw[name] for draw in draws]), "n": len(inner)}
        for name, value in best.items()
    }
    result["curvature_slope"] = {
        "value": curvature_slope(parabolas), **middle(flattening), "n": len(parabolas)
    }  # fmt: skip
    result["flagship_flops"] = herd.flagship_flops
    result["residual"] = noise
    # Resamples whose minima fall off the edge say nothing of the power law: a small share makes it worth little.
    result["resamples_with_a_power_law"] = len(draws) / herd.bootstrap
    result["budgets"] = [
        {
            "flops": p.flops,
            "inner": p.inner,
            "curvature": p.curvature,
            "coefficients": list(p.coefficients),
            "centre": p.centre,
            "optimal_tokens": float(np.exp(p.log_minimum)) if p.inner else None,
            "optimal_tokens_interval": middle(minima[p.flops]) if p.inner and minima[p.flops] else None,
            "resamples_inner": len(minima[p.flops]) / herd.bootstrap,
            "minimum_loss": p.minimum_loss if p.inner else None,
            "residual": p.residual,
        }
        for p in parabolas
    ]
    return result


def fit_parabolas(points: Sequence[Mapping[str, Any]]) -> list[Parabola]:
    """One parabola per budget, in ascending order; each needs three sizes or more."""
    parabolas = []
    for flops in sorted({point["flops"] for point in points}):
        x = np.log([point["tokens"] for point in points if point["flops"] == flops])
        y = np.array([point["loss"] for point in points if point["flops"] == flops])
        centre = float(x.mean())
        c, b, a = np.polyfit(x - centre, y, 2)
        residual = float(np.sqrt(np.mean((np.polyval([c, b, a], x - centre) - y) ** 2)))
        coefficients = (float(a), float(b), float(c))
        parabolas.append(Parabola(flops, centre, coefficients, float(x.min()), float(x.max()), residual))
    return parabolas


def fitted(points: Sequence[Mapping[str, Any]], parabolas: Sequence[Parabola]) -> list[dict[str, Any]]:
    """The points with what their parabola says of them as `fitted`."""
    by_flops = {parabola.flops: parabola for parabola in parabolas}
    rows = []
    for point in points:
        parabola = by_flops[point["flops"]]
        a, b, c = parabola.coefficients
        x = np.log(point["tokens"]) - parabola.centre
        rows.append({**point, "fitted": a + b * x + c * x * x})
    return rows


def pooled_residual(points: Sequence[Mapping[str, Any]], parabolas: Sequence[Parabola]) -> float:
    """Standard deviation of the points around their parabolas, three degrees of freedom a parabola taken off."""
    squares = sum((point["loss"] - point["fitted"]) ** 2 for point in fitted(points, parabolas))
    return float(np.sqrt(squares / max(1, len(points) - 3 * len(parabolas))))


def curvature_slope(parabolas: Sequence[Parabola]) -> float:
    """Change of the curvature per e-fold of compute; below 0 where the curves flatten (3.2.1)."""
    return float(np.polyfit(np.log([p.flops for p in parabolas]), [p.curvature for p in parabolas], 1)[0])


def predict(parabolas: Sequence[Parabola], flops: float) -> dict[str, float]:
    """The power laws through the minima, and their values at `flops`: D* = A C^alpha, L* = B C^-beta."""
    x = np.log([parabola.flops for parabola in parabolas])
    alpha, log_a = np.polyfit(x, [parabola.log_minimum for parabola in parabolas], 1)
    slope, log_b = np.polyfit(x, np.log([parabola.minimum_loss for parabola in parabolas]), 1)
    tokens = float(np.exp(log_a + alpha * np.log(flops)))
    return {
        "alpha": float(alpha),
        "log_a": float(log_a),
        "loss_exponent": float(slope),
        "log_loss": float(log_b),
        "tokens": tokens,
        "parameters": flops / (6 * tokens),
        "loss": float(np.exp(log_b + slope * np.log(flops))),
    }


def optimal_tokens(parameters: int, fit: Mapping[str, Any]) -> float:
    """Tokens at which a model of so many parameters is compute-optimal: D = A (6 N D)^alpha solved for D."""
    alpha, log_a = fit["alpha"]["value"], fit["log_a"]["value"]
    return float(np.exp((log_a + alpha * np.log(6 * parameters)) / (1 - alpha)))
