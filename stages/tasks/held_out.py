"""The prompts that models are tested on: evaluation asks them, decontamination looks for them in the corpus (5.1)."""

from collections.abc import Sequence

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


def shots_for(examples: Sequence[Example], seed: int, shots: int) -> list[list[Example]]:
    """`shots` worked examples of each example's task and level, from the web's problems."""
    kinds = sorted({(example.task, example.level) for example in examples})
    pool = {kind: [e for e in generate(kind[0], "web", 64, seed + 7) if e.level == kind[1]] for kind in kinds}
    chosen = []
    for number, example in enumerate(examples):
        choices = pool[example.task, example.level]
        chosen.append([choices[(number * shots + place) % len(choices)] for place in range(shots)])
    return chosen
