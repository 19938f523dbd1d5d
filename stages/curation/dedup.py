"""Removes what the corpus holds twice: addresses, then documents, then lines (paper 3.1.1, de-duplication).

Each step works on columns of all shards (`catalog`), a task at a time: the memory of a task is bounded by a parameter
and by the size of one shard. The documents come out in the order of their ids, whatever files they came from.
"""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash
from pydantic import Field

from stages.curation import documents, lines
from stages.curation.deduplication import catalog, line_duplicates, minhash, near_duplicates, shingles, url_duplicates
from stages.curation.deduplication.catalog import Table
from stages.curation.deduplication.line_duplicates import Lines, Repeated
from stages.curation.deduplication.near_duplicates import MinHashing, band_name
from stages.curation.documents import SCHEMA, FilterStats, Removal
from stages.curation.pages.url import normalize_url
from stages.interface import Context, Metrics, Paths, Section

STEPS = ("url", "document", "line")
PAGE = ["id", "url", "date", "planted_from"]
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
    shingle: int
    permutations: np.ndarray
    bands: tuple[int, int]


class Shard(NamedTuple):
    """One document file to write without what is removed, in `files` parts by id."""

    number: int
    source: Path
    older: np.ndarray
    """Rows removed for their address."""
    near: np.ndarray
    """Rows removed as near-duplicates."""
    repeated: Repeated
    buckets: int
    characters: int
    files: int
    directory: Path


class Outcome(NamedTuple):
    """The stats of one shard and the lines taken out of it."""

    stats: FilterStats
    occurrences: int


class Merge(NamedTuple):
    """The shards whose part of that number makes up one output file."""

    shards: list[Path]
    number: int
    output: Path


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """Reads and writes `documents`, sorted by id; the output also holds clusters.parquet: kept and removed members of
    each cluster.

    The result does not depend on how the input is cut into files.
    """
    options = config.dedup
    files = documents.document_files(inputs["documents"])
    scratch = context.scratch / "dedup"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)

    near_options = options.minhash
    permutations = minhash.permutations(near_options.permutations, config.seed)
    bands = minhash.bands(near_options.threshold, near_options.permutations, near_options.recall_weight)
    work = [Survey(n, file, scratch, near_options.shingle, permutations, bands) for n, file in enumerate(files)]
    counts = tuple(context.map("signatures", survey, work, kind="process"))
    pages, keys = Table(scratch, "pages", counts), Table(scratch, "bands", counts)
    older = url_duplicates.find(pages, options.memory_mb, context)
    gone = catalog.mark(scratch, "older", pages.split(older))
    near = near_duplicates.find(files, pages, keys, gone, bands, near_options, options.memory_mb, context)
    gone = catalog.mark(scratch, "gone", pages.split(np.union1d(older, near.losers)))
    buckets = line_duplicates.buckets(pages.rows - gone.rows, options.lines)
    repeated = line_duplicates.find(files, gone, buckets, options.lines, options.memory_mb, context)

    rows = zip(files, pages.split(older), pages.split(near.losers), strict=True)
    shards = [
        Shard(n, file, first, second, repeated, buckets, options.lines.characters, len(files), scratch)
        for n, (file, first, second) in enumerate(rows)
    ]
    stats, occurrences = FilterStats(), 0
    for outcome in context.map("remove", remove, shards, kind="process"):
        stats.merge(outcome.stats)
        occurrences += outcome.occurrences
    kept = [_kept(scratch, shard) for shard in range(len(files))]
    merges = [Merge(kept, n, outputs["documents"] / documents.file_name(n)) for n in range(len(files))]
    context.map("write", merge, merges, kind="process")
    stats.write(outputs["documents"])
    pq.write_table(near.members.cast(MEMBERS), outputs["documents"] / "clusters.parquet", compression="zstd")
    shutil.rmtree(scratch)

    metrics = stats.metrics(STEPS)
    context.table("funnel", metrics["funnel"])
    return metrics | {
        "removed": {step: _share(stats, step) for step in STEPS},
        "minhash": near.metrics,
        "lines": {"distinct": repeated.distinct, "occurrences": occurrences},
    }


def survey(work: Survey) -> int:
    """Enters one file into the catalog: who its documents are, and the keys of their bands; gives their number.

    The language is part of the keys: a text and its translation share numbers and names, which is no reason to lose
    one of them.
    """
    pages, bands = [], [np.empty((work.bands[0], 0), np.uint64)]
    for batch in documents.read_batches(work.source, [*PAGE, "text", "language"]):
        cut = shingles.cut(batch["text"].to_pylist(), work.shingle)
        signatures = minhash.signatures(cut.hashes(), cut.offsets, work.permutations)
        keys = minhash.band_keys(signatures, *work.bands)
        bands.append(keys ^ _hashes(batch["language"].to_pylist()))
        urls, planted = batch["url"].to_pylist(), batch["planted_from"]
        page = batch.select(PAGE).append_column("length", pc.utf8_length(batch["text"]).cast(pa.int64()))
        page = page.append_column("address", pa.array(_hashes([normalize_url(url) for url in urls])))
        page = page.append_column("url_key", pa.array(_hashes(urls)))
        sources = _hashes(planted.fill_null("").to_pylist()) * planted.is_valid().to_numpy(zero_copy_only=False)
        pages.append(page.append_column("planted_key", pa.array(sources)))
    table = pa.Table.from_batches(pages)
    catalog.write(work.directory, "pages", work.number, {name: table[name] for name in table.column_names})
    keys = np.concatenate(bands, axis=1)
    catalog.write(work.directory, "bands", work.number, {band_name(band): row for band, row in enumerate(keys)})
    return table.num_rows


