"""Which test prompts the corpus holds, and which documents hold too much of them (paper 5.1.4: 8-gram overlap).

A token of a prompt, with its answer, is contaminated if it is part of an 8-gram that a training document has as well.
8-grams that many prompts of a task share say how the task asks, not what, and do not count. Documents of which more
than a share of the tokens is contaminated are dropped; then each prompt is given the share of its own tokens that the
rest of the corpus still holds.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from pydantic import Field

from stages.curation import documents
from stages.curation.classification.classifier import TOKEN
from stages.curation.documents import CLASSIFIED, FilterStats, Removal
from stages.interface import Context, Metrics, Paths, Section, StageError
from stages.tasks import held_out
from stages.tasks.example import Example

STEPS = ("contaminated",)
CONTAMINATION = pa.schema(
    [
        ("task", pa.string()),
        ("prompt", pa.string()),
        ("grams", pa.int32()),  # that count
        ("overlap", pa.float32()),  # share of the tokens in 8-grams of the corpus; null without a gram that counts
        ("overlap_before", pa.float32()),  # before documents were dropped
    ]
)


class Decontaminate(Section):
    """Overlap of the corpus with the tests."""

    length: Annotated[int, Field(ge=2)]
    """Tokens of an n-gram (paper: 8)."""

    shared: Annotated[int, Field(ge=1)]
    """n-grams that more than so many prompts of a task have are its form and do not count (assumption)."""

    document_share: Annotated[float, Field(gt=0, le=1)]
    """Documents with a larger share of their tokens in n-grams of tests are dropped (assumption; 5.1.4 estimates what
    contamination does and drops nothing)."""

    prompt_share: Annotated[float, Field(gt=0, le=1)]
    """Prompts with at least this share of their tokens in n-grams of the corpus count as contaminated (paper: a
    threshold per benchmark, not given)."""


@dataclass(frozen=True)
class Config:
    seed: Annotated[int, "seed"]
    test: Annotated[held_out.Evaluation, "evaluation.tasks"]
    decontaminate: Annotated[Decontaminate, "curation.decontaminate"]


class Shard(NamedTuple):
    """One document file to read, and the one to write."""

    source: Path
    output: Path
    grams: np.ndarray
    """Sorted hashes of the tests' n-grams."""
    options: Decontaminate


class Outcome(NamedTuple):
    """The stats of one file, and which of the tests' n-grams its documents have: all of them, and those kept."""

    stats: FilterStats
    before: np.ndarray
    after: np.ndarray


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """Reads and writes `documents`, file by file; writes `contamination` (contamination.parquet: a row per prompt)."""
    options = config.decontaminate
    examples = held_out.test_examples(config.test, config.seed)
    tests = [ngrams(f"{example.prompt} {example.answer}", options.length) for example in examples]
    common = forms(examples, tests, options.shared)
    counting = [~np.isin(grams, common) for grams in tests]
    wanted = np.unique(np.concatenate([grams[kept] for grams, kept in zip(tests, counting, strict=True)]))

    files = documents.document_files(inputs["documents"])
    work = [Shard(file, outputs["documents"] / file.name, wanted, options) for file in files]
    outcomes = context.map("decontaminate", decontaminate_shard, work, kind="process")
    stats = FilterStats()
    for outcome in outcomes:
        stats.merge(outcome.stats)
    if not stats.documents_out:
        raise StageError("curation.decontaminate: nothing left; raise curation.decontaminate.document_share")
    stats.write(outputs["documents"])

    before, after = (np.unique(np.concatenate([outcome[part] for outcome in outcomes])) for part in (1, 2))
    rows = [
        {
            "task": example.task,
            "prompt": example.prompt,
            "grams": int(kept.sum()),
            "overlap": covered(grams, kept & np.isin(grams, after), options.length) if kept.any() else None,
            "overlap_before": covered(grams, kept & np.isin(grams, before), options.length) if kept.any() else None,
        }
        for example, grams, kept in zip(examples, tests, counting, strict=True)
    ]
    table = pa.Table.from_pylist(rows, CONTAMINATION)
    pq.write_table(table, outputs["contamination"] / "contamination.parquet", compression="zstd")
    tasks = {task: _summary([row for row in rows if row["task"] == task], options) for task in _ordered(rows)}
    context.table("contaminated prompts", [{"task": task, **value} for task, value in tasks.items()])
    return stats.metrics(STEPS) | {"tasks": tasks, "threshold": options.prompt_share}


