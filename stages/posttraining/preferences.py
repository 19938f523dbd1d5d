"""Preference data (4.2.1): two answers of the latest model to each prompt, ranked in four levels, the better one edited
where it is not good. The annotators of the generated tasks are their verifiers."""

from collections import Counter
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from stages.interface import Context, Metrics, Paths, Section
from stages.posttraining.data import Preference, read_rows, write_rows
from stages.posttraining.respond import Responder, Sampling
from stages.tasks import score
from stages.tasks.example import Example

LEVELS = (0.25, 0.5, 0.75)
"""Gap in credit above which a response is slightly better, better, significantly better (assumption)."""


class PreferenceSampling(Section):
    """How the responses of a preference pair are sampled."""

    temperature: float = Field(gt=0)
    """Temperature of the answers compared (assumption)."""
    answers: int = Field(ge=2)
    """Answers drawn per prompt; the best is compared with the worst (paper 4.2.1: two, from different models)."""


@dataclass(frozen=True)
class Config:
    seed: Annotated[int, "seed"]
    sampling: Annotated[Sampling, "posttraining.sampling"]
    preferences: Annotated[PreferenceSampling, "posttraining.preferences"]


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """prompts, policy, earlier (the round before's preferences, if there is one) -> preferences.

    preferences.jsonl has this round's, all.jsonl those of all rounds so far.
    """
    number = int(context.item["round"])
    settings = config.preferences
    examples = read_rows(inputs["prompts"] / f"compared-{number}.jsonl", Example)
    responder = Responder.load(inputs["policy"])
    answers = responder.respond(
        examples,
        config.sampling,
        temperature=settings.temperature,
        count=settings.answers,
        seed=config.seed + 1000 * number,
    )
    flat = [(example, answer) for example, given in zip(examples, answers, strict=True) for answer in given]
    credit = score([example for example, _ in flat], [answer for _, answer in flat])
    preferences = []
    for place, (example, given) in enumerate(zip(examples, answers, strict=True)):
        grades = credit[place * settings.answers : (place + 1) * settings.answers]
        preference = compare(example, given, grades, number)
        if preference is not None:
            preferences.append(preference)
    earlier = read_rows(inputs["earlier"] / "all.jsonl", Preference) if "earlier" in inputs else []
    write_rows(outputs["preferences"] / "preferences.jsonl", preferences)
    write_rows(outputs["preferences"] / "all.jsonl", earlier + preferences)
    strengths = Counter(preference.strength for preference in preferences)
    return {
        "prompts": len(examples),
        "preferences": len(preferences),
        "all_rounds": len(earlier) + len(preferences),
        "edited": sum(preference.edited is not None for preference in preferences),
        "by_strength": {str(level): strengths[level] for level in (1, 2, 3, 4)},
        "by_task": dict(sorted(Counter(preference.example.task for preference in preferences).items())),
    }


def compare(example: Example, answers: list[str], grades: list[float], number: int) -> Preference | None:
    """The best answer against the worst, with an edited one where the best is not good.

    Of answers that are equally wrong one is compared with what the annotator writes instead; None where all are right,
    or the worst is empty.
    """
    best, worst = max(range(len(grades)), key=grades.__getitem__), min(range(len(grades)), key=grades.__getitem__)
    if grades[worst] == 1 or not answers[worst]:
        return None
    edited = example.answer if grades[best] < 1 else None
    preferred = 1.0 if edited is not None else grades[best]
    strength = 1 + sum(preferred - grades[worst] > level for level in LEVELS)
    if grades[best] == grades[worst]:
        return Preference(example, example.answer, answers[worst], None, strength, number)
    return Preference(example, answers[best], answers[worst], edited, strength, number)


def strong(preferences: list[Preference]) -> list[Preference]:
    """Those that are trained on: better and significantly better (4.2.1)."""
    return [preference for preference in preferences if preference.strength >= 3]
