"""Preference data (4.2.1): the latest model answers each prompt several times; the best response is preferred to the
worst in four levels, and edited if it is not good. The annotators of the generated tasks are their verifiers."""

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


@dataclass(frozen=True)
class Config:
    seed: Annotated[int, "seed"]
    sampling: Annotated[Sampling, "posttraining.sampling"]
    preferences: Annotated[PreferenceSampling, "posttraining.preferences"]


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """prompts, policy, earlier (the previous round's preferences, if there is one) -> preferences.

    preferences.jsonl holds this round's preferences, all.jsonl those of all rounds so far.
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
    compared = [compare(*of_prompt, number) for of_prompt in zip(examples, responses, scores, strict=True)]
    preferences = [preference for preference in compared if preference is not None]
    earlier = read_records(inputs["earlier"] / "all.jsonl", Preference) if "earlier" in inputs else []
    write_records(outputs["preferences"] / "preferences.jsonl", preferences)
    write_records(outputs["preferences"] / "all.jsonl", earlier + preferences)
    strengths = Counter(preference.strength for preference in preferences)
    return {
        "prompts": len(examples),
        "preferences": len(preferences),
        "all_rounds": len(earlier) + len(preferences),
        "edited": sum(preference.edited is not None for preference in preferences),
        "by_strength": {str(level): strengths[level] for level in (1, 2, 3, 4)},
        "by_task": dict(sorted(Counter(preference.example.task for preference in preferences).items())),
    }


def compare(example: Example, responses: list[str], scores: list[float], number: int) -> Preference | None:
    """Prefers the best response to the worst, with an edited one if the best is not right; `number` is the round.

    If all are equally wrong, the reference answer takes the place of the best. Returns None if all are right, or if the
    worst is empty.
    """
    best, worst = max(range(len(scores)), key=scores.__getitem__), min(range(len(scores)), key=scores.__getitem__)
    if scores[worst] == 1 or not responses[worst]:
        return None
    edited = example.answer if scores[best] < 1 else None
    best_score = 1.0 if edited is not None else scores[best]
    strength = 1 + sum(best_score - scores[worst] > threshold for threshold in STRENGTH_THRESHOLDS)
    if scores[best] == scores[worst]:
        return Preference(example, example.answer, responses[worst], None, strength, number)
    return Preference(example, responses[best], responses[worst], edited, strength, number)


def select_strong(preferences: list[Preference]) -> list[Preference]:
    """The preferences that are trained on: better and significantly better (4.2.1)."""
    return [preference for preference in preferences if preference.strength >= 3]
