"""Needle in a haystack (3.4.2): a fact hidden at some depth of a long text, asked for at its end."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from stages.model.llama import Llama
from stages.tasks.definitions.lookup import needle_example
from stages.tasks.example import Example
from stages.tasks.pages import web_prompt
from stages.tokenizer.chat import ChatFormat
from stages.training.loader import IGNORE_INDEX, TokenBatch
from stages.training.parameters import Training
from stages.training.strategy import SINGLE_PROCESS, Strategy

DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
ANSWER_TOKENS = 16
"""Room for the answer at the end of a haystack."""
END = -1
"""Target that any token fits which ends an answer."""


def needles(chat: ChatFormat, length: int, per_depth: int, seed: int) -> list[tuple[float, Example, list[int]]]:
    """(depth, example, prompt tokens) of `per_depth` haystacks at each depth, as long as fit into `length` tokens."""
    found = []
    for place, depth in enumerate(DEPTHS):
        for number in range(per_depth):
            hint = length
            while True:
                example = needle_example(hint, depth, seed * 1_000_003 + place * 1_009 + number)
                tokens = [chat.begin_of_text, *chat.encode_text(web_prompt(example, []))]
                if len(tokens) <= length - ANSWER_TOKENS or hint < 16:
                    break
                hint = int(hint * 0.95 * (length - ANSWER_TOKENS) / len(tokens))
            found.append((depth, example, tokens))
    return found


def needle_accuracy(
    model: Llama,
    chat: ChatFormat,
    lengths: Sequence[int],
    per_depth: int,
    seed: int,
    training: Training,
    strategy: Strategy = SINGLE_PROCESS,
) -> list[dict[str, Any]]:
    """A row per length and depth: share of needles that a base model finds, with n.

    Found is a needle whose answer the model would give token by token, the likeliest each time, and end there. One
    forward pass over question and answer tells: what comes after a right token does not depend on who wrote it.
    """
    asked = {length: needles(chat, length, per_depth, seed) for length in lengths}
    ends = torch.tensor([*chat.stop_token_ids, chat.encode_text("\n")[-1], chat.encode_text(" Q:")[0]])

    def batches() -> Iterator[TokenBatch]:
        for length, each in asked.items():
            size = max(1, training.micro_tokens // length) * strategy.dp_size
            rows = [(tokens, chat.encode_text(f" {example.answer}")) for _, example, tokens in each]
            for first in range(0, len(rows), size):
                yield answered(rows[first : first + size], chat.pad)

    wrong = strategy.evaluate(model, batches(), lambda model, batch: misses(model, batch, ends), training)
    rows = []
    for (length, each), missed in zip(asked.items(), wrong.split([len(each) for each in asked.values()]), strict=True):
        for depth in DEPTHS:
            found = missed[[place == depth for place, _, _ in each]] == 0
            rows.append({"length": length, "depth": depth, "accuracy": found.double().mean().item(), "n": len(found)})
    return rows


def answered(rows: Sequence[tuple[Sequence[int], Sequence[int]]], filler: int) -> TokenBatch:
    """(prompt, answer) tokens as right-padded rows; the targets are the answer's tokens and its end."""
    tokens = [torch.tensor([*prompt, *answer]) for prompt, answer in rows]
    targets = [torch.tensor([IGNORE_INDEX] * (len(prompt) - 1) + [*answer, END]) for prompt, answer in rows]
    padded = pad_sequence(tokens, True, filler), pad_sequence(targets, True, IGNORE_INDEX)
    return TokenBatch(*padded, starts=None)


def misses(model: Llama, batch: TokenBatch, ends: Tensor) -> Tensor:
    """How many of each row's targets are not the model's likeliest token, [B]; for END any of `ends` will do."""
    likeliest = model(batch.tokens, batch.starts).argmax(2)  # not -1, which torch 2.13 gathers wrongly from ranks
    if hasattr(likeliest, "full_tensor"):  # of ranks that have a slice of the vocabulary each
        likeliest = likeliest.full_tensor()
    ended = torch.isin(likeliest, ends.to(likeliest.device))
    wrong = torch.where(batch.targets == END, ~ended, likeliest != batch.targets)
    return batch.sum_rows(wrong & (batch.targets != IGNORE_INDEX))
