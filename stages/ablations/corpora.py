"""Corpora against each other (3.1.1): the same model trained on as many tokens of each, measured on the same held-out
documents of high quality."""

import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from stages.ablations.trial import Trial, TrialConfig, Trials, Values, held_out_loss
from stages.curation import documents as curated
from stages.interface import Context, Section, StageError
from stages.tokenizer import bpe
from stages.tokenizer.chat import ChatFormat
from stages.tokenizer.corpus import Document, is_held_out
from stages.tokenizer.encode import chunks, write_index
from stages.training.loader import TokenShards

POOL = "pool"
"""The one bucket of these corpora."""


class Comparison(Section):
    """What is trained on and measured on."""

    trials: Trials
    sources: list[str]
    """Sources whose documents are trained on; none named: all (assumption)."""
    held_out: list[str]
    """Sources whose held-out documents the loss is measured on: texts that people have edited (assumption)."""
    held_out_per_mille: int = Field(ge=1, le=500)
    """Documents held out of training, per thousand, decided by their id (assumption)."""


def read(directory: Path, sources: Iterable[str] = ()) -> list[dict[str, Any]]:
    """The curated documents of these sources, or of all, in the order of their ids."""
    wanted = set(sources)
    rows = [row for row in curated.read_all(directory) if not wanted or row["source"] in wanted]
    return sorted(rows, key=lambda row: row["id"])


def race(
    config: TrialConfig,
    options: Comparison,
    variants: Mapping[str, list[dict[str, Any]]],
    measured_on: list[dict[str, Any]],
    tokenizer: Path,
    context: Context,
) -> tuple[list[Values], Values]:
    """A row per variant and seed, and how they were made.

    `measured_on` are the documents whose held-out ones the loss is measured on; no variant trains on a document with a
    held-out id.
    """
    trials = options.trials
    reader = bpe.load(tokenizer)
    validation = [row for row in measured_on if unseen(row, options.held_out_per_mille)]
    available, directories = {}, {}
    for variant, rows in variants.items():
        directory = directories[variant] = context.scratch / "tokens" / variant
        train = [row for row in rows if not unseen(row, options.held_out_per_mille)]
        parts = {"train": {POOL: train}, "validation": {POOL: validation}}
        available[variant] = write_tokens(directory, reader, parts)["train"][POOL]
        if available[variant] < trials.length + 1:
            raise StageError(f"the corpus {variant!r} has {available[variant]} tokens: too few to train on")
    trial = Trial.of(config, trials, next(iter(directories.values())), {POOL: 1.0}, context)
    found = trial.runs(context, held_out_loss, {name: {"tokens": path} for name, path in directories.items()})
    made = {
        "comparison": options.model_dump(include={"sources", "held_out", "held_out_per_mille"}),
        "trials": trials.model_dump(),
        "parameters": trial.shape.parameters,
        "documents": {variant: len(rows) for variant, rows in variants.items()},
        "tokens_available": available,
        "epochs": {variant: trials.tokens / tokens for variant, tokens in available.items()},
        "tokens_sha256": {name: TokenShards(path).fingerprint for name, path in directories.items()},
    }
    order = list(variants)
    return sorted(found, key=lambda row: order.index(row["variant"])), made


def once(directory: Path, make: Callable[[Path], Any]) -> Path:
    """`directory`, which `make` fills; it is there whole or not at all, and one that is there is not made again."""
    if not directory.exists():
        partial = directory.with_name(f"{directory.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        make(partial)
        partial.rename(directory)
    return directory


def write_tokens(
    directory: Path, tokenizer: Any, parts: Mapping[str, Mapping[str, list[dict[str, Any]]]]
) -> dict[str, dict[str, int]]:
    """Token shards of the documents of each part and bucket; returns their tokens."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    chat = ChatFormat(tokenizer)
    dtype = np.uint16 if tokenizer.get_vocab_size() <= 1 << 16 else np.uint32
    counts: dict[str, dict[Any, int]] = {part: dict.fromkeys(buckets, 0) for part, buckets in parts.items()}
    for part, buckets in parts.items():
        for bucket, rows in buckets.items():
            texts = [Document(row["id"], "general", 0.0, row["text"]) for row in rows]
            with (directory / f"{part}-{bucket}.bin").open("wb") as file:
                for chunk in chunks(texts):
                    for encoding in tokenizer.encode_batch([text.text for text in chunk], add_special_tokens=False):
                        tokens = np.array([chat.begin_of_text, *encoding.ids, chat.end_of_text], dtype=dtype)
                        file.write(tokens.tobytes())
                        counts[part][bucket] += len(tokens)
    write_index(directory, tokenizer.get_vocab_size(), chat.begin_of_text, dtype, counts)
    return counts


def certain(value: float, n: int) -> dict[str, float]:
    """A count as an interval of no width."""
    return {"value": value, "low": value, "high": value, "n": n}


def unseen(row: Mapping[str, Any], per_mille: int) -> bool:
    """Whether a document is held out."""
    return is_held_out(Document(row["id"], "general", 0.0, ""), per_mille)
