"""Tests the value of a small data set (3.1.3): does annealing on 30% of it and 70% of the default mix detect good data?

One source is removed from the corpus and is the new data set, once unchanged and once with the words of each document
shuffled. Annealing on the default mix only is the baseline.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from stages.ablations.corpora import is_validation, read_documents, write_tokens
from stages.ablations.effects import Values, difference, make_metrics
from stages.ablations.trial import MixTrialConfig, Trial, TrialSettings, train_model
from stages.interface import Context, Metrics, Paths, Section, StageError
from stages.model.llama import Llama
from stages.pretraining.data_value import add_bucket
from stages.tokenizer import bpe
from stages.tokenizer.corpus import BUCKETS
from stages.training.language_modelling import MixtureBatches
from stages.training.loader import Mixture
from stages.training.schedule import Schedule

SETS = ("default", "good", "shuffled")


class DataValue(Section):
    """The measurement, and the data set that it is tested on."""

    trials: TrialSettings
    """Their tokens are those before annealing: half of a training (paper 3.1.3: 8B, 50% trained)."""
    anneal_tokens: float = Field(gt=0)
    """Tokens of annealing (paper 3.1.3: 40B)."""
    share: float = Field(gt=0, lt=1)
    """Share of the new data set in annealing (paper 3.1.3: 0.3)."""
    source: str
    """The source that is removed from the corpus (assumption)."""
    held_out_per_mille: int = Field(ge=1, le=500)
    """Held-out documents per thousand, selected by their id (assumption)."""


@dataclass(frozen=True)
class Config(MixTrialConfig):
    value: Annotated[DataValue, "ablations.data_value"]


@dataclass(frozen=True)
class ValuationTrial(Trial):
    """The annealing runs of one seed, from one half-trained model."""

    options: DataValue | None = None


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """corpus, tokenizer."""
    options = config.value
    tokenizer = bpe.load(inputs["tokenizer"])
    directory = context.scratch / "tokens"
    counts = write_tokens(directory, tokenizer, split_corpus(read_documents(inputs["corpus"]), options, config.seed))
    if min(counts[split]["good"] for split in ("train", "validation")) <= options.trials.length:
        raise StageError(
            f"ablations.data_value.source: the corpus has too few documents of {options.source} to train and measure on"
        )
    trial = ValuationTrial.create(config, options.trials, directory, config.mix.shares(), context, options=options)
    results = trial.run_variants(context, measure, {"half-trained": {}})
    runs = [result["sets"][name] | {"variant": name, "seed": result["seed"]} for result in results for name in SETS]
    kind = f"held-out documents of {options.source}"
    secondary = [
        difference(f"gain on {kind}: default mix minus with the good set", "default", "good"),
        difference(f"gain on {kind}: default mix minus with the shuffled set", "default", "shuffled"),
        difference("loss on the default mix, good minus shuffled set", "good", "shuffled", "mix_loss"),
    ]
    configuration = {
        "value": options.model_dump(),
        "parameters": trial.shape.parameters,
        "tokens_of_the_set": counts["train"]["good"],
        "tokens_sha256": trial.shards.fingerprint,
    }
    quantity = f"loss on {kind}, annealed with the shuffled set minus with the good one"
    return make_metrics(runs, difference(quantity, "shuffled", "good"), secondary, configuration)


def split_corpus(
    corpus: list[dict[str, Any]], options: DataValue, seed: int
) -> Mapping[str, Mapping[str, list[dict[str, Any]]]]:
    """Documents by split and bucket: the corpus without the source, and the source, good and shuffled."""
    splits: dict[str, dict[str, list[dict[str, Any]]]] = {
        split: {bucket: [] for bucket in (*BUCKETS, "good")} for split in ("train", "validation")
    }
    for document in corpus:
        split = "validation" if is_validation(document, options.held_out_per_mille) else "train"
        splits[split]["good" if document["source"] == options.source else document["bucket"]].append(document)
    splits["train"]["shuffled"] = [
        document | {"text": shuffle_words(document["text"], f"{seed}{document['id']}")}
        for document in splits["train"]["good"]
    ]
    return splits


def shuffle_words(text: str, key: str) -> str:
    """The words of a text in a random order."""
    words = text.split()
    random.Random(key).shuffle(words)
    return " ".join(words)


def measure(job: ValuationTrial) -> Values:
    """Trains a model halfway and anneals it on each mix; the losses on the source and on the default mix."""
    options, config = job.options, job.config
    assert options is not None
    half_trained, result = job.train()
    steps = job.settings.count_steps(options.anneal_tokens)
    peak = config.learning_rate.at(job.shape.parameters) * job.settings.floor
    sets = {}
    for name in SETS:
        shares = job.shares if name == "default" else add_bucket(job.shares, name, options.share)
        model = Llama(job.shape)
        model.load_state_dict(half_trained.state_dict())
        # Another seed than in training, or annealing would start with the same windows.
        mixture = Mixture(job.shards, "train", shares, job.settings.length, job.seed + 100)
        batches = MixtureBatches(mixture, job.settings.batch_size, config.training.micro_tokens)
        schedule = Schedule(peak, steps, decay="linear")
        train_model(job, config.training, model, batches, schedule, name, optimizer_state=result.optimizer_state)
        sets[name] = {"loss": job.validation_loss(model, {"good": 1.0}), "mix_loss": job.validation_loss(model)}
    return {"sets": sets}
