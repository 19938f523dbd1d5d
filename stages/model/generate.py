"""Batched generation with a key-value cache: temperature, top-p, seeds, stop tokens, streaming."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stages.interface import StageError
from stages.model.llama import KVCache, Llama


@dataclass(frozen=True)
class SamplingParams:
    """How tokens are chosen and when a completion ends; raises StageError for impossible values.

    A completion ends before any of `stop_token_ids`, or after the tokens `stop_sequence`, which it keeps. Temperature 0
    is greedy decoding; otherwise prompt i has its own random numbers, a function of (seed, i), whatever its batch.
    """

    max_new_tokens: int
    stop_token_ids: Sequence[int] = ()
    stop_sequence: Sequence[int] = ()
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.temperature < 0 or not 0 < self.top_p <= 1:
            raise StageError(f"temperature {self.temperature} must be at least 0, top_p {self.top_p} in (0, 1]")


def generate(
    model: Llama, prompts: Sequence[Sequence[int]], params: SamplingParams, batch_size: int = 128
) -> list[list[int]]:
    """The completion of each prompt, in the prompts' order, as tokens.

    Prompts of similar length share a batch; finished ones leave it.
    """
    order = sorted(range(len(prompts)), key=lambda index: (len(prompts[index]), index))
    completions: list[list[int]] = [[] for _ in prompts]
    for first in range(0, len(order), batch_size):
        indices = order[first : first + batch_size]
        for index, token in stream(model, [prompts[index] for index in indices], params, indices):
            completions[index].append(token)
    return completions


@torch.inference_mode()
def stream(
    model: Llama, prompts: Sequence[Sequence[int]], params: SamplingParams, indices: Sequence[int] | None = None
) -> Iterator[tuple[int, int]]:
    """Yields (prompt index, token) as tokens are sampled, all prompts in one batch; stop tokens are not yielded.

    `indices` number the prompts, 0, 1, ... by default. StageError for an empty prompt.
    """
    indices = range(len(prompts)) if indices is None else indices
    if not all(prompts):
        empty = next(index for index, prompt in zip(indices, prompts, strict=True) if not prompt)
        raise StageError(f"prompt {empty} has no tokens: begin it with <|begin_of_text|>")
    max_length = max(len(prompt) for prompt in prompts)
    tokens = torch.zeros(len(prompts), max_length, dtype=torch.long)
    padding = torch.tensor([max_length - len(prompt) for prompt in prompts])
    for row, prompt in enumerate(prompts):
        tokens[row, padding[row] :] = torch.tensor(prompt, dtype=torch.long)
    dtype, capacity = model.lm_head.weight.dtype, max_length + params.max_new_tokens
    caches = [KVCache(len(prompts), capacity, model.config, dtype) for _ in model.model.layers]
    active = torch.tensor(indices)  # the prompts that are not finished
    uniform = uniform_numbers(indices, params.max_new_tokens, params.seed) if params.temperature > 0 else None
    stop_ids, stop_sequence = torch.tensor(sorted(set(params.stop_token_ids))), torch.tensor(params.stop_sequence)
    recent = torch.full((len(prompts), len(stop_sequence)), -1)
    offset = 0
    for step in range(params.max_new_tokens):
        starts = starts_after_padding(padding, offset + tokens.shape[1])
        hidden = model.model(tokens, starts, offset, caches)[:, -1]
        offset += tokens.shape[1]
        logits = model.lm_head(hidden)
        if uniform is None:
            sampled = logits.argmax(-1)
        else:
            sampled = sample_tokens(logits, params.temperature, params.top_p, uniform[:, step])
        unfinished = ~torch.isin(sampled, stop_ids)
        yield from zip(active[unfinished].tolist(), sampled[unfinished].tolist(), strict=True)
        if params.stop_sequence:
            recent = torch.cat([recent[:, 1:], sampled[:, None]], dim=1)
            unfinished &= (recent != stop_sequence).any(1)
        if not unfinished.all():
            rows = unfinished.nonzero().squeeze(1)
            active, padding, sampled, recent = active[rows], padding[rows], sampled[rows], recent[rows]
            uniform = None if uniform is None else uniform[rows]
            for cache in caches:
                cache.select_rows(rows)
        if not len(active):
            return
        tokens = sampled[:, None]


def starts_after_padding(padding: Tensor, length: int) -> Tensor:
    """[B, length]: a row's text begins after its padding; a padded position is a document of its own."""
    index = torch.arange(length).expand(len(padding), length)
    return torch.minimum(index, padding[:, None])


def uniform_numbers(indices: Sequence[int], count: int, seed: int) -> Tensor:
    """[len(indices), count] uniform random numbers in [0, 1); a row is a function of its index and the seed."""
    generators = (torch.Generator().manual_seed(seed * 1_000_003 + index) for index in indices)
    return torch.stack([torch.rand(count, generator=generator, dtype=torch.float64) for generator in generators])


def filter_top_p(probabilities: Tensor, top_p: float) -> Tensor:
    """Probabilities [B, V] with 0 for all but the smallest set of tokens whose mass reaches `top_p`."""
    ordered, index = probabilities.sort(dim=-1, descending=True, stable=True)
    ordered[ordered.cumsum(-1) - ordered >= top_p] = 0
    return torch.zeros_like(probabilities).scatter_(-1, index, ordered)


def sample_tokens(logits: Tensor, temperature: float, top_p: float, uniform: Tensor) -> Tensor:
    """Samples a token for each row of logits [B, V] by inverting the cumulative distribution at `uniform` [B]."""
    probabilities = (logits.double() / temperature).softmax(-1)
    if top_p < 1:
        probabilities = filter_top_p(probabilities, top_p)
    cumulative = probabilities.cumsum(-1)
    # right=True: a token of probability 0, whose cumulative value is its predecessor's, is never sampled.
    return torch.searchsorted(cumulative, uniform[:, None] * cumulative[:, -1:], right=True).squeeze(-1)
