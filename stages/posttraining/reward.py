"""The reward model (4.1.2): the pretrained model with a scalar head, trained to rank edited > chosen > rejected."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from stages import statistics
from stages.interface import Context, Metrics, Paths, Section, StageError
from stages.model.files import context_length, load_model, save_model
from stages.model.llama import RewardModel
from stages.posttraining.averaging import Tuning, train_variants, variant_runs
from stages.posttraining.data import Preference, read_rows
from stages.posttraining.preferences import strong
from stages.posttraining.sequences import PairRows, Rows, Share, Shuffled, ShuffledBatches, content_digest, pad, row
from stages.tasks.example import Example
from stages.tokenizer import bpe
from stages.tokenizer.chat import ChatFormat
from stages.training.curve import tail_mean, write_curve
from stages.training.loop import ALONE, Alone, Run, Training, ranks_of
from stages.training.sample import Row, Sample


class Reward(Section):
    """The reward model's training."""

    tuning: Tuning
    """Rates, steps and batch, in pairs (paper 4.1.2 gives none: assumption)."""
    held_out: float = Field(gt=0, lt=1)
    """Share of the preferences kept to measure its accuracy on (assumption)."""


@dataclass(frozen=True)
class Config:
    seed: Annotated[int, "seed"]
    training: Annotated[Training, "training"]
    reward: Annotated[Reward, "posttraining.reward"]


Ranked = tuple[Example, str, str]
"""(example, better response, worse response)."""


@dataclass(frozen=True)
class PairBatches(ShuffledBatches):
    """Batches of ranked pairs."""

    pairs: Sequence[Ranked]

    def __call__(self, step: int) -> Sequence[PairRows]:
        chosen = [self.pairs[index] for index in self.order.rows(step)]
        rows = [row(self.chat, e.prompt, response) for e, *both in chosen for response in both]
        return self.share(PairRows(**vars(pad(rows, self.chat.pad))))

    def samples(self, step: int) -> Iterator[Sample]:
        """Each pair of a step: the reward at the last token of each counts in the loss, no token as a target."""
        for index in self.order.rows(step):
            example, better, worse = self.pairs[index]
            rows = {role: row(self.chat, example.prompt, text) for role, text in (("better", better), ("worse", worse))}
            sides = {role: Row(tokens, [False] * len(tokens)) for role, (tokens, _) in rows.items()}
            yield Sample(f"pair {index} of {len(self.pairs)}", sides)


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """base (a pretrained model), preferences -> model, curve (CSV)."""
    chat = ChatFormat(bpe.load(inputs["base"]))
    pairs, kept = divided(config.reward, inputs)
    model, histories = train_variants(
        load_model(inputs["base"], RewardModel),
        pair_batches(config, chat, pairs),
        ranking_loss,
        config.reward.tuning,
        config.training,
        scratch=context.scratch,
        context=context,
        title="reward model",
    )
    save_model(model, outputs["model"], inputs["base"], context_length(inputs["base"]))
    write_curve(outputs["curve"], histories[0])
    right = np.array(
        [
            float(a > b)
            for a, b in zip(
                *(
                    rewards(
                        model, chat, [(c.example, getattr(c, side)) for c in kept], config.training, ranks_of(context)
                    )
                    for side in ("chosen", "rejected")
                ),
                strict=True,
            )
        ]
    )
    tasks = sorted({c.example.task for c in kept})
    by_task = {t: right[[c.example.task == t for c in kept]] for t in tasks}
    return {
        "pairs": len(pairs),
        "accuracy": statistics.proportion(float(right.sum()), len(right)),
        "accuracy_by_task": {t: statistics.proportion(float(r.sum()), len(r)) for t, r in by_task.items()},
        "train_loss": tail_mean(histories[0], steps=20),
    }


def divided(settings: Reward, inputs: Paths) -> tuple[list[Ranked], list[Preference]]:
    """The pairs to train on and the preferences held out; StageError where there are too few of both."""
    preferences = strong(read_rows(inputs["preferences"] / "all.jsonl", Preference))
    held = round(len(preferences) * settings.held_out)
    if held < 1 or held > len(preferences) // 2:
        raise StageError(
            f"{inputs['preferences']}: {len(preferences)} preferences are too few to train a reward model on and hold "
            f"out {settings.held_out:g} of them: raise posttraining.prompts.compared or lower "
            "posttraining.reward.held_out"
        )
    # Spread evenly: each round and each task is held out alike.
    places = {number * len(preferences) // held for number in range(held)}
    kept = [c for place, c in enumerate(preferences) if place in places]
    pairs = [pair for place, c in enumerate(preferences) if place not in places for pair in rankings(c)]
    return pairs, kept


def pair_batches(config: Config, chat: ChatFormat, pairs: Sequence[Ranked]) -> Callable[[int], PairBatches]:
    """The batches of each variant."""
    content, size, share = content_digest(pairs), config.reward.tuning.batch, Share(config.training.micro_tokens)
    return lambda variant: PairBatches(chat, Shuffled(len(pairs), size, config.seed + variant, content), share, pairs)


def runs(config: Config, inputs: Paths, item: Mapping[str, str], metrics: Metrics | None) -> Sequence[Run]:
    """The variants that are averaged."""
    pairs, _ = divided(config.reward, inputs)
    batches = pair_batches(config, ChatFormat(bpe.load(inputs["base"])), pairs)
    return variant_runs(
        batches,
        config.reward.tuning,
        "reward model",
        "the reward at the last token of each response counts in the loss",
    )


def rankings(preference: Preference) -> list[Ranked]:
    """All pairs of edited > chosen > rejected."""
    best_first = [preference.edited] if preference.edited is not None else []
    best_first += [preference.chosen, preference.rejected]
    return [(preference.example, better, worse) for better, worse in combinations(best_first, 2)]


def ranking_loss(model: RewardModel, batch: PairRows) -> tuple[Tensor, dict[str, float]]:
    """-log sigmoid(better - worse), summed over the pairs; no margin (4.1.2)."""
    better, worse = row_rewards(model, batch).view(-1, 2).unbind(1)
    return -F.logsigmoid(better - worse).sum(), {"accuracy": float((better > worse).sum())}


def row_rewards(model: RewardModel, batch: Rows) -> Tensor:
    """The reward at each row's last token, [B]."""
    return batch.sums(model(batch.tokens).float() * batch.ends)


def rewards(
    model: RewardModel,
    chat: ChatFormat,
    answered: Sequence[tuple[Example, str]],
    training: Training,
    ranks: Alone = ALONE,
) -> list[float]:
    """The reward of each (example, response), in order."""
    size = 128 * ranks.data_parallel
    rows = [row(chat, example.prompt, response) for example, response in answered]
    order = sorted(range(len(rows)), key=lambda index: (len(rows[index][0]), index))
    runs = (order[first : first + size] for first in range(0, len(order), size))
    batches = (pad([rows[index] for index in chosen], chat.pad) for chosen in runs)
    found = ranks.measure(model, batches, row_rewards, training).tolist()
    return [value for _, value in sorted(zip(order, found, strict=True))]


def load_reward_model(directory: Path) -> tuple[RewardModel, ChatFormat]:
    """A reward model and the chat format it reads."""
    return load_model(directory, RewardModel), ChatFormat(bpe.load(directory))
