"""Measures which test prompts the corpus contains, and drops contaminated documents (paper 5.1.4: 8-gram overlap).

A token of a prompt with its answer is contaminated if it is part of an 8-gram of a training document. 8-grams that many
prompts of a task share are its phrasing and do not count. Documents with too large a share of contaminated
tokens are dropped. The result has, for each prompt, the share of its tokens that the remaining corpus contains.
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
from stages.curation.ngrams import covered_words, hash_ngrams
from stages.interface import Context, Metrics, Paths, Section, StageError
from stages.tasks import held_out
from stages.tasks.example import Example

STEPS = ("contaminated",)
CONTAMINATION = pa.schema(
    [
        ("task", pa.string()),
        ("prompt", pa.string()),
        ("grams", pa.int32()),  # number of n-grams that count
        ("overlap", pa.float32()),  # share of tokens in n-grams of the corpus; null if no n-gram counts
        ("overlap_before", pa.float32()),  # before documents were dropped
    ]
)


class Decontaminate(Section):
    """Limits on the overlap of the corpus with the tests."""

    length: Annotated[int, Field(ge=2)]
    """Tokens of an n-gram (paper: 8)."""

    shared: Annotated[int, Field(ge=1)]
    """n-grams in more prompts of a task than this are its phrasing and do not count (assumption)."""

    document_share: Annotated[float, Field(gt=0, le=1)]
    """Documents with a larger share of tokens in n-grams of tests are dropped (assumption; 5.1.4 estimates the effect
    of contamination and drops nothing)."""

    prompt_share: Annotated[float, Field(gt=0, le=1)]
    """Prompts with at least this share of tokens in n-grams of the corpus are contaminated (paper: a
    threshold per benchmark, not given)."""


@dataclass(frozen=True)
class Config:
    seed: Annotated[int, "seed"]
    test: Annotated[held_out.Evaluation, "evaluation.tasks"]
    decontaminate: Annotated[Decontaminate, "curation.decontaminate"]


class Shard(NamedTuple):
    """One document file to filter, and its output file."""

    source: Path
    output: Path
    test_ngrams: np.ndarray
    """Sorted hashes of the tests' n-grams."""
    options: Decontaminate


class ShardResult(NamedTuple):
    """Statistics of one file, and the tests' n-grams in all its documents and in the kept ones."""

    stats: FilterStats
    before: np.ndarray
    after: np.ndarray
    sizes: Counter[tuple[str, bool]]
    """Bytes of the kept documents by bucket and whether they are generated."""


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """Reads and writes `documents`, file by file; writes `contamination` (contamination.parquet, by prompt)."""
    options = config.decontaminate
    examples = held_out.test_examples(config.test, config.seed)
    prompt_ngrams = [ngrams(f"{example.prompt} {example.answer}", options.length) for example in examples]
    common = common_ngrams(examples, prompt_ngrams, options.shared)
    counts = [~np.isin(grams, common) for grams in prompt_ngrams]
    counted = [grams[count] for grams, count in zip(prompt_ngrams, counts, strict=True)]
    test_ngrams = np.unique(np.concatenate(counted))

    files = documents.document_files(inputs["documents"])
    work = [Shard(file, outputs["documents"] / file.name, test_ngrams, options) for file in files]
    results = context.map("decontaminate", decontaminate_shard, work, kind="process")
    stats, sizes = FilterStats(), Counter[tuple[str, bool]]()
    for result in results:
        stats.merge(result.stats)
        sizes.update(result.sizes)
    if not stats.documents_out:
        raise StageError("curation.decontaminate: nothing left; raise curation.decontaminate.document_share")
    stats.write(outputs["documents"])

    before, after = (np.unique(np.concatenate([result[part] for result in results])) for part in (1, 2))
    records = [
        {
            "task": example.task,
            "prompt": example.prompt,
            "grams": int(count.sum()),
            "overlap": token_coverage(count & np.isin(grams, after), options.length) if count.any() else None,
            "overlap_before": token_coverage(count & np.isin(grams, before), options.length) if count.any() else None,
        }
        for example, grams, count in zip(examples, prompt_ngrams, counts, strict=True)
    ]
    table = pa.Table.from_pylist(records, CONTAMINATION)
    pq.write_table(table, outputs["contamination"] / "contamination.parquet", compression="zstd")
    names = dict.fromkeys(record["task"] for record in records)
    tasks = {task: _summarize([record for record in records if record["task"] == task], options) for task in names}
    context.table("contaminated prompts", [{"task": task, **value} for task, value in tasks.items()])
    return stats.metrics(STEPS) | {
        "tasks": tasks,
        "threshold": options.prompt_share,
        "generated": documents.generated_shares(sizes),
    }


