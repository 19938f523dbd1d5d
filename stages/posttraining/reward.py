"""The reward model (4.1.2): the pretrained model with a scalar head, trained to rank edited > chosen > rejected and, of
the policy's responses to a prompt, right ones above wrong ones."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from stages import statistics
from stages.interface import Metrics, Paths, Section, StageError
from stages.model.files import context_length, load_model, save_model
from stages.model.llama import RewardModel
from stages.posttraining.averaging import Tuning, train_variants, variant_runs
from stages.posttraining.data import Preference, read_records
from stages.posttraining.preferences import select_strong
from stages.posttraining.sequences import (
    INFERENCE_BATCH,
    DialogBatch,
    PairBatch,
    ShuffledBatches,
    TokenizedDialog,
    pad_in_batches,
    tokenize_dialog,
)
from stages.tasks.example import Example
from stages.tokenizer import bpe
from stages.tokenizer.chat import ChatFormat
from stages.training.batches import TrainingRun
from stages.training.curve import tail_mean, write_curve
from stages.training.parameters import Training
from stages.training.sample import LabeledSequence
from stages.training.strategy import SINGLE_PROCESS, Strategy, TrainingContext


class Reward(Section):
    """The reward model's training."""

    tuning: Tuning
    """Rates, steps and batch, in pairs (paper 4.1.2 gives none: assumption)."""
    start: Literal["base", "policy"]
    """The model that it is trained from (paper 4.1.2: the pre-trained checkpoint; the policy: assumption)."""
    held_out: float = Field(gt=0, lt=1)
    """Share of the compared prompts kept to measure its accuracy on; no pair of theirs is trained on (assumption)."""


@dataclass(frozen=True)
class Config:
    seed: Annotated[int, "seed"]
    training: Annotated[Training, "training"]
    reward: Annotated[Reward, "posttraining.reward"]


RankedPair = tuple[Example, str, str]
"""(example, better response, worse response)."""


@dataclass(frozen=True)
class PairBatches(ShuffledBatches):
    """Batches of pairs; an item is a `RankedPair`."""

    roles = ("better", "worse")

    def __call__(self, step: int) -> Sequence[PairBatch]:
        return self.micro_batcher(PairBatch(**vars(self.pad_step(step))))

    def tokenize(self, index: int) -> Sequence[TokenizedDialog]:
        example, *responses = self.items[index]
        return [tokenize_dialog(self.chat, example.prompt, response) for response in responses]

    def label(self, dialog: TokenizedDialog) -> LabeledSequence:
        """No token is a target: the reward at the last one counts in the loss."""
        tokens, _ = dialog
        return LabeledSequence(tokens, [False] * len(tokens))


def run(config: Config, inputs: Paths, outputs: Paths, context: TrainingContext) -> Metrics:
    """base (a pretrained model), policy (if it starts there), preferences -> model, curve (CSV)."""
    start = inputs[config.reward.start]
    chat = ChatFormat(bpe.load(start))
    pairs, held_out = load_pairs(config.reward, inputs)
    tuning, model = config.reward.tuning, load_model(start, RewardModel)
    batches = PairBatches.for_variants(chat, pairs, tuning, config.training, config.seed)
    model, histories = train_variants(model, batches, ranking_loss, tuning, config.training, context, "reward model")
    save_model(model, outputs["model"], start, context_length(start))
    write_curve(outputs["curve"], histories[0])
    examples = [example for example, _, _ in held_out]
    better, worse = (
        score_responses(model, chat, examples, responses, config.training, context.strategy)
        for responses in ([better for _, better, _ in held_out], [worse for _, _, worse in held_out])
    )
    return {"pairs": len(pairs), "train_loss": tail_mean(histories[0], steps=20)} | measure_accuracy(
        examples, np.array(better), np.array(worse)
    )