def remove(work: Shard) -> Outcome:
    """Writes what stays of one file, in parts by id."""
    outcome, first = Outcome(FilterStats(), 0), 0
    repeated = work.repeated.of(work.number)
    kept = []
    for batch in documents.read_batches(work.source, SCHEMA.names):
        outcome.stats.documents_in += batch.num_rows
        outcome.stats.bytes_in += _bytes(batch)
        older, near = (_within(rows, first, batch.num_rows) for rows in (work.older, work.near))
        _cut(outcome.stats, batch.take(older), Removal("url", "older version"))
        _cut(outcome.stats, batch.take(near), Removal("document", "near-duplicate"))
        first += batch.num_rows
        stays = np.setdiff1d(np.arange(batch.num_rows), np.concatenate([older, near]))
        batch, outcome = _without_lines(batch.take(stays), repeated, work, outcome)
        outcome.stats.documents_out += batch.num_rows
        outcome.stats.bytes_out += _bytes(batch)
        kept.append(batch)
    table = pa.Table.from_batches(kept, SCHEMA).combine_chunks()
    parts = np.array([int(name, 16) * work.files >> 64 for name in table["id"].to_pylist()], int)
    # A file of as many batches, not as many files: with a thousand shards these would be a million.
    with pa.ipc.new_file(_kept(work.directory, work.number), SCHEMA) as file:
        for number in range(work.files):
            part = table.take(np.flatnonzero(parts == number)).combine_chunks()
            file.write_batch(part.to_batches()[0] if len(part) else pa.RecordBatch.from_pylist([], SCHEMA))
    return outcome


def merge(work: Merge) -> None:
    """Makes one output file of its parts."""
    parts = []
    for path in work.shards:
        with pa.ipc.open_file(path) as file:
            parts.append(file.get_batch(work.number))
    table = pa.Table.from_batches(parts, SCHEMA).combine_chunks()
    documents.write_table(work.output, table.take(pc.sort_indices(table["id"])))


def _without_lines(
    batch: pa.RecordBatch, repeated: set[int], work: Shard, outcome: Outcome
) -> tuple[pa.RecordBatch, Outcome]:
    """The documents without their repeated lines, and without those of which too little is left."""
    stats, occurrences = outcome
    after = {}
    for row, document in enumerate(batch.select(["id", "text", "code"]).to_pylist() if repeated else ()):
        shorter = lines.remove_lines(document, repeated, line_duplicates.bucket(document["id"], work.buckets))
        if shorter is not document:
            after[row] = (document, shorter)
    before = batch
    for name in ("text", "code") if after else ():
        values, field = batch[name].to_pylist(), SCHEMA.field(name)
        for row, (_, shorter) in after.items():
            values[row] = shorter[name]
        batch = batch.set_column(SCHEMA.get_field_index(name), field, pa.array(values, field.type))
    enough = pc.greater_equal(pc.utf8_length(batch["text"]), work.characters).to_numpy(zero_copy_only=False)
    for row, (document, shorter) in after.items():
        if enough[row]:
            lost = documents.num_bytes(document["text"]) - documents.num_bytes(shorter["text"])
            stats.add_removed(Removal("line", "repeated line"), 0, lost)
            occurrences += len(lines.prose_lines(document)) - len(lines.prose_lines(shorter))
    _cut(stats, before.filter(pa.array(~enough)), Removal("line", "nothing left"))
    return batch.filter(pa.array(enough)), Outcome(stats, occurrences)


def _cut(stats: FilterStats, batch: pa.RecordBatch, removal: Removal) -> None:
    for document in batch.select(["id", "url", "text"]).to_pylist():
        stats.count_removed(document, removal)


def _bytes(batch: pa.RecordBatch) -> int:
    return sum(pc.binary_length(batch["text"]).to_pylist())


def _within(rows: np.ndarray, first: int, number: int) -> np.ndarray:
    """Of these rows of a file those in a batch, counted from its first."""
    start, stop = np.searchsorted(rows, [first, first + number])
    return rows[start:stop] - first


def _kept(directory: Path, shard: int) -> Path:
    return directory / f"kept-{shard:05d}.arrow"


def _hashes(texts: Iterable[str]) -> np.ndarray:
    return np.array([xxhash.xxh64_intdigest(text.encode()) for text in texts], np.uint64)


def _share(stats: FilterStats, step: str) -> dict[str, float]:
    counts = [entry for cut, entry in stats.steps.items() if cut.step == step]
    return {
        "documents": sum(entry["documents"] for entry in counts) / max(1, stats.documents_in),
        "bytes": sum(entry["bytes"] for entry in counts) / max(1, stats.bytes_in),
    }
