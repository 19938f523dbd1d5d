"""Accuracy of an ablation's base models on the held-out prompts of all tasks (5.1)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np

from stages.ablations.effects import Values
from stages.ablations.trial import Trial
from stages.interface import Section
from stages.model.llama import Llama
from stages.posttraining.respond import Responder, Sampling
from stages.tasks import HELPFUL_TASKS, held_out, verify
from stages.tokenizer import bpe
from stages.tokenizer.chat import ChatFormat


class Skills(Section):
    """The task test of an ablation's models."""

    evaluation: held_out.Evaluation
    sampling: Sampling


@dataclass(frozen=True)
class SkillTrial(Trial):
    """A trial whose model also answers the tasks."""

    skills: Skills | None = None
    """None: the accuracy is not measured."""
    tokenizer: Path | None = None
    validation_shares: Mapping[str, float] | None = None
    """Shares of the buckets in the held-out loss; None: as in training."""


def measure_skills(trial: SkillTrial) -> Values:
    """Trains the model; its held-out loss, and its accuracy if it has a test."""
    model, _ = trial.train()
    values = {"loss": trial.validation_loss(model, trial.validation_shares)}
    if trial.skills is not None and trial.tokenizer is not None:
        values["accuracy"] = fmean(accuracy_by_task(model, trial.tokenizer, trial.skills, trial.config.seed).values())
    return values


def accuracy_by_task(model: Llama, tokenizer: Path, skills: Skills, seed: int) -> dict[str, float]:
    """Percent of each task's prompts answered correctly; all models get the same prompts, equally many per task."""
    examples = held_out.test_examples(skills.evaluation, seed)
    responder = Responder(model.eval(), ChatFormat(bpe.load(tokenizer)), False)
    answers = [responses[0] for responses in responder.respond(examples, skills.sampling, seed=seed)]
    correct = np.array(verify(examples, answers))
    return {
        task: 100.0 * float(correct[[example.task == task for example in examples]].mean()) for task in HELPFUL_TASKS
    }
