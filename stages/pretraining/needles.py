"""Needle in a haystack (3.4.2): a fact is hidden at some depth of a long text; the question follows at the end."""

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
"""Tokens reserved for the answer at the end of a haystack."""
END = -1
"""Target that matches any token that ends an answer."""


def make_needles(chat: ChatFormat, length: int, per_depth: int, seed: int) -> list[tuple[float, Example, list[int]]]:
    """(depth, example, prompt tokens) of `per_depth` haystacks at each depth, as long as fits into `length` tokens."""
    needles = []
    for place, depth in enumerate(DEPTHS):
        for number in range(per_depth):
            size = length
            while True:
                example = needle_example(size, depth, seed * 1_000_003 + place * 1_009 + number)
                tokens = [chat.begin_of_text, *chat.encode_text(web_prompt(example, []))]
                if len(tokens) <= length - ANSWER_TOKENS or size < 16:
                    break
                size = int(size * 0.95 * (length - ANSWER_TOKENS) / len(tokens))
            needles.append((depth, example, tokens))
    return needles


def measure_needles(
    model: Llama,
    chat: ChatFormat,
    lengths: Sequence[int],
    per_depth: int,
    seed: int,
    training: Training,
    strategy: Strategy = SINGLE_PROCESS,
) -> list[dict[str, Any]]:
    """One record per length and depth: the share of needles that a base model finds, with n.

    A needle is found if greedy decoding gives its answer and then ends. One teacher-forced forward pass over prompt and
    answer decides this, since greedy decoding agrees with it up to the first wrong token.
    """
    needles = {length: make_needles(chat, length, per_depth, seed) for length in lengths}
    ends = torch.tensor([*chat.stop_token_ids, chat.encode_text("\n")[-1], chat.encode_text(" Q:")[0]])

    def batches() -> Iterator[TokenBatch]:
        for length, each in needles.items():
            size = max(1, training.micro_tokens // length) * strategy.dp_size
            rows = [(tokens, chat.encode_text(f" {example.answer}")) for _, example, tokens in each]
            for first in range(0, len(rows), size):
                yield make_answer_batch(rows[first : first + size], chat.pad)

    wrong = strategy.evaluate(model, batches(), lambda model, batch: count_wrong_tokens(model, batch, ends), training)
    by_length = wrong.split([len(each) for each in needles.values()])
    records = []
    for (length, each), num_wrong in zip(needles.items(), by_length, strict=True):
        for depth in DEPTHS:
            found = num_wrong[[place == depth for place, _, _ in each]] == 0
            accuracy = found.double().mean().item()
            records.append({"length": length, "depth": depth, "accuracy": accuracy, "n": len(found)})
    return records


def make_answer_batch(rows: Sequence[tuple[Sequence[int], Sequence[int]]], pad: int) -> TokenBatch:
    """(prompt, answer) tokens as right-padded rows; the targets are the tokens of the answer and END."""
    tokens = [torch.tensor([*prompt, *answer]) for prompt, answer in rows]
    targets = [torch.tensor([IGNORE_INDEX] * (len(prompt) - 1) + [*answer, END]) for prompt, answer in rows]
    padded = pad_sequence(tokens, True, pad), pad_sequence(targets, True, IGNORE_INDEX)
    return TokenBatch(*padded, starts=None)


def count_wrong_tokens(model: Llama, batch: TokenBatch, ends: Tensor) -> Tensor:
    """Number of targets per row that are not the model's most likely token, [B]; END matches any of `ends`."""
    predicted = model(batch.tokens, batch.starts).argmax(2)  # not -1, which torch 2.13 gathers wrongly from ranks
    if hasattr(predicted, "full_tensor"):  # tensor-parallel ranks each hold a slice of the vocabulary
        predicted = predicted.full_tensor()
    is_end = torch.isin(predicted, ends.to(predicted.device))
    wrong = torch.where(batch.targets == END, ~is_end, predicted != batch.targets)
    return batch.sum_rows(wrong & (batch.targets != IGNORE_INDEX))
