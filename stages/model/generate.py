"""Batched generation with a key-value cache: temperature, top-p, seeds, stop tokens, streaming."""

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from stages.model.llama import Cache, Llama


def generate(
    model: Llama,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    stop: Iterable[int],
    ending: Sequence[int] = (),
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    batch_size: int = 128,
) -> list[list[int]]:
    """The tokens each prompt is continued with, in the prompts' order, without the stop token that ended them.

    Tokens that end with the sequence `ending` are complete too, and keep it. Temperature 0 takes the likeliest token.
    Prompts of like length share a batch, finished ones leave it. The result is a function of the arguments: batch b
    draws from its own generator, seeded with (seed, b).
    """
    order = sorted(range(len(prompts)), key=lambda index: (len(prompts[index]), index))
    results: list[list[int]] = [[] for _ in prompts]
    for number, first in enumerate(range(0, len(order), batch_size)):
        rows = order[first : first + batch_size]
        generator = torch.Generator().manual_seed(seed * 1_000_003 + number)
        batch = [prompts[row] for row in rows]
        for row, token in decode(model, batch, max_new_tokens, set(stop), temperature, top_p, generator, ending):
            results[rows[row]].append(token)
    return results


@torch.inference_mode()
def decode(
    model: Llama,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    stop: set[int],
    temperature: float,
    top_p: float,
    generator: torch.Generator,
    ending: Sequence[int] = (),
) -> Iterator[tuple[int, int]]:
    """Yields (row, token) as they are drawn, one batch of prompts at a time; a row ends with no word."""
    longest = max(len(prompt) for prompt in prompts)
    tokens = torch.zeros(len(prompts), longest, dtype=torch.long)
    padding = torch.tensor([longest - len(prompt) for prompt in prompts])
    for row, prompt in enumerate(prompts):
        tokens[row, padding[row] :] = torch.tensor(prompt, dtype=torch.long)
    dtype = model.lm_head.weight.dtype
    caches = [Cache(len(prompts), longest + max_new_tokens, model.config, dtype) for _ in model.model.layers]
    rows = torch.arange(len(prompts))
    stops, last = torch.tensor(sorted(stop)), torch.tensor(ending)
    recent = torch.full((len(prompts), len(ending)), -1)
    offset = 0
    for _ in range(max_new_tokens):
        starts = starts_after(padding, offset + tokens.shape[1])
        hidden = model.model(tokens, starts, offset, caches)[:, -1]
        offset += tokens.shape[1]
        drawn = draw(model.lm_head(hidden), temperature, top_p, generator)
        going = ~torch.isin(drawn, stops)
        yield from zip(rows[going].tolist(), drawn[going].tolist(), strict=True)
        if ending:
            recent = torch.cat([recent[:, 1:], drawn[:, None]], dim=1)
            going &= (recent != last).any(1)
        if not going.all():
            keep = going.nonzero().squeeze(1)
            rows, padding, drawn, recent = rows[keep], padding[keep], drawn[keep], recent[keep]
            for cache in caches:
                cache.keep(keep)
        if not len(rows):
            return
        tokens = drawn[:, None]


def starts_after(padding: Tensor, length: int) -> Tensor:
    """[B, length]: a row's text begins after its padding; a padded position is a document of its own."""
    index = torch.arange(length).expand(len(padding), length)
    return torch.minimum(index, padding[:, None])


def draw(logits: Tensor, temperature: float, top_p: float, generator: torch.Generator) -> Tensor:
    """One token for each row of logits [B, V]."""
    if temperature == 0:
        return logits.argmax(-1)
    probabilities = (logits.float() / temperature).softmax(-1)
    if top_p < 1:
        ordered, index = probabilities.sort(dim=-1, descending=True)
        # The smallest set of tokens whose mass reaches top_p: what comes after it goes.
        ordered[ordered.cumsum(-1) - ordered >= top_p] = 0
        probabilities = torch.zeros_like(probabilities).scatter_(-1, index, ordered)
    return torch.multinomial(probabilities, 1, generator=generator).squeeze(-1)
