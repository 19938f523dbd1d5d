"""Attention that stops at document boundaries (3.2): what the mask is worth at a short and at a long sequence length.

Each model is trained with the mask or without it, on the same windows. A model is used on one document at a time, so
both are measured with the mask; beside it, each as it was trained.
"""

from dataclasses import dataclass
from typing import Annotated

from stages.ablations.trial import NATS, Trial, TrialConfig, Trials, Values, compare, entry, findings, of
from stages.interface import Context, Metrics, Paths, Section
from stages.tokenizer.corpus import Mix
from stages.training.language_modelling import validation_mixture


class DocumentMask(Section):
    """The two lengths."""

    short: Trials
    """As in standard pretraining (paper 3.4.1: 8,192 tokens)."""
    long: Trials
    """As in long-context training (paper 3.4.2: up to 131,072 tokens)."""


@dataclass(frozen=True)
class Config(TrialConfig):
    mix: Annotated[Mix, "mix"]
    document_mask: Annotated[DocumentMask, "ablations.document_mask"]


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """tokens; the item `length` is short or long."""
    trials: Trials = getattr(config.document_mask, context.item["length"])
    trial = Trial.of(config, trials, inputs["tokens"], config.mix.shares(), context)
    rows = trial.runs(context, measure, {"masked": {}, "unmasked": {"mask": False}})
    made = {
        "trials": trials.model_dump(),
        "parameters": trial.shape.parameters,
        "documents_per_window": rows[0]["documents"],
        "tokens_sha256": trial.shards.fingerprint,
    }
    what = f"loss without the mask minus with it, {trials.length} tokens"
    own = entry(f"{what}, each measured as trained", NATS, compare(rows, "unmasked", "masked", "own_loss"))
    loss = float(of(rows, "masked", "loss").mean())
    effect = {
        key: value if key == "n" else 100 * value / loss for key, value in compare(rows, "unmasked", "masked").items()
    }
    return findings(entry(what, "% of the loss", effect), [own], rows, made)


def measure(trial: Trial) -> Values:
    """Trains the model; its loss with the mask, and as it was trained."""
    model, _ = trial.train()
    loss = trial.loss(model)
    return {
        "loss": loss,
        "own_loss": loss if trial.mask else trial.loss(model, mask=False),
        "documents": documents_per_window(trial),
    }


def documents_per_window(trial: Trial) -> float:
    """Mean number of documents in a held-out window: what there is for the mask to hide."""
    windows = validation_mixture(trial.shards, trial.shares, trial.trials.length, trial.config.seed)
    batch = windows.batch(0, windows.count_distinct(trial.trials.validation_windows))
    begins = batch.tokens[:, 1:] == windows.shards.begin_of_text
    return 1 + float(begins.sum(1).double().mean())
