"""Document mask (3.2): the effect of attention that stops at document boundaries, at a short and a long length.

Models are trained with and without the mask, on the same windows. A model is used on one document at a time, so all are
evaluated with the mask; a secondary effect evaluates each as it was trained.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from stages.ablations.effects import Effect, Values, difference, make_metrics, values_of
from stages.ablations.trial import MixTrialConfig, Trial, TrialSettings
from stages.interface import Context, Metrics, Paths, Section
from stages.training.language_modelling import validation_mixture


class DocumentMask(Section):
    """The two sequence lengths."""

    short: TrialSettings
    """As in standard pretraining (paper 3.4.1: 8,192 tokens)."""
    long: TrialSettings
    """As in long-context training (paper 3.4.2: up to 131,072 tokens)."""


@dataclass(frozen=True)
class Config(MixTrialConfig):
    document_mask: Annotated[DocumentMask, "ablations.document_mask"]


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """tokens; the item `length` is short or long."""
    settings: TrialSettings = getattr(config.document_mask, context.item["length"])
    trial = Trial.create(config, settings, inputs["tokens"], config.mix.shares(), context)
    runs = trial.run_variants(context, measure, {"masked": {}, "unmasked": {"document_mask": False}})
    quantity = f"loss without the mask minus with it, {settings.length} tokens"
    as_trained = difference(f"{quantity}, each measured as trained", "unmasked", "masked", "own_loss")
    configuration = trial.description | {"documents_per_window": runs[0]["documents"]}
    return make_metrics(runs, Effect(quantity, "% of the loss", relative_effect), [as_trained], configuration)


def relative_effect(runs: Sequence[Values]) -> dict[str, float]:
    """Loss without the mask minus with it, in percent of the loss with it."""
    loss = float(values_of(runs, "masked", "loss").mean())
    effect = difference("", "unmasked", "masked").estimate(runs)
    return {key: value if key == "n" else 100 * value / loss for key, value in effect.items()}


def measure(trial: Trial) -> Values:
    """Trains the model; its loss with the mask, and as it was trained."""
    model, _ = trial.train()
    loss = trial.validation_loss(model)
    return {
        "loss": loss,
        "own_loss": loss if trial.document_mask else trial.validation_loss(model, mask=False),
        "documents": documents_per_window(trial),
    }


def documents_per_window(trial: Trial) -> float:
    """Mean number of documents in a held-out window."""
    windows = validation_mixture(trial.shards, trial.shares, trial.settings.length, trial.config.seed)
    batch = windows.batch(0, windows.count_distinct(trial.settings.validation_windows))
    begins = batch.tokens[:, 1:] == windows.shards.begin_of_text
    return 1 + float(begins.sum(1).double().mean())
