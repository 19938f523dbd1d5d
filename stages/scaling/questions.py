"""Multiple choice on held-out prompts of every task (3.2.1): the likelihood of the correct answer and of wrong ones.

The paper predicts ARC Challenge, where a model selects the most likely choice. Here the wrong choices are the correct
answers to other prompts of the same task and level. Free generation cannot compare small models, since nearly all of
their answers are wrong; the likelihood of given answers can.
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

POOL_SIZE = 64
"""Fewest prompts per task from whose answers the wrong choices are drawn."""


class Questions(Section):
    """The multiple-choice test for the prediction of task accuracy."""

    prompts: int = Field(gt=1)
    """Test prompts per task, the first ones of evaluation (assumption)."""
    shots: int = Field(ge=0)
    """Few-shot examples before each prompt (assumption; paper 5.1 uses few-shot prompts for base models)."""
    choices: int = Field(gt=1)
    """Choices per prompt, with the correct one (paper 3.2.1: ARC Challenge, mostly 4)."""


@dataclass(frozen=True)
class Question:
    """Tokens of a prompt, and tokens and number of characters of each answer; the correct one is first."""

    task: str
    prompt: tuple[int, ...]
    answers: tuple[tuple[int, ...], ...]
    characters: tuple[int, ...]


def make_questions(test: Questions, tokenizer: Path, seed: int) -> list[Question]:
    """The test, ordered by task; the same for all models with this tokenizer."""
    chat = ChatFormat(bpe.load(tokenizer))
    questions = []
    for task in HELPFUL_TASKS:
        pool = generate(task, "test", max(test.prompts, POOL_SIZE), seed)
        asked = pool[: test.prompts]
        for number, (example, shots) in enumerate(zip(asked, few_shot_examples(asked, seed, test.shots), strict=True)):
            others = {other.answer for other in pool if other.level == example.level} - {example.answer}
            generator = random.Random(f"{task}/{seed}/{number}")
            wrong = generator.sample(sorted(others), min(test.choices - 1, len(others)))
            texts = [web_answer(example), *wrong]
            prompt = (chat.begin_of_text, *chat.encode_text(web_prompt(example, shots)))
            answers = tuple(tuple(chat.encode_text(f" {text}")) for text in texts)
            questions.append(Question(task, prompt, answers, tuple(len(text) for text in texts)))
    return questions


def chance_accuracy(test: Sequence[Question]) -> float:
    """Expected accuracy of random guessing."""
    return float(np.mean([1 / len(question.answers) for question in test]))


@torch.inference_mode()
def answer_nll(model: Llama, test: Sequence[Question], training: Training, tokens: int = 16_384) -> list[np.ndarray]:
    """Negative log-likelihood in nats per character of each answer, [answers] per question.

    Answers are batched by length, about `tokens` tokens per batch."""
    model.eval()
    rows = [(number, place) for number, question in enumerate(test) for place in range(len(question.answers))]
    rows.sort(key=lambda row: _length(test[row[0]], row[1]))
    nll = [np.zeros(len(question.answers)) for question in test]
    first = 0
    while first < len(rows):
        size = max(1, tokens // _length(test[rows[first][0]], rows[first][1]))
        batch = rows[first : first + size]
        for (number, place), nats in zip(batch, _nats(model, test, batch, training), strict=True):
            nll[number][place] = nats / test[number].characters[place]
        first += size
    return nll


def score_answers(nats: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """([questions] nats per character of the correct answer, [questions] 1.0 if no other is more likely, else 0.0)."""
    return np.array([each[0] for each in nats]), np.array([float(each[0] <= each.min()) for each in nats])


def _nats(model: Llama, test: Sequence[Question], rows: Sequence[tuple[int, int]], training: Training) -> np.ndarray:
    """Nats of each answer, summed over its tokens, [rows]."""
    texts = [(test[number].prompt, test[number].answers[place]) for number, place in rows]
    longest = max(len(prompt) + len(answer) for prompt, answer in texts)
    tokens = torch.zeros(len(texts), longest, dtype=torch.long)
    is_answer = torch.zeros(len(texts), longest, dtype=torch.bool)
    for row, (prompt, answer) in enumerate(texts):
        tokens[row, : len(prompt) + len(answer)] = torch.tensor([*prompt, *answer])
        is_answer[row, len(prompt) : len(prompt) + len(answer)] = True
    with autocast(training):
        hidden = model.model(tokens[:, :-1], None)  # right padding is invisible to causal attention
        logits = model.lm_head(hidden[is_answer[:, 1:]])  # only at the answer's tokens, a small part
    nats = F.cross_entropy(logits.float(), tokens[is_answer], reduction="none").double()
    row_of: Tensor = is_answer.nonzero()[:, 0]
    return torch.zeros(len(texts), dtype=torch.float64).index_add_(0, row_of, nats).numpy()


def _length(question: Question, place: int) -> int:
    return len(question.prompt) + len(question.answers[place])
