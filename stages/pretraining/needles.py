"""Needle in a haystack (3.4.2): a fact hidden at some depth of a long text, asked for at its end."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from stages.model.generate import generate
from stages.model.llama import Llama
from stages.tasks import verify
from stages.tasks.example import Example
from stages.tasks.lookup import needle
from stages.tasks.pages import web_prompt
from stages.tokenizer.chat import ChatFormat

DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)


def needles(chat: ChatFormat, length: int, per_depth: int, seed: int) -> list[tuple[float, Example, list[int]]]:
    """(depth, example, prompt tokens) of `per_depth` haystacks at each depth, as long as fit into `length` tokens."""
    found = []
    for place, depth in enumerate(DEPTHS):
        for number in range(per_depth):
            hint = length
            while True:
                example = needle(hint, depth, seed * 1_000_003 + place * 1_009 + number)
                tokens = [chat.begin_of_text, *chat.plain(web_prompt(example, []))]
                if len(tokens) <= length - ANSWER_TOKENS or hint < 16:
                    break
                hint = int(hint * 0.95 * (length - ANSWER_TOKENS) / len(tokens))
            found.append((depth, example, tokens))
    return found


ANSWER_TOKENS = 16


def needle_accuracy(
    model: Llama, chat: ChatFormat, lengths: Sequence[int], per_depth: int, seed: int
) -> list[dict[str, Any]]:
    """A row per length and depth: share of needles found by a base model, with n."""
    model.eval()
    newline = chat.plain("\n")[-1]
    rows = []
    for length in lengths:
        asked = needles(chat, length, per_depth, seed)
        answers = generate(model, [tokens for _, _, tokens in asked], max_new_tokens=ANSWER_TOKENS,
                           stop=(*chat.stop, newline), ending=chat.plain(" Q:"))  # fmt: skip
        texts = [chat.text(answer).split(" Q:")[0] for answer in answers]
        right = np.array(verify([example for _, example, _ in asked], texts), dtype=float)
        for depth in DEPTHS:
            chosen = right[[place == depth for place, _, _ in asked]]
            rows.append({"length": length, "depth": depth, "accuracy": float(chosen.mean()), "n": len(chosen)})
    return rows
