"""Needles: prompts, and which answers count."""

import torch
from torch import Tensor

from stages.model.generate import SamplingParams, generate
from stages.model.llama import Llama
from stages.pretraining.needles import (
    ANSWER_TOKENS,
    DEPTHS,
    count_wrong_tokens,
    make_answer_batch,
    make_needles,
    measure_needles,
)
from stages.tasks import verify
from stages.training.strategy import SINGLE_PROCESS
from tests.fixtures import VOCAB_SIZE, World, settings, shape, sharp


def test_needles_fill_the_length_and_their_answers_verify(world: World) -> None:
    asked = make_needles(world.chat, 256, 2, seed=1)
    assert [depth for depth, _, _ in asked] == [depth for depth in DEPTHS for _ in range(2)]
    for _, example, tokens in asked:
        assert 0.6 * 256 < len(tokens) <= 256 - ANSWER_TOKENS
        assert example.answer in world.chat.decode(tokens)
    assert verify([example for _, example, _ in asked], [example.answer for _, example, _ in asked]) == [True] * 10
    assert [tokens for _, _, tokens in asked] == [tokens for _, _, tokens in make_needles(world.chat, 256, 2, seed=1)]
    assert make_needles(world.chat, 256, 2, seed=2)[0][2] != asked[0][2]


class Saying(torch.nn.Module):
    """After each beginning of `texts` the next token of the text is the likeliest."""

    def __init__(self, texts: list[list[int]]) -> None:
        super().__init__()
        self.next = {tuple(text[:end]): text[end] for text in texts for end in range(1, len(text))}

    def forward(self, tokens: Tensor, starts: None) -> Tensor:
        rows = [[self.next.get(tuple(row[: end + 1]), 0) for end in range(len(row))] for row in tokens.tolist()]
        return torch.nn.functional.one_hot(torch.tensor(rows), VOCAB_SIZE).float()


def test_needle_accuracy_counts_what_the_model_says(world: World) -> None:
    """Whole answers that end count, however they end; no others do."""
    chat = world.chat
    asked = make_needles(chat, 200, 2, seed=1)
    right = [(tokens, chat.encode_text(f" {example.answer}")) for _, example, tokens in asked]
    endings = [
        chat.encode_text(" Q: next"),
        chat.encode_text("\n"),
        [chat.stop_token_ids[0]],
        chat.encode_text(" Q:"),
        chat.encode_text(" Q: x"),
    ]
    texts = [[*prompt, *answer, *ending] for (prompt, answer), ending in zip(right, endings * 2, strict=True)]
    texts[0] = [*right[0][0], *chat.encode_text(" nothing Q:")]
    texts[5] = [*right[5][0], *right[5][1], *chat.encode_text("1 Q:")]  # goes on where the answer ends
    texts[9] = [*right[9][0], *right[9][1][:-1], *chat.encode_text(" Q:")]  # ends too early
    result = measure_needles(Saying(texts), chat, [200], 2, 1, settings())  # type: ignore[arg-type]
    assert [row["accuracy"] for row in result] == [0.5, 1, 0.5, 1, 0.5] and {row["n"] for row in result} == {2}


def test_what_counts_as_found_is_what_the_model_would_generate(world: World) -> None:
    """Teacher-forced greedy choices are greedy decoding's: a model's own answers have no misses, changed ones have."""
    model = sharp(Llama(shape()).init_weights(3))
    prompts = [tokens for _, _, tokens in make_needles(world.chat, 64, 1, seed=1)]
    answers = generate(model, prompts, SamplingParams(max_new_tokens=9))
    assert len({tuple(answer) for answer in answers}) > 1
    rows = [(prompt, answer[:-1]) for prompt, answer in zip(prompts, answers, strict=True)]
    ends = torch.tensor([answer[-1] for answer in answers]).unique()

    def missed(rows: list[tuple[list[int], list[int]]], ends: Tensor) -> list[float]:
        return SINGLE_PROCESS.evaluate(
            model, [make_answer_batch(rows, 0)], lambda *both: count_wrong_tokens(*both, ends), settings()
        ).tolist()

    assert missed(rows, ends) == [0] * len(rows)
    assert all(missed([(prompt, [*answer[:-1], answer[-1] + 1]) for prompt, answer in rows], ends))
    assert missed(rows, torch.tensor([VOCAB_SIZE])) == [1] * len(rows)
