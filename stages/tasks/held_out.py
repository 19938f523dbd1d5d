"""The prompts that models are tested on: evaluation asks them, decontamination looks for them in the corpus (5.1)."""

from pydantic import Field

from stages.interface import Section
from stages.tasks import TASKS, generate
from stages.tasks.example import Example


class Evaluation(Section):
    """The test."""

    prompts: int = Field(gt=1)
    """Test prompts per task (assumption)."""


def examples(test: Evaluation, seed: int) -> list[Example]:
    """The test prompts of every task, task by task."""
    return [example for task in TASKS for example in generate(task, "test", test.prompts, seed)]
