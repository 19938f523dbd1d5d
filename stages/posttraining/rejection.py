"""Rejection sampling (4.2.2): samples many responses per prompt from the latest model, keeps the one with the highest
reward. The round's SFT data are the kept ones, pruned, and all annotators' demonstrations so far, cleaned (tone)."""

from collections import Counter
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from stages import statistics
from stages.interface import Context, Metrics, Paths, Section
from stages.posttraining import tone
from stages.posttraining.data import Demonstration, read_records, write_records
from stages.posttraining.pruning import Pruning, embed, prune
from stages.posttraining.respond import Responder, Sampling, flatten
from stages.posttraining.reward import load_reward_model, score_responses
from stages.tasks import VERIFIED_TASKS, verify
from stages.tasks.example import Example
from stages.training.parameters import Training


class Rejection(Section):
    """How responses are sampled and selected."""

    answers: int = Field(ge=2)
    """Responses per prompt, K (paper 4.2.2: 10 to 30)."""
    temperature: float = Field(gt=0)
    """Sampling temperature (assumption for English; paper 4.3.2: 0.2 to 1 for other languages)."""
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
    """prompts, policy, reward -> demonstrations (demonstrations.jsonl; removed.jsonl with what pruning removed)."""
    number = int(context.item["round"])
    settings = config.rejection
    examples = read_records(inputs["prompts"] / f"sampled-{number}.jsonl", Example)
    policy = Responder.load(inputs["policy"])
    responses = policy.respond(
        examples,
        config.sampling,
        temperature=settings.temperature,
        num_return_sequences=settings.answers,
        seed=config.seed + 2000 * number,
    )
    flat_examples, flat_responses = flatten(examples, responses)
    reward_model, chat = load_reward_model(inputs["reward"])
    flat_rewards = score_responses(reward_model, chat, flat_examples, flat_responses, config.training)
    shape = (len(examples), settings.answers)
    rewards = np.array(flat_rewards).reshape(shape)
    is_right = np.array(verify(flat_examples, flat_responses)).reshape(shape)

    best = select_best(examples, rewards, is_right, [*VERIFIED_TASKS])
    selected = [Demonstration(examples[i], responses[i][k], "rejection sampling") for i, k in best]
    best_rewards = [float(rewards[i, k]) for i, k in best]
    difficulty = [1 - float(is_right[i].mean()) for i, _ in best]
    embeddings = embed(policy.model, policy.chat, selected)
    kept, removed = prune(selected, best_rewards, difficulty, embeddings, config.pruning)

    paths = [inputs["prompts"] / f"demonstrations-{earlier}.jsonl" for earlier in range(1, number + 1)]
    annotated = [demonstration for path in paths for demonstration in read_records(path, Demonstration)]
    raw = annotated + [selected[index] for index in kept]
    cleaned = tone.clean(raw, settings.apologies)
    write_records(outputs["demonstrations"] / "demonstrations.jsonl", cleaned)
    pruned = [selected[index] for index in sorted(set(range(len(selected))) - set(kept))]
    write_records(outputs["demonstrations"] / "removed.jsonl", pruned)
    is_best_right = is_right[np.arange(len(examples)), rewards.argmax(1)]
    return {
        "prompts": len(examples),
        "accuracy_of_one_answer": statistics.proportion(float(is_right[:, 0].sum()), len(examples)),
        "accuracy_of_best_reward": statistics.proportion(float(is_best_right.sum()), len(examples)),
        "accuracy_of_any_answer": statistics.proportion(float(is_right.any(1).sum()), len(examples)),
        "chosen": len(selected),
        "removed": removed,
        "kept": len(kept),
        "by_task": dict(sorted(Counter(selected[index].example.task for index in kept).items())),
        "demonstrations": len(cleaned),
        "tone_before": tone.measure(raw),
        "tone_after": tone.measure(cleaned),
    }


def select_best(
    examples: list[Example], rewards: np.ndarray, is_right: np.ndarray, verified: list[str]
) -> list[tuple[int, int]]:
    """The (prompt, response) indices with the highest reward; tasks in `verified` only select among right responses.

    A prompt with no response to select is left out.
    """
    best = []
    for index, example in enumerate(examples):
        allowed = is_right[index] if example.task in verified else np.ones_like(is_right[index])
        if allowed.any():
            best.append((index, int(np.where(allowed, rewards[index], -np.inf).argmax())))
    return best
