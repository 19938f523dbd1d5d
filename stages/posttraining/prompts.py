"""The prompts of post-training (4.2): demonstrations by annotators, and the prompts of each round.

All rounds train on the same demonstrations, so that a round differs from the one before by its own samples only. The
prompts of a round are new: they occur neither in the demonstrations nor in another round.

Annotators also get borderline prompts, which sound harmful but are not, and answer them like any other prompt.

Annotators do not always follow the style guide: the tone of a share of their demonstrations is what
`stages.posttraining.tone` removes.
"""

import itertools
import random
from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import Field

from stages.interface import Context, Metrics, Paths, Section
from stages.posttraining.data import Demonstration, write_records
from stages.tasks import HELPFUL_TASKS, REGISTRY, generate
from stages.tasks.example import Example, Split

TONE_LAPSES = ("I'm sorry for any confusion. {}", "I apologize! {}", "{} 😊", "Great question! {}", "{}!!!")
"""How annotators violate the style guide: the tones that the paper (4.2.3) removes or balances."""


class Prompts(Section):
    """How many prompts of each kind."""

    demonstrations: int = Field(gt=0)
    """Prompts per task that annotators answer for SFT, the same ones in every round (assumption; paper 4.2.2:
    human-annotated prompts, collected in each round)."""
    sampled: int = Field(gt=0)
    """Prompts per task and round for rejection sampling, fewer if a task has not so many (assumption)."""
    compared: int = Field(gt=0)
    """Prompts per task and round for preference pairs, fewer if a task has not so many (assumption)."""
    lapses: float = Field(ge=0, le=1)
    """Share of demonstrations with a lapse of tone (assumption; paper 4.2.3 names the lapses, gives no rate)."""


@dataclass(frozen=True)
class Config:
    seed: Annotated[int, "seed"]
    rounds: Annotated[int, "posttraining.rounds"]
    prompts: Annotated[Prompts, "posttraining.prompts"]


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """-> prompts (demonstrations.jsonl; sampled-<round>.jsonl and compared-<round>.jsonl)."""
    directory = outputs["prompts"]
    settings, seed = config.prompts, config.seed
    generator = random.Random(seed)
    sft_counts = [settings.demonstrations] + [settings.sampled] * config.rounds
    gold, *sampled = draw_disjoint("sft", sft_counts, seed)
    compared = draw_disjoint("preference", [settings.compared] * config.rounds, seed)
    borderline = [e for e in generate("safety", "sft", 2 * settings.demonstrations, seed) if e.level == "borderline"]
    demonstrations = [
        add_lapse(Demonstration(e, e.answer, "annotator"), settings.lapses, generator) for e in gold + borderline
    ]
    generator.shuffle(demonstrations)
    write_records(directory / "demonstrations.jsonl", demonstrations)
    write_records(directory / "all.jsonl", [])  # the first round reads it as the previous round's preferences
    for kind, rounds in (("sampled", sampled), ("compared", compared)):
        for number, examples in enumerate(rounds, 1):
            generator.shuffle(examples)
            write_records(directory / f"{kind}-{number}.jsonl", examples)
    return {
        "demonstrations": len(demonstrations),
        "sampled": sum(map(len, sampled)),
        "compared": sum(map(len, compared)),
    }


def draw_disjoint(split: Split, counts: list[int], seed: int) -> list[list[Example]]:
    """Sets of examples that share no prompt: `counts[i]` of each task in set i, levels alternating.

    Where a level has fewer distinct prompts than all sets need, they get equal parts, but none more than it needs.
    """
    sets: list[list[Example]] = [[] for _ in counts]
    for task in HELPFUL_TASKS:
        drawn = {example.prompt: example for example in generate(task, split, sum(counts), seed)}
        for offset, level in enumerate(REGISTRY[task].INFO.levels):
            of_level = iter([example for example in drawn.values() if example.level == level])
            num_left = sum(example.level == level for example in drawn.values())
            for num_served, index in enumerate(sorted(range(len(counts)), key=counts.__getitem__)):
                part = min((counts[index] + 1 - offset) // 2, num_left // (len(counts) - num_served))
                sets[index] += itertools.islice(of_level, part)
                num_left -= part
    return sets


def add_lapse(demonstration: Demonstration, share: float, generator: random.Random) -> Demonstration:
    """Gives a share of the demonstrations a lapse of tone. Code is left alone: it would no longer run."""
    has_lapse = generator.random() < share
    template = generator.choice(TONE_LAPSES)
    if not has_lapse or demonstration.example.task == "code":
        return demonstration
    return replace(demonstration, response=template.format(demonstration.response))
