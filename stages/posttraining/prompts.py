"""The prompts of post-training (4.2): demonstrations by annotators, and for each round prompts to sample answers for.

Annotators do not all keep to the style guide: a share of their demonstrations carries the tone that cleaning
(`stages.posttraining.tone`) is there to remove.
"""

import random
from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import Field

from stages.interface import Context, Metrics, Paths, Section
from stages.posttraining.data import Demonstration, write_rows
from stages.tasks import TASKS, generate
from stages.tasks.example import Split

LAPSES = ("I'm sorry for any confusion. {}", "I apologize! {}", "{} 😊", "Great question! {}", "{}!!!")
"""How annotators stray from the style guide: what the paper (4.2.3) removes or balances."""


class Prompts(Section):
    """How many prompts of each kind."""

    demonstrations: int = Field(gt=0)
    """Prompts per task that annotators answer for SFT (assumption; paper 4.2.2: human-annotated prompts)."""
    sampled: int = Field(gt=0)
    """Prompts per task and round for rejection sampling (assumption)."""
    compared: int = Field(gt=0)
    """Prompts per task and round for preference pairs (assumption)."""
    lapses: float = Field(ge=0, le=1)
    """Share of demonstrations with a lapse of tone (assumption; paper 4.2.3 names the lapses, gives no rate)."""


@dataclass(frozen=True)
class Config:
    seed: Annotated[int, "seed"]
    rounds: Annotated[int, "posttraining.rounds"]
    prompts: Annotated[Prompts, "posttraining.prompts"]


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """-> prompts (demonstrations.jsonl, and sampled-<round>.jsonl and compared-<round>.jsonl for each round)."""
    directory = outputs["prompts"]
    settings, seed = config.prompts, config.seed
    generator = random.Random(seed)
    demonstrations = [
        lapse(Demonstration(example, example.answer, "annotator"), settings.lapses, generator)
        for task in TASKS
        for example in generate(task, "sft", settings.demonstrations, seed)
    ]
    generator.shuffle(demonstrations)
    write_rows(directory / "demonstrations.jsonl", demonstrations)
    write_rows(directory / "all.jsonl", [])  # the comparisons of the rounds before the first
    for number in range(1, config.rounds + 1):
        wanted: tuple[tuple[str, Split, int], ...] = (
            ("sampled", "sft", settings.sampled),
            ("compared", "preference", settings.compared),
        )
        for name, split, count in wanted:
            examples = [e for task in TASKS for e in generate(task, split, count, seed + number)]
            generator.shuffle(examples)
            write_rows(directory / f"{name}-{number}.jsonl", examples)
        context.progress("rounds", number, config.rounds)
    return {"demonstrations": len(demonstrations), "sampled": settings.sampled * len(TASKS) * config.rounds,
            "compared": settings.compared * len(TASKS) * config.rounds}  # fmt: skip


def lapse(demonstration: Demonstration, share: float, generator: random.Random) -> Demonstration:
    """The demonstration, now and then with a lapse of tone. Code is never touched: it would no longer run."""
    stray = generator.random() < share
    style = generator.choice(LAPSES)
    if not stray or demonstration.example.task == "code":
        return demonstration
    return replace(demonstration, response=style.format(demonstration.response))
