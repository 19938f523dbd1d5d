"""The prompts of post-training (4.2) by round: demonstrations by annotators, and prompts to sample responses to.

Annotators also get borderline prompts, which sound harmful but are not, and answer them like any other prompt.

Annotators do not always follow the style guide: the tone of a share of their demonstrations is what
`stages.posttraining.tone` removes.
"""

import random
from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import Field

from stages.interface import Context, Metrics, Paths, Section
from stages.posttraining.data import Demonstration, write_records
from stages.tasks import HELPFUL_TASKS, generate
from stages.tasks.example import Example, Split

TONE_LAPSES = ("I'm sorry for any confusion. {}", "I apologize! {}", "{} 😊", "Great question! {}", "{}!!!")
"""How annotators violate the style guide: the tones that the paper (4.2.3) removes or balances."""


class Prompts(Section):
    """How many prompts of each kind."""

    demonstrations: int = Field(gt=0)
    """Prompts per task and round that annotators answer for SFT (assumption; paper 4.2.2: human-annotated prompts,
    collected in each round)."""
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
        [add_lapse(Demonstration(e, e.answer, "annotator"), settings.lapses, generator) for e in examples]
        for examples in _draw_annotated(settings.demonstrations, config.rounds, seed)
    ]
    write_records(directory / "all.jsonl", [])  # the first round reads it as the previous round's preferences
    for number, demonstrations in enumerate(annotated, 1):
        generator.shuffle(demonstrations)
        write_records(directory / f"demonstrations-{number}.jsonl", demonstrations)
        kinds: tuple[tuple[str, Split, int], ...] = (
            ("sampled", "sft", settings.sampled),
            ("compared", "preference", settings.compared),
        )
        for name, split, count in kinds:
            examples = [e for task in HELPFUL_TASKS for e in generate(task, split, count, seed + number)]
            generator.shuffle(examples)
            write_records(directory / f"{name}-{number}.jsonl", examples)
        context.progress("rounds", number, config.rounds)
    return {
        "demonstrations": sum(map(len, annotated)),
        "sampled": settings.sampled * len(HELPFUL_TASKS) * config.rounds,
        "compared": settings.compared * len(HELPFUL_TASKS) * config.rounds,
    }


def _draw_annotated(count: int, rounds: int, seed: int) -> list[list[Example]]:
    """The examples that annotators answer in each round: `count` new ones per task, and as many borderline ones."""
    tasks = [generate(task, "sft", count * rounds, seed) for task in HELPFUL_TASKS]
    safety = generate("safety", "sft", 2 * count * rounds, seed)
    tasks.append([example for example in safety if example.level == "borderline"])
    return [[e for examples in tasks for e in examples[count * n : count * (n + 1)]] for n in range(rounds)]


def add_lapse(demonstration: Demonstration, share: float, generator: random.Random) -> Demonstration:
    """Gives a share of the demonstrations a lapse of tone. Code is left alone: it would no longer run."""
    has_lapse = generator.random() < share
    template = generator.choice(TONE_LAPSES)
    if not has_lapse or demonstration.example.task == "code":
        return demonstration
    return replace(demonstration, response=template.format(demonstration.response))
