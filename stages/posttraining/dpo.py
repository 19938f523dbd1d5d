"""Direct preference optimisation (4.1.4): header and termination tokens masked, and a likelihood term on the chosen."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from stages.interface import Context, Metrics, Paths, Section, StageError
from stages.model.files import context_length, load_model, save_model
from stages.model.llama import Llama
from stages.posttraining.averaging import Tuning, train_variants, variant_runs
from stages.posttraining.data import Preference, read_rows
from stages.posttraining.preferences import strong
from stages.posttraining.sequences import (
    PairRows,
    Rows,
    Share,
    Shuffled,
    ShuffledBatches,
    content_digest,
    pad,
    row,
    shown,
)
from stages.tokenizer import bpe
from stages.tokenizer.chat import ChatFormat
from stages.training.curve import tail_mean, write_curve
from stages.training.loader import IGNORE
from stages.training.loop import Alone, Run, Training, ranks_of
from stages.training.sample import Sample


class DPO(Section):
    """The loss, and how it is minimised."""

    beta: float = Field(gt=0)
    """Strength of the pull towards the reference model (paper 4.1.4: 0.1)."""
    nll: float = Field(ge=0)
    """Weight of the chosen response's negative log-likelihood per token (paper 4.1.4: 0.2)."""
    mask_formatting: bool
    """Whether header and termination tokens are left out of the loss (paper 4.1.4: yes)."""
    tuning: Tuning
    """Rates, steps and batch, in pairs (paper 4.1.4: learning rate 1e-5; batch and steps not given)."""


@dataclass(frozen=True)
class Config:
    seed: Annotated[int, "seed"]
    training: Annotated[Training, "training"]
    dpo: Annotated[DPO, "posttraining.dpo"]


Pair = tuple[str, str, str]
"""(prompt, chosen response, rejected response)."""


@dataclass
class PreferenceRows(PairRows):
    """Rows of B pairs, and the reference model's log-likelihood of each row, [2B]."""

    reference: Tensor


@dataclass(frozen=True)
class PreferenceBatches(ShuffledBatches):
    pairs: Sequence[Pair]
    rows: Sequence[Any]
    reference: Tensor  # [2, pairs]: chosen, rejected

    def __call__(self, step: int) -> Sequence[PreferenceRows]:
        chosen = self.order.rows(step)
        rows = [side for index in chosen for side in self.rows[index]]
        reference = self.reference[:, chosen].T.flatten()
        return self.share(PreferenceRows(**vars(pad(rows, self.chat.pad)), reference=reference))

    def samples(self, step: int) -> Iterator[Sample]:
        """Each pair of a step, with the tokens whose likelihood counts."""
        for index in self.order.rows(step):
            chosen, rejected = (shown(*row) for row in self.rows[index])
            yield Sample(f"pair {index} of {len(self.pairs)}", {"chosen": chosen, "rejected": rejected})


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """policy (the SFT model), preferences -> model, curve (CSV). The latest round's preferences only (4.1.4)."""
    pairs = preferred(inputs)
    model, history = optimise(
        config.dpo,
        config.training,
        config.seed,
        load_model(inputs["policy"]),
        ChatFormat(bpe.load(inputs["policy"])),
        pairs,
        context,
        "DPO",
    )
    save_model(model, outputs["model"], inputs["policy"], context_length(inputs["policy"]), chat=True)
    write_curve(outputs["curve"], history)
    names = ("loss", "accuracy", "margin", "chosen_change")
    return {
        "pairs": len(pairs),
        "steps": config.dpo.tuning.steps,
        **{name: tail_mean(history, name, steps=20) for name in names},
    }


def runs(config: Config, inputs: Paths, item: Mapping[str, str], metrics: Metrics | None) -> Sequence[Run]:
    """The variants that are averaged; the reference model's likelihoods, which no sample shows, are left out."""
    pairs, settings = preferred(inputs), config.dpo
    chat = ChatFormat(bpe.load(inputs["policy"]))
    rows = rows_of(settings, chat, pairs)
    batches = preference_batches(settings, config.training, config.seed, chat, pairs, rows, torch.zeros(2, len(pairs)))
    return variant_runs(batches, settings.tuning, "DPO", "of each response the tokens that count are marked")


