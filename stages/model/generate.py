"""Batched generation with a key-value cache: temperature, top-p, seeds, stop tokens, streaming."""

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from stages.interface import StageError
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

    Tokens that end with the sequence `ending` are complete too, and keep it. Temperature 0 takes the likeliest token;
    otherwise prompt i draws with its own random numbers, a function of (seed, i): who else is in its batch is nothing
    to it. Prompts of like length share a batch, finished ones leave it.
    """
    order = sorted(range(len(prompts)), key=lambda index: (len(prompts[index]), index))
    stops = list(stop)
    results: list[list[int]] = [[] for _ in prompts]
    for first in range(0, len(order), batch_size):
        rows = order[first : first + batch_size]
        drawn = stream(
            model,
            [prompts[row] for row in rows],
            max_new_tokens=max_new_tokens,
            stop=stops,
            ending=ending,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
            names=rows,
        )
        for row, token in drawn:
            results[row].append(token)
    return results


@torch.inference_mode()
def stream(
    model: Llama,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    stop: Iterable[int],
    ending: Sequence[int] = (),
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    names: Sequence[int] | None = None,
) -> Iterator[tuple[int, int]]:
    """Yields (prompt, token) as they are drawn, all prompts as one batch; a prompt's answer ends with no word.

    Arguments as in `generate`; `names` are the prompts' numbers, which their random numbers depend on.
    """
    names = range(len(prompts)) if names is None else names
    if not all(prompts):
        empty = next(name for name, prompt in zip(names, prompts, strict=True) if not prompt)
        raise StageError(f"prompt {empty} has no tokens: begin it with <|begin_of_text|>")
    if temperature < 0 or not 0 < top_p <= 1:
        raise StageError(f"temperature {temperature} must not be negative, top_p {top_p} lie above 0 and up to 1")
    longest = max(len(prompt) for prompt in prompts)
    tokens = torch.zeros(len(prompts), longest, dtype=torch.long)
    padding = torch.tensor([longest - len(prompt) for prompt in prompts])
    for row, prompt in enumerate(prompts):
        tokens[row, padding[row] :] = torch.tensor(prompt, dtype=torch.long)
    dtype = model.lm_head.weight.dtype
    caches = [Cache(len(prompts), longest + max_new_tokens, model.config, dtype) for _ in model.model.layers]
    rows = torch.tensor(names)
    randomness = random_numbers(names, max_new_tokens, seed) if temperature > 0 else None
    stops, last = torch.tensor(sorted(set(stop))), torch.tensor(ending)
    recent = torch.full((len(prompts), len(ending)), -1)
    offset = 0
    for number in range(max_new_tokens):
        starts = starts_after(padding, offset + tokens.shape[1])
        hidden = model.model(tokens, starts, offset, caches)[:, -1]
        offset += tokens.shape[1]
        logits = model.lm_head(hidden)
        drawn = logits.argmax(-1) if randomness is None else draw(logits, temperature, top_p, randomness[:, number])
        going = ~torch.isin(drawn, stops)
        yield from zip(rows[going].tolist(), drawn[going].tolist(), strict=True)
        if ending:
            recent = torch.cat([recent[:, 1:], drawn[:, None]], dim=1)
            going &= (recent != last).any(1)
        if not going.all():
            keep = going.nonzero().squeeze(1)
            rows, padding, drawn, recent = rows[keep], padding[keep], drawn[keep], recent[keep]
            randomness = None if randomness is None else randomness[keep]
            for cache in caches:
                cache.keep(keep)
        if not len(rows):
            return
        tokens = drawn[:, None]


def starts_after(padding: Tensor, length: int) -> Tensor:
    """[B, length]: a row's text begins after its padding; a padded position is a document of its own."""
    index = torch.arange(length).expand(len(padding), length)
    return torch.minimum(index, padding[:, None])


def random_numbers(names: Sequence[int], count: int, seed: int) -> Tensor:
    """[len(names), count] uniform numbers from [0, 1); a row is a function of its name and the seed."""
    generators = (torch.Generator().manual_seed(seed * 1_000_003 + name) for name in names)
    return torch.stack([torch.rand(count, generator=generator, dtype=torch.float64) for generator in generators])


def nucleus(probabilities: Tensor, top_p: float) -> Tensor:
    """Probabilities [B, V] with 0 for all but the smallest set of tokens whose mass reaches `top_p`."""
    ordered, index = probabilities.sort(dim=-1, descending=True, stable=True)
    ordered[ordered.cumsum(-1) - ordered >= top_p] = 0
    return torch.zeros_like(probabilities).scatter_(-1, index, ordered)


def draw(logits: Tensor, temperature: float, top_p: float, uniform: Tensor) -> Tensor:
    """One token for each row of logits [B, V]: where the cumulative distribution passes `uniform` [B]."""
    probabilities = (logits.double() / temperature).softmax(-1)
    if top_p < 1:
        probabilities = nucleus(probabilities, top_p)
    mass = probabilities.cumsum(-1)
    # right: a token of probability 0, whose mass is that of the one before, is never taken.
    return torch.searchsorted(mass, uniform[:, None] * mass[:, -1:], right=True).squeeze(-1)
