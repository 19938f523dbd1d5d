"""Multiple choice on held-out prompts of every task (3.2.1): how likely a model finds the right answer, and others.

The paper predicts ARC Challenge, where a model picks the likeliest of the printed choices. Here the wrong choices are
the right answers to other prompts of the same task and level. Answers that a small model writes itself are nearly all
wrong, so their share says nothing of it; which answer it finds likelier does.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from stages.interface import Section
from stages.model.llama import Llama
from stages.tasks import HELPFUL_TASKS, generate
from stages.tasks.held_out import few_shot_examples
from stages.tasks.pages import web_answer, web_prompt
from stages.tokenizer import bpe
from stages.tokenizer.chat import ChatFormat
from stages.training.parameters import Training, autocast

POOL = 64
"""Prompts of a task among whose answers the wrong choices are drawn, where the test has fewer."""


class Questions(Section):
    """The multiple-choice test by which task accuracy is predicted."""

    prompts: int = Field(gt=1)
    """Test prompts per task, the first of those that evaluation asks (assumption)."""
    shots: int = Field(ge=0)
    """Worked examples before each prompt (assumption; paper 5.1 gives base models few-shot prompts)."""
    choices: int = Field(gt=1)
    """Answers to choose from, the right one among them (paper 3.2.1: ARC Challenge, most of whose questions have 4)."""


@dataclass(frozen=True)
class Question:
    """A prompt in tokens, and the tokens and number of characters of each answer; the right one comes first."""

    task: str
    prompt: tuple[int, ...]
    answers: tuple[tuple[int, ...], ...]
    characters: tuple[int, ...]


def questions(test: Questions, tokenizer: Path, seed: int) -> list[Question]:
    """The test, task by task: the same for every model that has this tokenizer."""
    chat = ChatFormat(bpe.load(tokenizer))
    found = []
    for task in HELPFUL_TASKS:
        pool = generate(task, "test", max(test.prompts, POOL), seed)
        asked = pool[: test.prompts]
        for number, (example, shots) in enumerate(zip(asked, few_shot_examples(asked, seed, test.shots), strict=True)):
            others = {other.answer for other in pool if other.level == example.level} - {example.answer}
            generator = random.Random(f"{task}/{seed}/{number}")
            wrong = generator.sample(sorted(others), min(test.choices - 1, len(others)))
            texts = [web_answer(example), *wrong]
            prompt = (chat.begin_of_text, *chat.encode_text(web_prompt(example, shots)))
            answers = tuple(tuple(chat.encode_text(f" {text}")) for text in texts)
            found.append(Question(task, prompt, answers, tuple(len(text) for text in texts)))
    return found


def chance(test: Sequence[Question]) -> float:
    """Accuracy of a guess."""
    return float(np.mean([1 / len(question.answers) for question in test]))


@torch.inference_mode()
def surprise(model: Llama, test: Sequence[Question], training: Training, tokens: int = 16_384) -> list[np.ndarray]:
    """Negative log-likelihood in nats per character of each answer of each question, [answers] a question.

    About `tokens` tokens are computed at once."""
    model.eval()
    rows = [(number, place) for number, question in enumerate(test) for place in range(len(question.answers))]
    rows.sort(key=lambda row: _length(test[row[0]], row[1]))
    found = [np.zeros(len(question.answers)) for question in test]
    first = 0
    while first < len(rows):
        size = max(1, tokens // _length(test[rows[first][0]], rows[first][1]))
        batch = rows[first : first + size]
        for (number, place), nats in zip(batch, _nats(model, test, batch, training), strict=True):
            found[number][place] = nats / test[number].characters[place]
        first += size
    return found


def right_answers(nats: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """([questions] nats per character of the right answer, [questions] 1.0 where no other is likelier, else 0.0)."""
    return np.array([each[0] for each in nats]), np.array([float(each[0] <= each.min()) for each in nats])


def _nats(model: Llama, test: Sequence[Question], rows: Sequence[tuple[int, int]], training: Training) -> np.ndarray:
    """[rows] nats of each answer, summed over its tokens."""
    texts = [(test[number].prompt, test[number].answers[place]) for number, place in rows]
    longest = max(len(prompt) + len(answer) for prompt, answer in texts)
    tokens = torch.zeros(len(texts), longest, dtype=torch.long)
    answered = torch.zeros(len(texts), longest, dtype=torch.bool)
    for row, (prompt, answer) in enumerate(texts):
        tokens[row, : len(prompt) + len(answer)] = torch.tensor([*prompt, *answer])
        answered[row, len(prompt) : len(prompt) + len(answer)] = True
    with autocast(training):
        hidden = model.model(tokens[:, :-1], None)  # padding comes last, where causal attention does not look
        logits = model.lm_head(hidden[answered[:, 1:]])  # an answer is a small part: the head sees no more
    nats = F.cross_entropy(logits.float(), tokens[answered], reduction="none").double()
    row_of: Tensor = answered.nonzero()[:, 0]
    return torch.zeros(len(texts), dtype=torch.float64).index_add_(0, row_of, nats).numpy()


def _length(question: Question, place: int) -> int:
    return len(question.prompt) + len(question.answers[place])