def measure_accuracy(examples: Sequence[Example], better: np.ndarray, worse: np.ndarray) -> Metrics:
    """Accuracy on pairs, over all and by task, and the mean over prompts of their pairs' accuracy, ties half.

    `better` and `worse` are rewards, [pairs]. Intervals are over problems; a mean over prompts of one problem has none
    and is left out.
    """
    is_right = better > worse
    tasks = np.array([example.task for example in examples])
    clusters = [(example.task, example.cluster) for example in examples]
    by_prompt: dict[str, list[int]] = defaultdict(list)
    for index, example in enumerate(examples):
        by_prompt[example.prompt].append(index)
    credit = is_right + 0.5 * (better == worse)
    of_prompts = [float(credit[indices].mean()) for indices in by_prompt.values()]
    problems = [clusters[indices[0]] for indices in by_prompt.values()]
    return {
        "held_out_prompts": len(by_prompt),
        "accuracy": statistics.clustered_proportion(is_right, clusters),
        "accuracy_by_task": {
            task: statistics.clustered_proportion(
                is_right[tasks == task], [cluster for cluster in clusters if cluster[0] == task]
            )
            for task in sorted(set(tasks.tolist()))
        },
        "auc_within_prompts": statistics.clustered_mean(of_prompts, problems) if len(set(problems)) > 1 else {},
    }


def load_pairs(settings: Reward, inputs: Paths) -> tuple[list[RankedPair], list[RankedPair]]:
    """The pairs to train on and the held-out ones, which share no prompt; StageError if there are too few for both."""
    preferences = select_strong(read_records(inputs["preferences"] / "all.jsonl", Preference))
    prompts = list(dict.fromkeys(preference.example.prompt for preference in preferences))
    num_held_out = round(len(prompts) * settings.held_out)
    if num_held_out < 1 or num_held_out > len(prompts) // 2:
        raise StageError(
            f"{inputs['preferences']}: the preferences of {len(prompts)} prompts are too few to train a reward model "
            f"on and hold out {settings.held_out:g} of them: raise posttraining.prompts.compared or lower "
            "posttraining.reward.held_out"
        )
    # Evenly spread: the same share of each round and each task is held out.
    held_out = {prompts[number * len(prompts) // num_held_out] for number in range(num_held_out)}
    pairs = [pair for preference in preferences for pair in rank_responses(preference)]
    return (
        [pair for pair in pairs if pair[0].prompt not in held_out],
        [pair for pair in pairs if pair[0].prompt in held_out],
    )


def training_runs(config: Config, inputs: Paths, item: Mapping[str, str], metrics: Metrics | None) -> list[TrainingRun]:
    """The training runs of the variants that are averaged."""
    pairs, _ = load_pairs(config.reward, inputs)
    chat = ChatFormat(bpe.load(inputs[config.reward.start]))
    batches = PairBatches.for_variants(chat, pairs, config.reward.tuning, config.training, config.seed)
    loss_scope = "the reward at the last token of each response counts in the loss"
    return variant_runs(batches, config.reward.tuning, "reward model", loss_scope)


def rank_responses(preference: Preference) -> list[RankedPair]:
    """All pairs of edited > chosen > rejected with distinct texts."""
    best_first = [preference.edited] if preference.edited is not None else []
    best_first = list(dict.fromkeys([*best_first, preference.chosen, preference.rejected]))
    return [(preference.example, better, worse) for better, worse in combinations(best_first, 2)]


def ranking_loss(model: RewardModel, batch: PairBatch) -> tuple[Tensor, dict[str, float]]:
    """-log sigmoid(better - worse), summed over the pairs; no margin (4.1.2)."""
    better, worse = compute_rewards(model, batch).view(-1, 2).unbind(1)
    return -F.logsigmoid(better - worse).sum(), {"accuracy": float((better > worse).sum())}


def compute_rewards(model: RewardModel, batch: DialogBatch) -> Tensor:
    """The reward at each row's last token, [B]."""
    return batch.sum_rows(model(batch.tokens).float() * batch.is_last)


def score_responses(
    model: RewardModel,
    chat: ChatFormat,
    examples: Sequence[Example],
    responses: Sequence[str],
    training: Training,
    strategy: Strategy = SINGLE_PROCESS,
) -> list[float]:
    """The reward of the response to each example, in order."""
    dialogs = [tokenize_dialog(chat, e.prompt, response) for e, response in zip(examples, responses, strict=True)]
    by_length = sorted(range(len(dialogs)), key=lambda index: (len(dialogs[index][0]), index))
    batches = pad_in_batches([dialogs[i] for i in by_length], chat.pad, INFERENCE_BATCH * strategy.dp_size)
    rewards = strategy.evaluate(model, batches, compute_rewards, training).tolist()
    return [reward for _, reward in sorted(zip(by_length, rewards, strict=True))]


def load_reward_model(directory: Path) -> tuple[RewardModel, ChatFormat]:
    """Loads a reward model and its chat format."""
    return load_model(directory, RewardModel), ChatFormat(bpe.load(directory))
