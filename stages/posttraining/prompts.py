"""The prompts of post-training (4.2), for each round: demonstrations by annotators, and prompts to sample answers for.

Annotators also meet borderline prompts, which sound harmful and are not, and answer them as any other.

Annotators do not all keep to the style guide: a share of their demonstrations carries the tone that cleaning
(`stages.posttraining.tone`) is there to remove.
"""

import random
from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import Field

from stages.interface import Context, Metrics, Paths, Section
from stages.posttraining.data import Demonstration, write_rows
from stages.tasks import HELPFUL_TASKS, generate
from stages.tasks.example import Example, Split

LAPSES = ("I'm sorry for any confusion. {}", "I apologize! {}", "{} 😊", "Great question! {}", "{}!!!")
"""How annotators stray from the style guide: what the paper (4.2.3) removes or balances."""


class Prompts(Section):
    """How many prompts of each kind."""

    demonstrations: int = Field(gt=0)
    """Prompts per task and round that annotators answer for SFT (assumption; paper 4.2.2: human-annotated prompts,
    collected anew in each round)."""
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
    """-> prompts (<kind>-<round>.jsonl for the kinds demonstrations, sampled and compared)."""
    directory = outputs["prompts"]
    settings, seed = config.prompts, config.seed
    generator = random.Random(seed)
    annotated = [
        [lapse(Demonstration(example, example.answer, "annotator"), settings.lapses, generator) for example in examples]
        for examples in _answered(settings.demonstrations, config.rounds, seed)
    ]
    write_rows(directory / "all.jsonl", [])  # the preferences of the rounds before the first
    for number, demonstrations in enumerate(annotated, 1):
        generator.shuffle(demonstrations)
        write_rows(directory / f"demonstrations-{number}.jsonl", demonstrations)
        wanted: tuple[tuple[str, Split, int], ...] = (
            ("sampled", "sft", settings.sampled),
            ("compared", "preference", settings.compared),
        )
        for name, split, count in wanted:
            examples = [e for task in HELPFUL_TASKS for e in generate(task, split, count, seed + number)]
            generator.shuffle(examples)
            write_rows(directory / f"{name}-{number}.jsonl", examples)
        context.progress("rounds", number, config.rounds)
    return {
        "demonstrations": sum(map(len, annotated)),
        "sampled": settings.sampled * len(HELPFUL_TASKS) * config.rounds,
        "compared": settings.compared * len(HELPFUL_TASKS) * config.rounds,
    }


def _answered(count: int, rounds: int, seed: int) -> list[list[Example]]:
    """What annotators answer in each round: `count` new examples per task, and as many borderline ones."""
    tasks = [generate(task, "sft", count * rounds, seed) for task in HELPFUL_TASKS]
    safety = generate("safety", "sft", 2 * count * rounds, seed)
    tasks.append([example for example in safety if example.level == "borderline"])
    return [[e for examples in tasks for e in examples[count * n : count * (n + 1)]] for n in range(rounds)]


def lapse(demonstration: Demonstration, share: float, generator: random.Random) -> Demonstration:
    """The demonstration, now and then with a lapse of tone. Code is never touched: it would no longer run."""
    stray = generator.random() < share
    style = generator.choice(LAPSES)
    if not stray or demonstration.example.task == "code":
        return demonstration
    return replace(demonstration, response=style.format(demonstration.response))