def decontaminate_shard(shard: Shard) -> Outcome:
    """Drops the contaminated documents of one file."""
    stats = FilterStats()
    before, after = [np.empty(0, np.uint64)], [np.empty(0, np.uint64)]

    def judge(document: documents.Document) -> Removal | None:
        grams = ngrams(document["text"], shard.options.length)
        hits = _among(grams, shard.grams)
        before.append(np.unique(grams[hits]))
        if covered(grams, hits, shard.options.length) > shard.options.document_share:
            return Removal("contaminated", "test prompts")
        after.append(before[-1])
        return None

    kept = documents.filter_documents(documents.read_documents(shard.source), judge, stats)
    documents.write_documents(shard.output, kept, CLASSIFIED)
    return Outcome(stats, np.unique(np.concatenate(before)), np.unique(np.concatenate(after)))


def ngrams(text: str, length: int) -> np.ndarray:
    """[tokens - length + 1] hashes of the runs of so many words, numbers and signs, whatever their case; none where
    the text is shorter."""
    tokens = TOKEN.findall(text.lower())
    if len(tokens) < length:
        return np.empty(0, np.uint64)
    words = np.fromiter(map(_key, tokens), np.uint64, len(tokens))
    keys = np.zeros(len(words) - length + 1, np.uint64)
    for place in range(length):
        keys = (keys ^ words[place : place + len(keys)]) * np.uint64(0x9E3779B97F4A7C15)
        keys ^= keys >> np.uint64(29)
    return keys


def _among(values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """[values] bool: which of them `wanted`, sorted, has; numpy.isin would go through all of `wanted` each time."""
    if not len(wanted):
        return np.zeros(len(values), bool)
    return wanted[np.searchsorted(wanted, values, side="right") - 1] == values


@lru_cache(1 << 17)  # most words of a document were in others
def _key(token: str) -> int:
    return xxhash.xxh64_intdigest(token.encode())


def covered(grams: np.ndarray, hits: np.ndarray, length: int) -> float:
    """Share of the tokens of a text that are part of an n-gram which is a hit; hits: [n-grams] bool."""
    if not len(grams):
        return 0.0
    steps = np.zeros(len(grams) + length, np.int64)
    starts = np.flatnonzero(hits)
    np.add.at(steps, starts, 1)
    np.add.at(steps, starts + length, -1)
    return float((np.cumsum(steps[:-1]) > 0).mean())


def forms(examples: Sequence[Example], tests: Sequence[np.ndarray], shared: int) -> np.ndarray:
    """The n-grams that more than `shared` prompts of one task have."""
    counts: dict[str, Counter[int]] = {}
    for example, grams in zip(examples, tests, strict=True):
        counts.setdefault(example.task, Counter()).update(set(grams.tolist()))
    return np.array(
        sorted({gram for task in counts.values() for gram, count in task.items() if count > shared}), np.uint64
    )


def _ordered(rows: Sequence[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(row["task"] for row in rows))


def _summary(rows: Sequence[dict[str, Any]], options: Decontaminate) -> dict[str, Any]:
    judged = [row for row in rows if row["overlap"] is not None]

    def share(name: str) -> float | None:
        return sum(row[name] >= options.prompt_share for row in judged) / len(judged) if judged else None

    return {
        "prompts": len(rows),
        "judged": len(judged),
        "contaminated": share("overlap"),
        "contaminated_before": share("overlap_before"),
    }
