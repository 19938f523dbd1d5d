"""Rejection sampling (4.2.2): many answers to each prompt from the latest model, the one the reward model likes best is
kept; then the round's SFT data: cleaned (tone), pruned, and joined with the annotators' demonstrations so far."""

from collections import Counter
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from stages import statistics
from stages.interface import Context, Metrics, Paths, Section
from stages.posttraining import tone
from stages.posttraining.data import Demonstration, read_rows, write_rows
from stages.posttraining.pruning import Pruning, embed, prune
from stages.posttraining.respond import Responder, Sampling
from stages.posttraining.reward import load_reward_model, rewards
from stages.tasks import verify
from stages.tasks.example import Example
from stages.training.loop import Training


class Rejection(Section):
    """How answers are sampled and chosen."""

    answers: int = Field(ge=2)
    """Answers per prompt, K (paper 4.2.2: 10 to 30)."""
    temperature: float = Field(gt=0)
    """Temperature (assumption for English; paper 4.3.2: 0.2 to 1 for other languages)."""
    verified: list[str]
    """Tasks whose answers must also pass their verifier (paper 4.3.1, 4.3.3: code is run, reasoning compared)."""
    apologies: float = Field(ge=0, le=1)
    """Largest share of responses that open with an apology (assumption; paper 4.2.3: balanced)."""


@dataclass(frozen=True)
class Config:
    seed: Annotated[int, "seed"]
    training: Annotated[Training, "training"]
    sampling: Annotated[Sampling, "posttraining.sampling"]
    rejection: Annotated[Rejection, "posttraining.rejection"]
    pruning: Annotated[Pruning, "posttraining.pruning"]


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """prompts, policy, reward -> demonstrations (demonstrations.jsonl; removed.jsonl with what pruning took)."""
    number = int(context.item["round"])
    settings = config.rejection
    examples = read_rows(inputs["prompts"] / f"sampled-{number}.jsonl", Example)
    policy = Responder.load(inputs["policy"])
    answers = policy.respond(
        examples,
        config.sampling,
        temperature=settings.temperature,
        count=settings.answers,
        seed=config.seed + 2000 * number,
    )
    flat = [(example, answer) for example, given in zip(examples, answers, strict=True) for answer in given]
    judge, chat = load_reward_model(inputs["reward"])
    shape = (len(examples), settings.answers)
    liked = np.array(rewards(judge, chat, flat, config.training)).reshape(shape)
    right = np.array(verify([e for e, _ in flat], [a for _, a in flat])).reshape(shape)

    picked = choose(examples, liked, right, settings.verified)
    found = [Demonstration(examples[i], answers[i][k], "rejection sampling") for i, k in picked]
    scores = [float(liked[i, k]) for i, k in picked]
    difficulty = [1 - float(right[i].mean()) for i, _ in picked]
    kept, removed = prune(found, scores, difficulty, embed(policy.model, policy.chat, found), config.pruning)

    rounds = [inputs["prompts"] / f"demonstrations-{earlier}.jsonl" for earlier in range(1, number + 1)]
    annotated = [row for path in rounds for row in read_rows(path, Demonstration)]
    raw = annotated + [found[index] for index in kept]
    cleaned = tone.clean(raw, settings.apologies)
    write_rows(outputs["demonstrations"] / "demonstrations.jsonl", cleaned)
    keeping = set(kept)
    write_rows(outputs["demonstrations"] / "removed.jsonl", [d for i, d in enumerate(found) if i not in keeping])
    best = right[np.arange(len(examples)), liked.argmax(1)]
    return {
        "prompts": len(examples),
        "accuracy_of_one_answer": statistics.proportion(float(right[:, 0].sum()), len(examples)),
        "accuracy_of_best_reward": statistics.proportion(float(best.sum()), len(examples)),
        "accuracy_of_any_answer": statistics.proportion(float(right.any(1).sum()), len(examples)),
        "chosen": len(found),
        "removed": removed,
        "kept": len(kept),
        "by_task": dict(sorted(Counter(found[index].example.task for index in kept).items())),
        "demonstrations": len(cleaned),
        "tone_before": tone.rates(raw),
        "tone_after": tone.rates(cleaned),
    }


def choose(examples: list[Example], liked: np.ndarray, right: np.ndarray, verified: list[str]) -> list[tuple[int, int]]:
    """(prompt, answer) with the highest reward of those that may be kept; a prompt without one is left out."""
    picked = []
    for index, example in enumerate(examples):
        allowed = right[index] if example.task in verified else np.ones_like(right[index])
        if allowed.any():
            picked.append((index, int(np.where(allowed, liked[index], -np.inf).argmax())))
    return picked