def decontaminate_shard(shard: Shard) -> ShardResult:
    """Drops the contaminated documents of one file."""
    stats, sizes = FilterStats(), Counter[tuple[str, bool]]()
    before, after = [np.empty(0, np.uint64)], [np.empty(0, np.uint64)]

    def rule(document: documents.Document) -> Removal | None:
        grams = ngrams(document["text"], shard.options.length)
        is_hit = _is_in_sorted(grams, shard.test_ngrams)
        before.append(np.unique(grams[is_hit]))
        if token_coverage(is_hit, shard.options.length) > shard.options.document_share:
            return Removal("contaminated", "test prompts")
        after.append(before[-1])
        sizes[document["bucket"], documents.is_generated(document["source"])] += documents.num_bytes(document["text"])
        return None

    kept = documents.filter_documents(documents.read_documents(shard.source), rule, stats)
    documents.write_documents(shard.output, kept, CLASSIFIED)
    return ShardResult(stats, np.unique(np.concatenate(before)), np.unique(np.concatenate(after)), sizes)


def ngrams(text: str, length: int) -> np.ndarray:
    """[tokens - length + 1] hashes of the n-grams of words, numbers and signs in lower case; empty if the text is
    shorter."""
    tokens = TOKEN.findall(text.lower())
    return hash_ngrams(np.fromiter(map(_key, tokens), np.uint64, len(tokens)), length)


def _is_in_sorted(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """[values] bool: whether the sorted `reference` has each value; numpy.isin would read all of it each time."""
    if not len(reference):
        return np.zeros(len(values), bool)
    return reference[np.searchsorted(reference, values, side="right") - 1] == values


@lru_cache(1 << 17)  # most words occurred before
def _key(token: str) -> int:
    return xxhash.xxh64_intdigest(token.encode())


def token_coverage(is_hit: np.ndarray, length: int) -> float:
    """Share of the tokens of a text that are part of an n-gram that is a hit; is_hit: [n-grams] bool."""
    return float(covered_words(is_hit, length).mean()) if len(is_hit) else 0.0


def common_ngrams(examples: Sequence[Example], prompt_ngrams: Sequence[np.ndarray], shared: int) -> np.ndarray:
    """The n-grams that more than `shared` prompts of one task have."""
    counts: dict[str, Counter[int]] = {}
    for example, grams in zip(examples, prompt_ngrams, strict=True):
        counts.setdefault(example.task, Counter()).update(set(grams.tolist()))
    return np.array(
        sorted({gram for task in counts.values() for gram, count in task.items() if count > shared}), np.uint64
    )


def _summarize(records: Sequence[dict[str, Any]], options: Decontaminate) -> dict[str, Any]:
    measured = [record for record in records if record["overlap"] is not None]

    def share(name: str) -> float | None:
        return sum(record[name] >= options.prompt_share for record in measured) / len(measured) if measured else None

    return {
        "prompts": len(records),
        "judged": len(measured),
        "contaminated": share("overlap"),
        "contaminated_before": share("overlap_before"),
    }
