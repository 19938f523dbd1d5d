"""Removes what the corpus holds twice: addresses, then documents, then lines (paper 3.1.1, de-duplication).

Each step works on columns of all shards (`catalog`), a task at a time: the memory of a task is bounded by a parameter
and by the size of one shard. The documents come out in the order of their ids, whatever files they came from.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from pydantic import Field

from stages.curation import catalog, documents, line_duplicates, lines, minhash, near_duplicates, url_duplicates
from stages.curation.catalog import Table
from stages.curation.documents import Account, Cut
from stages.curation.line_duplicates import Lines
from stages.curation.near_duplicates import MinHashing, band_name
from stages.curation.url import normalise
from stages.interface import Context, Metrics, Paths, Section

STEPS = ("url", "document", "line")
MEMBERS = pa.schema(
    [
        ("cluster", pa.string()),  # id of the document that stays
        ("kept", pa.bool_()),
        ("id", pa.string()),
        ("url", pa.string()),
        ("date", pa.string()),
        ("planted_from", pa.string()),
    ]
)


class Dedup(Section):
    """De-duplication."""

    memory_mb: Annotated[int, Field(ge=1)]
    """Memory for the keys that a task sorts, in MB; a task also holds one file of documents (assumption)."""

    minhash: MinHashing
    lines: Lines


@dataclass(frozen=True)
class Config:
    seed: Annotated[int, "seed"]
    dedup: Annotated[Dedup, "curation.dedup"]


class Survey(NamedTuple):
    """One document file to enter into the catalog."""

    number: int
    source: Path
    directory: Path
    options: MinHashing
    seed: int


class Shard(NamedTuple):
    """One document file to write without what is removed, in `files` parts by id."""

    number: int
    source: Path
    older: np.ndarray
    """Rows removed for their address."""
    near: np.ndarray
    """Rows removed as near-duplicates."""
    repeated: np.ndarray
    """Keys of the lines to remove."""
    buckets: int
    characters: int
    files: int
    directory: Path


class Outcome(NamedTuple):
    """The account of one shard and the lines taken out of it."""

    account: Account
    occurrences: int


class Merge(NamedTuple):
    """The parts that one output file is made of."""

    parts: list[Path]
    output: Path


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """Reads and writes `documents`, sorted by id; the output also holds clusters.parquet: kept and removed members of
    each cluster.

    The result does not depend on how the input is cut into files.
    """
    options = config.dedup
    files = documents.shards(inputs["documents"])
    scratch = context.scratch / "dedup"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)

    work = [Survey(n, file, scratch, options.minhash, config.seed) for n, file in enumerate(files)]
    counts = tuple(context.map("signatures", survey, work, kind="process"))
    pages, keys = Table(scratch, "pages", counts), Table(scratch, "bands", counts)
    older = url_duplicates.find(pages, options.memory_mb, context)
    near = near_duplicates.find(files, pages, keys, older, options.minhash, options.memory_mb, context)
    gone = np.union1d(older, near.losers)
    buckets = line_duplicates.buckets(pages.rows - len(gone), options.lines)
    repeated = line_duplicates.find(
        files, pages.split(gone), buckets, options.lines, options.memory_mb, scratch, context
    )

    rows = zip(files, pages.split(older), pages.split(near.losers), strict=True)
    shards = [
        Shard(n, file, first, second, repeated, buckets, options.lines.characters, len(files), scratch)
        for n, (file, first, second) in enumerate(rows)
    ]
    account, occurrences = Account(), 0
    for outcome in context.map("remove", remove, shards, kind="process"):
        account.merge(outcome.account)
        occurrences += outcome.occurrences
    merges = [
        Merge([_part(scratch, shard, n) for shard in range(len(files))], outputs["documents"] / documents.name(n))
        for n in range(len(files))
    ]
    context.map("write", merge, merges, kind="process")
    account.write(outputs["documents"])
    clusters = pa.Table.from_pylist(near.members, MEMBERS)
    pq.write_table(clusters, outputs["documents"] / "clusters.parquet", compression="zstd")
    shutil.rmtree(scratch)

    metrics = account.metrics(STEPS)
    context.table("funnel", metrics["funnel"])
    return metrics | {
        "removed": {step: _share(account, step) for step in STEPS},
        "minhash": near.metrics,
        "lines": {"distinct": len(repeated), "occurrences": occurrences},
    }


def survey(work: Survey) -> int:
    """Enters one file into the catalog: who its documents are, and the keys of their bands; gives their number.

    The language is part of the keys: a text and its translation share numbers and names, which is no reason to lose
    one of them.
    """
    rows = documents.read(work.source)
    options = work.options
    number, height = minhash.bands(options.threshold, options.permutations, options.recall_weight)
    shingled = [minhash.shingles(row["text"], options.shingle) for row in rows]
    keys = minhash.band_keys(minhash.signatures(shingled, options.permutations, work.seed), number, height)
    keys ^= _hashes([row["language"] for row in rows])
    catalog.write(work.directory, "bands", work.number, {band_name(band): row for band, row in enumerate(keys)})
    page = {name: [row[name] for row in rows] for name in ("id", "url", "date", "planted_from")}
    catalog.write(work.directory, "pages", work.number, {
        **{name: pa.array(values, pa.string()) for name, values in page.items()},
        "length": pa.array([len(row["text"]) for row in rows], pa.int64()),
        "address": _hashes([normalise(url) for url in page["url"]]),
        "url_key": _hashes(page["url"]),
        "planted_key": np.where([url is None for url in page["planted_from"]], np.uint64(0),
                                _hashes([url or "" for url in page["planted_from"]])),
    })  # fmt: skip
    return len(rows)


def remove(work: Shard) -> Outcome:
    """Writes what stays of one file, in parts by id."""
    account, occurrences = Account(), 0
    older, near, repeated = (set(values.tolist()) for values in (work.older, work.near, work.repeated))
    parts: list[list[documents.Document]] = [[] for _ in range(work.files)]
    for row, document in enumerate(documents.read(work.source)):
        account.take(document)
        if row in older:
            account.cut(document, Cut("url", "older version"))
            continue
        if row in near:
            account.cut(document, Cut("document", "near-duplicate"))
            continue
        after = lines.without(document, repeated, line_duplicates.bucket(document["id"], work.buckets))
        if len(after["text"]) < work.characters:
            account.cut(document, Cut("line", "nothing left"))
            continue
        if after is not document:
            lost = documents.size(document["text"]) - documents.size(after["text"])
            account.count(Cut("line", "repeated line"), 0, lost)
            occurrences += len(lines.prose(document)) - len(lines.prose(after))
        account.keep(after)
        parts[int(after["id"], 16) * work.files >> 64].append(after)
    for number, part in enumerate(parts):
        documents.write(_part(work.directory, work.number, number), part)
    return Outcome(account, occurrences)


def merge(work: Merge) -> None:
    """Makes one output file of its parts."""
    rows = [document for part in work.parts for document in documents.read(part)]
    documents.write(work.output, sorted(rows, key=lambda document: document["id"]))


def _part(directory: Path, shard: int, number: int) -> Path:
    return directory / f"kept-{shard:05d}-{number:05d}.parquet"


def _hashes(texts: Sequence[str]) -> np.ndarray:
    return np.fromiter((xxhash.xxh64_intdigest(text.encode()) for text in texts), np.uint64, len(texts))


def _share(account: Account, step: str) -> dict[str, float]:
    counts = [entry for cut, entry in account.steps.items() if cut.step == step]
    return {
        "documents": sum(entry["documents"] for entry in counts) / max(1, account.documents_in),
        "bytes": sum(entry["bytes"] for entry in counts) / max(1, account.bytes_in),
    }
