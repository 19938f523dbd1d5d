"""The test prompts: evaluation uses them, and decontamination searches the corpus for them (5.1)."""

from collections.abc import Sequence

from pydantic import Field

from stages.interface import Section
from stages.tasks import HELPFUL_TASKS, generate
from stages.tasks.example import Example


class Evaluation(Section):
    """Evaluation on the test prompts of the generated tasks."""

    prompts: int = Field(gt=1)
    """Test prompts per task (assumption)."""


def test_examples(test: Evaluation, seed: int) -> list[Example]:
    """The test prompts of every task, task by task."""
    return [example for task in HELPFUL_TASKS for example in generate(task, "test", test.prompts, seed)]


def few_shot_examples(examples: Sequence[Example], seed: int, shots: int) -> list[list[Example]]:
    """For each example `shots` solved examples of its task and level, from the split "web"."""
    kinds = sorted({(example.task, example.level) for example in examples})
    pools = {kind: [e for e in generate(kind[0], "web", 64, seed + 7) if e.level == kind[1]] for kind in kinds}
    few_shot = []
    for index, example in enumerate(examples):
        pool = pools[example.task, example.level]
        few_shot.append([pool[(index * shots + shot) % len(pool)] for shot in range(shots)])
    return few_shot