def preferred(inputs: Paths) -> list[Pair]:
    """The pairs to train on, an edited response in the place of the chosen one; StageError where there are none."""
    preferences = strong(read_rows(inputs["preferences"] / "preferences.jsonl", Preference))
    if not preferences:
        raise StageError(f"{inputs['preferences']}: no preference is strong enough to train on")
    return [(c.example.prompt, c.edited if c.edited is not None else c.chosen, c.rejected) for c in preferences]


def rows_of(settings: DPO, chat: ChatFormat, pairs: Sequence[Pair]) -> list[Any]:
    """(chosen, rejected) of each pair as tokens and targets."""
    formatting = not settings.mask_formatting
    return [
        (row(chat, prompt, chosen, formatting), row(chat, prompt, rejected, formatting))
        for prompt, chosen, rejected in pairs
    ]


def preference_batches(
    settings: DPO,
    training: Training,
    seed: int,
    chat: ChatFormat,
    pairs: Sequence[Pair],
    rows: Sequence[Any],
    reference: Tensor,
) -> Callable[[int], PreferenceBatches]:
    """The batches of each variant; `reference` [2, pairs] are the log-likelihoods under the model before training."""
    content, size, share = content_digest(pairs), settings.tuning.batch, Share(training.micro_tokens)
    return lambda variant: PreferenceBatches(
        chat, Shuffled(len(pairs), size, seed + variant, content), share, pairs, rows, reference
    )


def optimise(
    settings: DPO,
    training: Training,
    seed: int,
    model: Llama,
    chat: ChatFormat,
    pairs: Sequence[Pair],
    context: Context,
    title: str,
) -> tuple[Llama, list[dict[str, float]]]:
    """`model` optimised on `pairs`, with itself as the reference; and the first variant's curve."""
    rows = rows_of(settings, chat, pairs)
    both = [
        reference_log_likelihood(model, [pair[side] for pair in rows], chat, training, ranks_of(context))
        for side in (0, 1)
    ]
    reference = torch.stack(both)
    batches = preference_batches(settings, training, seed, chat, pairs, rows, reference)

    def loss(model: Llama, batch: PreferenceRows) -> tuple[Tensor, dict[str, float]]:
        return preference_loss(model, batch, settings)

    model, histories = train_variants(
        model, batches, loss, settings.tuning, training, scratch=context.scratch / title, context=context, title=title
    )
    return model, histories[0]


def preference_loss(model: Llama, batch: PreferenceRows, settings: DPO) -> tuple[Tensor, dict[str, float]]:
    """-log sigmoid(beta x margin) + nll x NLL of the chosen per token, summed over the pairs."""
    log_likelihood, lengths = row_log_likelihood(model, batch)
    chosen, rejected = (log_likelihood - batch.reference).view(-1, 2).unbind(1)
    margin = settings.beta * (chosen - rejected)
    # An empty response has no targets once its terminator is masked; 0 / 0 would reach every weight's gradient.
    nll = -(log_likelihood / lengths.clamp_min(1))[::2]
    extra = {
        "accuracy": float((margin > 0).sum()),
        "margin": float(margin.detach().sum()),
        "chosen_change": float(chosen.detach().sum()),
    }
    return (-F.logsigmoid(margin) + settings.nll * nll).sum(), extra


def row_log_likelihood(model: Llama, batch: Rows) -> tuple[Tensor, Tensor]:
    """Log-likelihood of each row's targets in nats, and their number: [B] each."""
    logits = model(batch.tokens).float()
    each = -F.cross_entropy(logits.transpose(1, 2), batch.targets, ignore_index=IGNORE, reduction="none")
    return batch.sums(each), batch.sums(batch.targets != IGNORE)


def reference_log_likelihood(
    model: Llama, rows: Sequence[tuple[list[int], list[int]]], chat: ChatFormat, training: Training, ranks: Alone
) -> Tensor:
    """Log-likelihood of each row under the model before training, [rows]."""
    size = 128 * ranks.data_parallel
    batches = (pad(rows[first : first + size], chat.pad) for first in range(0, len(rows), size))
    return ranks.measure(model, batches, lambda model, batch: row_log_likelihood(model, batch)[0], training).float()
