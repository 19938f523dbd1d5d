"""Mixture of experts (1, 3.2) against a dense model at equal training FLOPs: loss, its spread over seeds, loss spikes.

The paper chose the dense model for training stability. Both are trained at the default learning rate and at higher
ones, where a less stable model fails first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from scipy.special import fdtri
from torch import Tensor

from stages import statistics
from stages.ablations.effects import NATS, Values, difference, fixed, make_metrics, over_seeds, values_of
from stages.ablations.trial import MixTrialConfig, Trial, TrialSettings
from stages.interface import Context, Metrics, Paths, Section
from stages.model.moe import MoEConfig, MoELlama
from stages.scaling.flops import tokens_for, training_flops
from stages.training.language_modelling import next_token_loss
from stages.training.loader import TokenBatch

MAD = 1.4826
"""Standard deviation of normal noise over its median absolute deviation."""


class Experts(Section):
    """The mixture of experts, compared with the dense shape of the trials."""

    trials: TrialSettings
    experts: int = Field(ge=2)
    """Experts per layer, of which two process a token (assumption; as in common open models)."""
    expert_size: int = Field(gt=0)
    """Width of an expert; half of the dense width gives equal active parameters (assumption)."""
    balance: float = Field(ge=0)
    """Weight of the load-balancing loss (assumption; Switch Transformer: 0.01)."""
    rates: list[float] = Field(min_length=1)
    """Peak learning rates, as multiples of the default; losses are compared at the first."""
    window: int = Field(ge=10)
    """Number of previous steps that define the expected loss of a step (assumption)."""
    deviations: float = Field(gt=0)
    """Robust standard deviations above the median of those steps at which a loss is a spike (assumption)."""


@dataclass(frozen=True)
class Config(MixTrialConfig):
    experts: Annotated[Experts, "ablations.mixture_of_experts"]


@dataclass(frozen=True)
class ExpertsTrial(Trial):
    """A trial of the dense shape, or of a mixture of experts if `moe_shape` is given."""

    experts: Experts | None = None
    moe_shape: MoEConfig | None = None


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """tokens. The effect is the number of spikes per 1,000 steps, over all learning rates."""
    options, shares = config.experts, config.mix.shares()
    trial = ExpertsTrial.create(config, options.trials, inputs["tokens"], shares, context, experts=options)
    dense = trial.shape
    moe = MoEConfig(dense, options.experts, options.expert_size)
    flops = training_flops(dense.parameters, options.trials.tokens)
    models = {"dense": {}, "experts": {"moe_shape": moe, "num_tokens": tokens_for(flops, moe.active_parameters)}}
    variants = {
        f"{name} x{rate:g}": {"learning_rate_factor": rate, **fields}
        for rate in options.rates
        for name, fields in models.items()
    }
    runs = trial.run_variants(context, measure, variants)

    def losses(model: str, rate: float) -> np.ndarray:
        return values_of(runs, f"{model} x{rate:g}", "loss")

    default, *higher = options.rates
    quantity = f"loss of experts minus dense, learning rate x{default:g}"
    secondary = [difference(quantity, f"experts x{default:g}", f"dense x{default:g}")]
    for rate in higher:
        quantity = f"what learning rate x{rate:g} costs instead of x{default:g}, experts minus dense"
        costs = [losses(model, rate) - losses(model, default) for model in ("experts", "dense")]
        secondary.append(over_seeds(quantity, NATS, costs[0] - costs[1]))
    for rate in options.rates:
        quantity = f"spread of the loss over seeds, experts over dense, learning rate x{rate:g}"
        secondary.append(fixed(quantity, "times", spread_ratio(losses("experts", rate), losses("dense", rate))))
    quantity = "loss spikes of experts minus of dense, equal training FLOPs"
    effect = fixed(quantity, "per 1,000 steps", spikes_difference(runs, options.rates))
    configuration = trial.description | {
        "parameters": {"dense": dense.parameters, "experts": moe.parameters, "active": moe.active_parameters},
        "flops": flops,
        "experts": options.model_dump(exclude={"trials"}),
    }
    return make_metrics(runs, effect, secondary, configuration)


def spikes_difference(runs: Sequence[Values], rates: Sequence[float]) -> dict[str, float]:
    """Spikes per 1,000 steps of experts minus dense, over all learning rates, paired by seed."""

    def per_thousand(model: str) -> np.ndarray:
        spikes, steps = (
            np.sum([values_of(runs, f"{model} x{rate:g}", metric) for rate in rates], axis=0)
            for metric in ("spikes", "steps")
        )
        return 1000 * np.asarray(spikes) / np.asarray(steps)

    return statistics.mean_over_seeds(per_thousand("experts") - per_thousand("dense"))


def measure(trial: ExpertsTrial) -> Values:
    """Trains the model; its loss, its spikes, and the largest load of an expert."""
    options = trial.experts
    assert options is not None
    if trial.moe_shape is None:
        model, result = trial.train()
    else:
        model, result = trial.train(
            MoELlama(trial.moe_shape).init_weights(trial.seed), partial(balanced_loss, weight=options.balance)
        )
    curve = np.array([row.get("language", row["loss"]) for row in result.history])
    load = [layer.load.tolist() for layer in model.moe_layers] if isinstance(model, MoELlama) else []
    return {
        "loss": trial.validation_loss(model),
        "steps": len(curve),
        "spikes": count_spikes(curve, options.window, options.deviations),
        **({"largest_load": max(max(row) for row in load)} if load else {}),
    }


def balanced_loss(model: MoELlama, batch: TokenBatch, weight: float) -> tuple[Tensor, dict[str, float]]:
    """The language-modelling loss plus `weight` times the load-balancing loss (mean of the layers), per target.

    `language` on the curve is the language-modelling loss only, comparable to a dense model's loss.
    """
    value, extra = next_token_loss(model, batch)
    balance = torch.stack([layer.balance for layer in model.moe_layers]).mean() * batch.weight
    return value + weight * balance, extra | {"language": value.item(), "balance": balance.item()}


def count_spikes(losses: np.ndarray, window: int, deviations: float) -> int:
    """Steps whose loss is more than `deviations` robust standard deviations above the median of the last `window`."""
    count = 0
    for step in range(window, len(losses)):
        previous = losses[step - window : step]
        median = np.median(previous)
        count += bool(losses[step] > median + deviations * MAD * np.median(np.abs(previous - median)))
    return count


def spread_ratio(first: np.ndarray, second: np.ndarray) -> dict[str, float]:
    """Standard deviation of the first over that of the second, with the interval of the F distribution."""
    n = len(first)
    value = float(first.std(ddof=1) / second.std(ddof=1))
    low, high = (float(value / fdtri(n - 1, n - 1, p) ** 0.5) for p in (0.975, 0.025))
    return {"value": value, "low": low, "high": high, "n": n}
