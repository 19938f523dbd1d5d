"""Grouped-query attention (3.2) against multi-head attention: size of the KV cache, decoding speed, and loss.

Small models are trained for the loss. The speed is measured on an untrained model that is wide enough for its cache to
matter, since it does not depend on the weights.
"""

from dataclasses import dataclass
from resource import RUSAGE_SELF, getrusage
from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from stages.ablations.effects import difference, exact, make_metrics, over_seeds
from stages.ablations.trial import MixTrialConfig, Trial, TrialSettings, measure_loss
from stages.interface import Context, Metrics, Paths, Section
from stages.model.generate import SamplingParams, generate
from stages.model.llama import KVCache, Llama, LlamaConfig
from stages.scaling.ladder import Shape


class Decoding(Section):
    """The decoding whose speed is measured."""

    shape: Shape
    """The model with grouped queries; the other one has a key-value head per query head."""
    batch: int = Field(gt=0)
    """Sequences decoded together (assumption)."""
    prompt: int = Field(gt=0)
    """Tokens per prompt (assumption)."""
    new_tokens: int = Field(gt=1)
    """Generated tokens per prompt (assumption)."""
    rounds: int = Field(ge=3)
    """Measurements of each model, alternating (assumption)."""


class GroupedQueries(Section):
    """Grouped-query against multi-head attention."""

    trials: TrialSettings
    decoding: Decoding


@dataclass(frozen=True)
class Config(MixTrialConfig):
    grouped_queries: Annotated[GroupedQueries, "ablations.grouped_queries"]


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """tokens. The effect is the ratio of decoding speeds; as a time, it alone differs between runs."""
    settings, decoding = config.grouped_queries.trials, config.grouped_queries.decoding
    trial = Trial.create(config, settings, inputs["tokens"], config.mix.shares(), context)
    shapes = grouped_and_full(trial.shape)
    runs = trial.run_variants(context, measure_loss, {variant: {"shape": shape} for variant, shape in shapes.items()})
    wide = grouped_and_full(config.architecture.config(decoding.shape, trial.shape.vocab_size))
    ratios = speed_ratios(wide, decoding, config.seed)
    sizes = {variant: cache_bytes(shape, decoding) for variant, shape in wide.items()}
    ratio = sizes["full"] / sizes["grouped"]
    effect = over_seeds(
        "decoding speed of grouped queries over that of full heads", "times the tokens per second", ratios
    )
    secondary = [
        difference("loss of grouped queries minus of full heads", "grouped", "full"),
        exact("cache of full heads over that of grouped queries", "times the bytes", ratio, 1),
    ]
    configuration = trial.description | {
        "parameters": {variant: shape.parameters for variant, shape in shapes.items()},
        "decoding": decoding.model_dump(),
        "cache_bytes": sizes,
    }
    return make_metrics(runs, effect, secondary, configuration)


def grouped_and_full(grouped: LlamaConfig) -> dict[str, LlamaConfig]:
    """The shape with grouped queries, and the same with a key-value head per query head."""
    full = LlamaConfig(**{**grouped.to_json(), "num_key_value_heads": grouped.num_attention_heads})  # type: ignore[arg-type]
    return {"grouped": grouped, "full": full}


def cache_bytes(shape: LlamaConfig, decoding: Decoding) -> int:
    """Bytes of the KV cache of all layers."""
    cache = KVCache(decoding.batch, decoding.prompt + decoding.new_tokens, shape, torch.float32)
    return shape.num_hidden_layers * (cache.keys.nbytes + cache.values.nbytes)


def speed_ratios(shapes: dict[str, LlamaConfig], decoding: Decoding, seed: int) -> np.ndarray:
    """Tokens per second of grouped queries over those of full heads, [rounds].

    Both run alternately. The user CPU time of the process is measured, so that neither other processes nor memory
    allocation by the kernel influence it.
    """
    models = {variant: Llama(shape).init_weights(seed).eval() for variant, shape in shapes.items()}
    generator = torch.Generator().manual_seed(seed)
    vocab_size = shapes["full"].vocab_size
    prompts = torch.randint(vocab_size, (decoding.batch, decoding.prompt), generator=generator).tolist()

    def seconds(model: Llama, tokens: int) -> float:
        started = getrusage(RUSAGE_SELF).ru_utime
        generate(model, prompts, SamplingParams(max_new_tokens=tokens), decoding.batch)
        return getrusage(RUSAGE_SELF).ru_utime - started

    ratios = []
    for number in range(decoding.rounds + 1):  # round 0 is the warm-up
        # Only decoding is measured: the time of the prompt is subtracted.
        spent = {name: seconds(m, decoding.new_tokens) - seconds(m, 1) for name, m in models.items()}
        if number:
            ratios.append(spent["full"] / spent["grouped"])
    return np.array(ratios)
