"""Rejection sampling (4.2.2): samples many responses per prompt from the latest model, keeps the one with the highest
reward; of a task with a verifier only right ones. `selection` measures what the reward model adds to simple choices.

The round's SFT data are the kept responses, pruned, and the annotators' demonstrations, cleaned (tone), without
duplicates.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from stages.interface import Context, Metrics, Paths, Section
from stages.posttraining import tone
from stages.posttraining.data import Demonstration, read_records, write_records
from stages.posttraining.pruning import Pruning, embed, prune
from stages.posttraining.respond import Responder, Sampling, flatten
from stages.posttraining.reward import load_reward_model, score_responses
from stages.posttraining.selection import auc_within_prompts, measure_selection
from stages.tasks import VERIFIED_TASKS, verify
from stages.tasks.example import Example
from stages.training.parameters import Training


class Rejection(Section):
    """How responses are sampled and selected."""

    answers: int = Field(ge=2)
    """Responses per prompt, K (paper 4.2.2: 10 to 30)."""
    temperature: float = Field(gt=0)
    """Sampling temperature (assumption for English; paper 4.3.2: 0.2 to 1 for other languages)."""
    vote_temperature: float = Field(gt=0)
    """Temperature T of the reward-weighted vote, the sum of exp(reward / T) over equal responses, which is only a
    baseline (assumption)."""
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
    """prompts, policy, reward -> demonstrations (demonstrations.jsonl; removed.jsonl with what pruning removed;
    answers.parquet: every sampled response with its reward and whether it is right)."""
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

    annotated = read_records(inputs["prompts"] / "demonstrations.jsonl", Demonstration)
    raw = annotated + [selected[index] for index in kept]
    toned = tone.clean(raw, settings.apologies)
    cleaned = drop_duplicates(toned)
    num_gold = sum(demonstration.source == "annotator" for demonstration in cleaned)
    write_records(outputs["demonstrations"] / "demonstrations.jsonl", cleaned)
    pruned = [selected[index] for index in sorted(set(range(len(selected))) - set(kept))]
    write_records(outputs["demonstrations"] / "removed.jsonl", pruned)
    columns = {
        "task": [example.task for example in flat_examples],
        "cluster": [example.cluster for example in flat_examples],
        "prompt": [example.prompt for example in flat_examples],
        "response": flat_responses,
        "reward": flat_rewards,
        "is_right": is_right.ravel(),
    }
    pq.write_table(pa.table(columns), outputs["demonstrations"] / "answers.parquet", compression="zstd")
    return {
        "prompts": len(examples),
        "selection": measure_selection(examples, responses, rewards, is_right, settings.vote_temperature),
        "auc_within_prompts": auc_within_prompts(examples, rewards, is_right),
        "chosen": len(selected),
        "removed": removed,
        "kept": len(kept),
        "by_task": dict(sorted(Counter(selected[index].example.task for index in kept).items())),
        "demonstrations": len(cleaned),
        "gold": num_gold,
        "sampled_share": 1 - num_gold / len(cleaned),
        "duplicates": len(toned) - len(cleaned),
        "tone_before": tone.measure(raw),
        "tone_after": tone.measure(cleaned),
    }


def drop_duplicates(demonstrations: list[Demonstration]) -> list[Demonstration]:
    """The first demonstration of each (prompt, response)."""
    first: dict[tuple[str, str], Demonstration] = {}
    for demonstration in demonstrations:
        first.setdefault((demonstration.example.prompt, demonstration.response), demonstration)
    return list(first.values())


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
