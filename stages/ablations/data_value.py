"""What a small data set is worth (3.1.3): a half-trained model is annealed on 30% of it and 70% of the default mix.

To see whether the measure tells good from bad, one source is kept out of the corpus and comes back as the new set, once
as it is and once with the words of each document shuffled. The same annealing on the default mix alone is the zero.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from stages.ablations.corpora import read, unseen, write_tokens
from stages.ablations.trial import NATS, Trial, TrialConfig, Trials, Values, compare, entry, findings, follow
from stages.interface import Context, Metrics, Paths, Section, StageError
from stages.model.llama import Llama
from stages.tokenizer import bpe
from stages.tokenizer.corpus import BUCKETS, Mix
from stages.training.language_modelling import MixtureBatches
from stages.training.loader import Mixture
from stages.training.schedule import Schedule

SETS = ("default", "good", "shuffled")


class DataValue(Section):
    """The measure and the set it is tried on."""

    trials: Trials
    """Their tokens are those before annealing: half of a training (paper 3.1.3: 8B, 50% trained)."""
    anneal_tokens: float = Field(gt=0)
    """Tokens of the annealing (paper 3.1.3: 40B)."""
    share: float = Field(gt=0, lt=1)
    """Of the new set while annealing (paper 3.1.3: 0.3)."""
    source: str
    """The source that is kept out of the corpus and valued (assumption)."""
    held_out_per_mille: int = Field(ge=1, le=500)
    """Documents held out of training, per thousand, decided by their id (assumption)."""


@dataclass(frozen=True)
class Config(TrialConfig):
    mix: Annotated[Mix, "mix"]
    value: Annotated[DataValue, "ablations.data_value"]


@dataclass(frozen=True)
class Valuation(Trial):
    """The three annealings of one seed, from one half-trained model."""

    options: DataValue | None = None


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """corpus, tokenizer."""
    options = config.value
    trials = options.trials
    tokenizer = bpe.load(inputs["tokenizer"])
    directory = context.scratch / "tokens"
    counts = write_tokens(directory, tokenizer, parts(read(inputs["corpus"]), options, config.seed))
    if min(counts[part]["good"] for part in ("train", "validation")) <= trials.length:
        raise StageError(
            f"ablations.data_value.source: the corpus has too few documents of {options.source} to train and measure on"
        )
    trial = Valuation.of(config, trials, directory, config.mix.shares(), context, options=options)
    done = trial.runs(context, measure, {"half-trained": {}})
    rows = [row["sets"][name] | {"variant": name, "seed": row["seed"]} for row in done for name in SETS]
    kind = f"held-out documents of {options.source}"
    also = [
        entry(f"gain on {kind}: default mix minus with the good set", NATS, compare(rows, "default", "good")),
        entry(f"gain on {kind}: default mix minus with the shuffled set", NATS, compare(rows, "default", "shuffled")),
        entry("loss on the default mix, good minus shuffled set", NATS, compare(rows, "good", "shuffled", "mix_loss")),
    ]
    made = {
        "value": options.model_dump(),
        "parameters": trial.shape.parameters,
        "tokens_of_the_set": counts["train"]["good"],
        "tokens_sha256": trial.shards.fingerprint,
    }
    effect = entry(
        f"loss on {kind}, annealed with the shuffled set minus with the good one",
        NATS,
        compare(rows, "shuffled", "good"),
    )
    return findings(effect, also, rows, made)


def parts(
    corpus: list[dict[str, Any]], options: DataValue, seed: int
) -> Mapping[str, Mapping[str, list[dict[str, Any]]]]:
    """Documents by part and bucket: the corpus without the source, and the source by itself, good and shuffled."""
    found: dict[str, dict[str, list[dict[str, Any]]]] = {
        part: {bucket: [] for bucket in (*BUCKETS, "good")} for part in ("train", "validation")
    }
    for row in corpus:
        part = "validation" if unseen(row, options.held_out_per_mille) else "train"
        found[part]["good" if row["source"] == options.source else row["bucket"]].append(row)
    found["train"]["shuffled"] = [
        row | {"text": shuffled(row["text"], f"{seed}{row['id']}")} for row in found["train"]["good"]
    ]
    return found


def shuffled(text: str, key: str) -> str:
    """The words of a text in another order."""
    words = text.split()
    random.Random(key).shuffle(words)
    return " ".join(words)


def measure(job: Valuation) -> Values:
    """Trains one model halfway, anneals it on each mixture; the losses on the set's kind and on the default mix."""
    options, config = job.options, job.config
    assert options is not None
    half, trained = job.train()
    steps = job.trials.steps(options.anneal_tokens)
    peak = config.learning_rate.at(job.shape.parameters) * job.trials.floor
    sets = {}
    for name in SETS:
        shares = dict(job.shares)
        if name != "default":
            shares = {bucket: share * (1 - options.share) for bucket, share in shares.items()} | {name: options.share}
        model = Llama(job.shape)
        model.load_state_dict(half.state_dict())
        # Its own seed: the windows the half-trained model saw first must not come first again.
        mixture = Mixture(job.shards, "train", shares, job.trials.length, job.seed + 100)
        batches = MixtureBatches(mixture, job.trials.batch, config.training.micro_tokens)
        schedule = Schedule(peak, steps, decay="linear")
        follow(job, config.training, model, batches, schedule, title=name, optimizer_state=trained.optimizer_state)
        sets[name] = {"loss": job.loss(model, {"good": 1.0}), "mix_loss": job.loss(model)}
    return {"sets": sets}
