"""What a base model of an ablation can do: accuracy on the held-out prompts of all tasks (5.1)."""

from pathlib import Path
from statistics import fmean

import numpy as np

from stages.interface import Section
from stages.model.llama import Llama
from stages.posttraining.respond import Responder, Sampling
from stages.tasks import HELPFUL_TASKS, held_out, verify
from stages.tokenizer import bpe
from stages.tokenizer.chat import ChatFormat


class Skills(Section):
    """The test of an ablation's models."""

    evaluation: held_out.Evaluation
    sampling: Sampling


def accuracies(model: Llama, tokenizer: Path, skills: Skills, seed: int) -> dict[str, float]:
    """Percent of each task's prompts answered right; the same prompts for every model."""
    examples = held_out.test_examples(skills.evaluation, seed)
    responder = Responder(model.eval(), ChatFormat(bpe.load(tokenizer)), False)
    answers = [given[0] for given in responder.respond(examples, skills.sampling, seed=seed)]
    right = np.array(verify(examples, answers))
    return {task: 100.0 * float(right[[example.task == task for example in examples]].mean()) for task in HELPFUL_TASKS}


def accuracy(model: Llama, tokenizer: Path, skills: Skills, seed: int) -> float:
    """Percent of all prompts answered right: every task has as many."""
    return fmean(accuracies(model, tokenizer, skills, seed).values())
