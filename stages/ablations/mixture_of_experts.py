"""Dense against a mixture of experts (1, 3.2) at equal training FLOPs: loss, its spread over seeds, and loss spikes.

The paper chose the dense model for the stability of its training. Both are trained at the usual learning rate and at
higher ones, where a less stable model fails first.
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
from stages.ablations.trial import NATS, Trial, TrialConfig, Trials, Values, compare, entry, findings, of
from stages.interface import Context, Metrics, Paths, Section
from stages.model.moe import MoEConfig, MoELlama
from stages.scaling.flops import tokens_for, training_flops
from stages.tokenizer.corpus import Mix
from stages.training.language_modelling import next_token_loss
from stages.training.loader import TokenBatch

MAD = 1.4826
"""Standard deviations of normal noise in a median absolute deviation."""


class Experts(Section):
    """The mixture of experts beside the dense shape of the trials."""

    trials: Trials
    experts: int = Field(ge=2)
    """Experts in each layer; two of them see a token (assumption; as in common open models)."""
    expert_size: int = Field(gt=0)
    """Width inside each expert; half of the dense width makes a token meet as many weights (assumption)."""
    balance: float = Field(ge=0)
    """Weight of the load-balancing loss (assumption; Switch Transformer: 0.01)."""
    rates: list[float] = Field(min_length=1)
    """Peak learning rates, as multiples of the usual one; the first is the one losses are compared at."""
    window: int = Field(ge=10)
    """Steps before a step that its loss is held against (assumption)."""
    deviations: float = Field(gt=0)
    """Robust standard deviations above the median of those steps from which on a loss is a spike (assumption)."""


@dataclass(frozen=True)
class Config(TrialConfig):
    mix: Annotated[Mix, "mix"]
    experts: Annotated[Experts, "ablations.mixture_of_experts"]


@dataclass(frozen=True)
class ExpertsTrial(Trial):
    """A trial of a routed model, if `routed` says its shape."""

    settings: Experts | None = None
    routed: MoEConfig | None = None


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """tokens. The effect is the number of spikes per 1,000 steps, over all learning rates."""
    settings = config.experts
    trials = settings.trials
    trial = ExpertsTrial.of(config, trials, inputs["tokens"], config.mix.shares(), context, settings=settings)
    dense = trial.shape
    routed = MoEConfig(dense, settings.experts, settings.expert_size)
    flops = training_flops(dense.parameters, trials.tokens)
    kinds = {"dense": {}, "experts": {"routed": routed, "budget": tokens_for(flops, routed.active_parameters)}}
    rows = trial.runs(
        context,
        measure,
        {f"{kind} x{rate:g}": {"rate": rate, **own} for rate in settings.rates for kind, own in kinds.items()},
    )
    usual = f"x{settings.rates[0]:g}"
    also = [
        entry(
            f"loss of experts minus dense, learning rate {usual}",
            NATS,
            compare(rows, f"experts {usual}", f"dense {usual}"),
        )
    ]
    for rate in settings.rates[1:]:
        lost = {
            kind: of(rows, f"{kind} x{rate:g}", "loss") - of(rows, f"{kind} {usual}", "loss")
            for kind in ("dense", "experts")
        }
        also.append(
            entry(
                f"what learning rate x{rate:g} costs instead of {usual}, experts minus dense",
                NATS,
                statistics.mean_over_seeds(lost["experts"] - lost["dense"]),
            )
        )
    also += [
        entry(
            f"spread of the loss over seeds, experts over dense, learning rate x{rate:g}",
            "times",
            spread_ratio(of(rows, f"experts x{rate:g}", "loss"), of(rows, f"dense x{rate:g}", "loss")),
        )
        for rate in settings.rates
    ]
    made = {
        "trials": trials.model_dump(),
        "parameters": {"dense": dense.parameters, "experts": routed.parameters, "active": routed.active_parameters},
        "flops": flops,
        "experts": settings.model_dump(exclude={"trials"}),
        "tokens_sha256": trial.shards.fingerprint,
    }
    effect = entry(
        "loss spikes of experts minus of dense, equal training FLOPs",
        "per 1,000 steps",
        spikes_difference(rows, settings.rates),
    )
    return findings(effect, also, rows, made)


def spikes_difference(rows: Sequence[Values], rates: Sequence[float]) -> dict[str, float]:
    """Spikes per 1,000 steps of experts minus dense, over all learning rates, seed by seed."""

    def per_thousand(kind: str) -> np.ndarray:
        spiked, steps = (
            np.sum([of(rows, f"{kind} x{rate:g}", key) for rate in rates], axis=0) for key in ("spikes", "steps")
        )
        return 1000 * np.asarray(spiked) / np.asarray(steps)

    return statistics.mean_over_seeds(per_thousand("experts") - per_thousand("dense"))


def measure(trial: ExpertsTrial) -> Values:
    """Trains the dense or the routed model; its loss and its spikes."""
    settings = trial.settings
    assert settings is not None
    if trial.routed is None:
        model, trained = trial.train()
    else:
        model, trained = trial.train(
            MoELlama(trial.routed).init_weights(trial.seed), partial(balanced_loss, weight=settings.balance)
        )
    curve = np.array([row.get("language", row["loss"]) for row in trained.history])
    load = [layer.load.tolist() for layer in model.moe_layers] if isinstance(model, MoELlama) else []
    return {
        "loss": trial.loss(model),
        "steps": len(curve),
        "spikes": spikes(curve, settings.window, settings.deviations),
        **({"largest_load": max(max(row) for row in load)} if load else {}),
    }


def balanced_loss(model: MoELlama, batch: TokenBatch, weight: float) -> tuple[Tensor, dict[str, float]]:
    """The language-modelling loss and, `weight` times, the load-balancing loss of the layers' mean, for each target.

    `language` on the curve is the first of the two by itself: what a dense model's loss compares with.
    """
    value, extra = next_token_loss(model, batch)
    balance = torch.stack([layer.balance for layer in model.moe_layers]).mean() * batch.weight
    return value + weight * balance, extra | {"language": value.item(), "balance": balance.item()}


def spikes(losses: np.ndarray, window: int, deviations: float) -> int:
    """Steps whose loss lies so many robust standard deviations above the median of the `window` steps before."""
    count = 0
    for step in range(window, len(losses)):
        before = losses[step - window : step]
        middle = np.median(before)
        count += bool(losses[step] > middle + deviations * MAD * np.median(np.abs(before - middle)))
    return count


def spread_ratio(first: np.ndarray, second: np.ndarray) -> dict[str, float]:
    """Standard deviation of the first over that of the second, with the F distribution's interval."""
    n = len(first)
    value = float(first.std(ddof=1) / second.std(ddof=1))
    low, high = (float(value / fdtri(n - 1, n - 1, p) ** 0.5) for p in (0.975, 0.025))
    return {"value": value, "low": low, "high": high, "n": n}
