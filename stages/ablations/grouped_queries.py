"""Grouped-query attention (3.2): a smaller key-value cache and faster decoding, against full heads; and its loss.

Two models are compared: small ones that are trained, for the loss, and one with fresh weights that is wide enough for
its cache to matter, for the speed: what a token costs does not depend on what the weights are.
"""

from dataclasses import dataclass
from resource import RUSAGE_SELF, getrusage
from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from stages import statistics
from stages.ablations.trial import NATS, Trial, TrialConfig, Trials, compare, entry, findings, held_out_loss
from stages.interface import Context, Metrics, Paths, Section
from stages.model.generate import SamplingParams, generate
from stages.model.llama import KVCache, Llama, LlamaConfig
from stages.scaling.ladder import Shape
from stages.tokenizer.corpus import Mix


class Decoding(Section):
    """What is decoded to measure the speed."""

    shape: Shape
    """The model with grouped queries; the other has a key and value head for each query head."""
    batch: int = Field(gt=0)
    """Sequences decoded together (assumption)."""
    prompt: int = Field(gt=0)
    """Tokens of each prompt (assumption)."""
    new_tokens: int = Field(gt=1)
    """Tokens generated after it (assumption)."""
    rounds: int = Field(ge=3)
    """How often both are measured, in turns (assumption)."""


class GroupedQueries(Section):
    """Grouped queries against full heads."""

    trials: Trials
    decoding: Decoding


@dataclass(frozen=True)
class Config(TrialConfig):
    mix: Annotated[Mix, "mix"]
    grouped_queries: Annotated[GroupedQueries, "ablations.grouped_queries"]


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """tokens. The effect is the ratio of decoding speeds; being a time, it alone is not the same in every run."""
    settings = config.grouped_queries
    trials = settings.trials
    trial = Trial.of(config, trials, inputs["tokens"], config.mix.shares(), context)
    shapes = both(trial.shape)
    rows = trial.runs(context, held_out_loss, {variant: {"shape": shape} for variant, shape in shapes.items()})
    wide = both(config.architecture.config(settings.decoding.shape, trial.shape.vocab_size))
    speed = speed_ratio(wide, settings.decoding, config.seed)
    sizes = {variant: cache_bytes(shape, settings.decoding) for variant, shape in wide.items()}
    ratio = sizes["full"] / sizes["grouped"]
    also = [
        entry("loss of grouped queries minus of full heads", NATS, compare(rows, "grouped", "full")),
        entry(
            "cache of full heads over that of grouped queries", "times the bytes", statistics.mean(np.array([ratio]))
        ),
    ]
    made = {
        "trials": trials.model_dump(),
        "parameters": {variant: shape.parameters for variant, shape in shapes.items()},
        "decoding": settings.decoding.model_dump(),
        "cache_bytes": sizes,
        "tokens_sha256": trial.shards.fingerprint,
    }
    effect = entry("decoding speed of grouped queries over that of full heads", "times the tokens per second", speed)
    return findings(effect, also, rows, made)


def both(grouped: LlamaConfig) -> dict[str, LlamaConfig]:
    """The shape, and the same with a key and value head for each query head."""
    full = LlamaConfig(**{**grouped.to_json(), "num_key_value_heads": grouped.num_attention_heads})  # type: ignore[arg-type]
    return {"grouped": grouped, "full": full}


def cache_bytes(shape: LlamaConfig, decoding: Decoding) -> int:
    """Bytes of the keys and values of all layers while decoding."""
    cache = KVCache(decoding.batch, decoding.prompt + decoding.new_tokens, shape, torch.float32)
    return shape.num_hidden_layers * (cache.keys.nbytes + cache.values.nbytes)


def speed_ratio(shapes: dict[str, LlamaConfig], decoding: Decoding, seed: int) -> dict[str, float]:
    """Tokens per second of grouped queries over those of full heads, with its interval over the rounds.

    Both run in turns, and what counts is the time this process itself computes, without the kernel's for it: neither
    what else the machine does nor what it charges for fresh memory should decide it.
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
    for number in range(decoding.rounds + 1):  # the first one warms up
        # The prompt is the same work for both but for its size: what it takes is taken off.
        spent = {name: seconds(m, decoding.new_tokens) - seconds(m, 1) for name, m in models.items()}
        if number:
            ratios.append(spent["full"] / spent["grouped"])
    return statistics.mean_over_seeds(np.array(ratios))
