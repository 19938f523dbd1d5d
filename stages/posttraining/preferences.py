"""Preference data (4.2.1): the latest model answers each prompt several times; the best response is preferred to the
worst in four levels, and edited for a share of the prompts without a right one. The annotators of the generated tasks
are their verifiers."""

import random
from collections import Counter
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from stages.interface import Context, Metrics, Paths, Section
from stages.posttraining.data import Preference, read_records, write_records
from stages.posttraining.respond import Responder, Sampling, flatten
from stages.tasks import score
from stages.tasks.example import Example

STRENGTH_THRESHOLDS = (0.25, 0.5, 0.75)
"""Difference of scores above which a response is slightly better, better, significantly better (assumption)."""


class PreferenceSampling(Section):
    """How the responses to compare are sampled."""

    temperature: float = Field(gt=0)
    """Sampling temperature (assumption)."""
    answers: int = Field(ge=2)
    """Responses per prompt; the best is compared with the worst (paper 4.2.1: two, from different models)."""
    pairs: int = Field(gt=0)
    """Most pairs of a right and a wrong response that a prompt gives to the reward model (assumption; paper 4.2.1: one
    or more)."""
    edited: float = Field(ge=0, le=1)
    """Share of the prompts without a right response whose best one is edited (assumption; paper 4.2.1: annotators may
    edit)."""


@dataclass(frozen=True)
class Config:
    seed: Annotated[int, "seed"]
    sampling: Annotated[Sampling, "posttraining.sampling"]
    preferences: Annotated[PreferenceSampling, "posttraining.preferences"]


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """prompts, policy, earlier (the previous round's preferences, if there is one) -> preferences.

    preferences.jsonl holds this round's preferences, one per prompt, for DPO; all.jsonl those of all rounds so far with
    further pairs of the same prompts, for the reward model.
    """
    number = int(context.item["round"])
    settings = config.preferences
    examples = read_records(inputs["prompts"] / f"compared-{number}.jsonl", Example)
    responses = Responder.load(inputs["policy"]).respond(
        examples,
        config.sampling,
        temperature=settings.temperature,
        num_return_sequences=settings.answers,
        seed=config.seed + 1000 * number,
    )
    scores = np.reshape(score(*flatten(examples, responses)), (-1, settings.answers)).tolist()
    generator = random.Random(f"{config.seed}-preferences-{number}")
    preferences: list[Preference] = []
    ranked: list[Preference] = []
    for example, texts, grades in zip(examples, responses, scores, strict=True):
        can_edit = generator.random() < settings.edited
        preference = compare(example, texts, grades, number, can_edit)
        if preference is not None:
            preferences.append(preference)
            pairs = pair_right_with_wrong(example, texts, grades, number)
            ranked += generator.sample(pairs, settings.pairs) if len(pairs) > settings.pairs else pairs or [preference]
    earlier = read_records(inputs["earlier"] / "all.jsonl", Preference) if "earlier" in inputs else []
    write_records(outputs["preferences"] / "preferences.jsonl", preferences)
    write_records(outputs["preferences"] / "all.jsonl", earlier + ranked)
    strengths = Counter(preference.strength for preference in preferences)
    trained = select_strong(preferences)
    return {
        "prompts": len(examples),
        "preferences": len(preferences),
        "ranked": len(ranked),
        "all_rounds": len(earlier) + len(ranked),
        "edited": sum(preference.edited is not None for preference in preferences),
        "trained": len(trained),
        "edited_share_of_trained": sum(p.edited is not None for p in trained) / max(1, len(trained)),
        "by_strength": {str(level): strengths[level] for level in (1, 2, 3, 4)},
        "by_task": dict(sorted(Counter(preference.example.task for preference in preferences).items())),
    }


def compare(
    example: Example, responses: list[str], scores: list[float], number: int, can_edit: bool
) -> Preference | None:
    """Prefers the best response to the worst, both the model's own; `number` is the round.

    With `can_edit` the best response is edited if it is not right. Empty responses are left out. Returns None if all
    are right, or if all are equally wrong and none is edited.
    """
    graded = [(grade, text) for grade, text in zip(scores, responses, strict=True) if text]
    if not graded:
        return None
    (best, chosen), (worst, rejected) = (choose(graded, key=lambda pair: pair[0]) for choose in (max, min))
    is_edited = can_edit and best < 1
    if best == worst and not is_edited:
        return None
    edited = example.answer if is_edited else None
    strength = find_strength((1.0 if is_edited else best) - worst)
    return Preference(example, chosen, rejected, edited, strength, number)


def pair_right_with_wrong(example: Example, responses: list[str], scores: list[float], number: int) -> list[Preference]:
    """A preference for each pair of a right and a wrong response with distinct texts; empty responses are left out."""
    distinct = {text: grade for text, grade in zip(responses, scores, strict=True) if text}
    right = [text for text, grade in distinct.items() if grade == 1]
    return [
        Preference(example, better, worse, None, find_strength(1 - grade), number)
        for better in right
        for worse, grade in distinct.items()
        if grade < 1
    ]


def find_strength(difference: float) -> int:
    """The strength of a preference, from 1 to 4, by the difference of the scores."""
    return 1 + sum(difference > threshold for threshold in STRENGTH_THRESHOLDS)


def select_strong(preferences: list[Preference]) -> list[Preference]:
    """The preferences that are trained on: better and significantly better (4.2.1)."""
    return [preference for preference in preferences if preference.strength >= 3]
