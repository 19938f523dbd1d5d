"""Compares corpora (3.1.1): the same model is trained on equally many tokens of each, and measured on the same held-out
documents of high quality."""

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from stages.ablations.effects import Effect, make_metrics
from stages.ablations.trial import Trial, TrialConfig, TrialSettings, measure_loss
from stages.curation import documents as curated
from stages.interface import Context, Metrics, Paths, Section, StageError
from stages.tokenizer import bpe
from stages.tokenizer.chat import ChatFormat
from stages.tokenizer.corpus import Document, is_held_out
from stages.tokenizer.encode import batch_documents, write_index
from stages.training.loader import TokenShards

POOL = "pool"
"""The only bucket of these corpora."""


class CorpusComparison(Section):
    """Training and held-out documents."""

    trials: TrialSettings
    sources: list[str]
    """Sources of the training documents; empty: all (assumption)."""
    held_out: list[str]
    """Sources of the held-out documents: edited texts (assumption)."""
    held_out_per_mille: int = Field(ge=1, le=500)
    """Held-out documents per thousand, selected by their id (assumption)."""


def read_documents(directory: Path, sources: Iterable[str] = ()) -> list[dict[str, Any]]:
    """The curated documents of `sources`, by default of all, in the order of their ids."""
    wanted = set(sources)
    documents = [each for each in curated.read_all(directory) if not wanted or each["source"] in wanted]
    return sorted(documents, key=lambda document: document["id"])


def compare_corpora(
    config: TrialConfig,
    options: CorpusComparison,
    variants: Mapping[str, list[dict[str, Any]]],
    inputs: Paths,
    context: Context,
    effect: Effect,
    secondary: Sequence[Effect],
    **configuration: Any,
) -> Metrics:
    """Trains on the documents of each variant and measures the loss on the held-out documents of `inputs["corpus"]`.

    No variant trains on a document with a held-out id.
    """
    settings, per_mille = options.trials, options.held_out_per_mille
    tokenizer = bpe.load(inputs["tokenizer"])
    corpus = read_documents(inputs["corpus"], options.held_out)
    validation = [document for document in corpus if is_validation(document, per_mille)]
    tokens_available, directories = {}, {}
    for variant, documents in variants.items():
        directory = directories[variant] = context.scratch / "tokens" / variant
        train = [document for document in documents if not is_validation(document, per_mille)]
        counts = write_tokens(directory, tokenizer, {"train": {POOL: train}, "validation": {POOL: validation}})
        tokens_available[variant] = counts["train"][POOL]
        if tokens_available[variant] < settings.length + 1:
            raise StageError(f"the corpus {variant!r} has {tokens_available[variant]} tokens: too few to train on")
    trial = Trial.create(config, settings, next(iter(directories.values())), {POOL: 1.0}, context)
    runs = trial.run_variants(context, measure_loss, {name: {"tokens": path} for name, path in directories.items()})
    configuration |= trial.description | {
        "comparison": options.model_dump(include={"sources", "held_out", "held_out_per_mille"}),
        "documents": {variant: len(documents) for variant, documents in variants.items()},
        "tokens_available": tokens_available,
        "epochs": {variant: settings.tokens / tokens for variant, tokens in tokens_available.items()},
        "tokens_sha256": {name: TokenShards(path).fingerprint for name, path in directories.items()},
    }
    order = list(variants)
    return make_metrics(sorted(runs, key=lambda run: order.index(run["variant"])), effect, secondary, configuration)


def make_once(directory: Path, make: Callable[[Path], Any]) -> Path:
    """Calls `make` to fill `directory` unless it exists; the directory is created atomically."""
    if not directory.exists():
        partial = directory.with_name(f"{directory.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        make(partial)
        partial.rename(directory)
    return directory


def write_tokens(
    directory: Path, tokenizer: Any, splits: Mapping[str, Mapping[str, list[dict[str, Any]]]]
) -> dict[str, dict[str, int]]:
    """Writes token shards of the documents of each split and bucket; returns their numbers of tokens."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    chat = ChatFormat(tokenizer)
    dtype = np.uint16 if tokenizer.get_vocab_size() <= 1 << 16 else np.uint32
    counts: dict[str, dict[Any, int]] = {split: dict.fromkeys(buckets, 0) for split, buckets in splits.items()}
    for split, buckets in splits.items():
        for bucket, documents in buckets.items():
            texts = [Document(each["id"], "general", 0.0, each["text"]) for each in documents]
            with (directory / f"{split}-{bucket}.bin").open("wb") as file:
                for chunk in batch_documents(texts):
                    for encoding in tokenizer.encode_batch([text.text for text in chunk], add_special_tokens=False):
                        tokens = np.array([chat.begin_of_text, *encoding.ids, chat.end_of_text], dtype=dtype)
                        file.write(tokens.tobytes())
                        counts[split][bucket] += len(tokens)
    write_index(directory, tokenizer.get_vocab_size(), chat.begin_of_text, dtype, counts)
    return counts


def is_validation(document: Mapping[str, Any], per_mille: int) -> bool:
    """Whether a document is held out of training."""
    return is_held_out(Document(document["id"], "general", 0.0, ""), per_mille)
