"""Removes duplicates from the corpus: URLs, then documents, then lines (paper 3.1.1, de-duplication).

Each step works on columns of all shards (`catalog`). A parameter and the size of one shard bound the memory of a task.
The output is sorted by id, whatever the input files are.
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
from stages.curation.deduplication.line_duplicates import Lines, RepeatedLines
from stages.curation.deduplication.near_duplicates import MinHashOptions, band_column
from stages.curation.documents import SCHEMA, FilterStats, Removal
from stages.curation.pages.url import normalize_url
from stages.interface import Context, Metrics, Paths, Section

STEPS = ("url", "document", "line")
PAGE_COLUMNS = ["id", "url", "date", "planted_from"]
MEMBERS_SCHEMA = pa.schema(
    [
        ("cluster", pa.string()),  # id of the kept document
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
    """Memory for the keys that a task sorts, in MB; a task also holds one document file (assumption)."""

    minhash: MinHashOptions
    lines: Lines


@dataclass(frozen=True)
class Config:
    seed: Annotated[int, "seed"]
    dedup: Annotated[Dedup, "curation.dedup"]


class CatalogShard(NamedTuple):
    """One document file to add to the catalog."""

    number: int
    source: Path
    directory: Path
    shingle: int
    permutations: np.ndarray
    bands: tuple[int, int]


class Shard(NamedTuple):
    """One document file to write without duplicates, in `num_files` parts by id."""

    number: int
    source: Path
    older: np.ndarray
    """Rows removed as older versions of a URL."""
    near: np.ndarray
    """Rows removed as near-duplicates."""
    repeated: RepeatedLines
    num_buckets: int
    min_characters: int
    num_files: int
    directory: Path


class ShardResult(NamedTuple):
    """Statistics of one shard, and its number of removed lines."""

    stats: FilterStats
    occurrences: int


class Merge(NamedTuple):
    """One output file, merged from the parts with the same number of all shards."""

    shards: list[Path]
    number: int
    output: Path


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """Reads `documents`; writes them sorted by id, and clusters.parquet: kept and removed members of each cluster.

    The result does not depend on the number of input files.
    """
    options = config.dedup
    files = documents.document_files(inputs["documents"])
    scratch = context.scratch / "dedup"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)

    near_options = options.minhash
    permutations = minhash.permutations(near_options.permutations, config.seed)
    bands = minhash.bands(near_options.threshold, near_options.permutations, near_options.recall_weight)
    work = [CatalogShard(n, file, scratch, near_options.shingle, permutations, bands) for n, file in enumerate(files)]
    counts = tuple(context.map("signatures", write_catalog, work, kind="process"))
    pages, keys = Table(scratch, "pages", counts), Table(scratch, "bands", counts)
    older = url_duplicates.find_older_versions(pages, options.memory_mb, context)
    removed = catalog.write_row_table(scratch, "older", pages.rows_by_shard(older))
    near = near_duplicates.find_near_duplicates(
        files, pages, keys, removed, bands, near_options, options.memory_mb, context
    )
    removed = catalog.write_row_table(scratch, "removed", pages.rows_by_shard(np.union1d(older, near.removed)))
    num_buckets = line_duplicates.num_buckets(pages.num_rows - removed.num_rows, options.lines)
    repeated = line_duplicates.find_repeated_lines(
        files, removed, num_buckets, options.lines, options.memory_mb, context
    )

    rows = zip(files, pages.rows_by_shard(older), pages.rows_by_shard(near.removed), strict=True)
    shards = [
        Shard(n, file, older_rows, near_rows, repeated, num_buckets, options.lines.characters, len(files), scratch)
        for n, (file, older_rows, near_rows) in enumerate(rows)
    ]
    stats, occurrences = FilterStats(), 0
    for result in context.map("remove", write_kept, shards, kind="process"):
        stats.merge(result.stats)
        occurrences += result.occurrences
    kept = [_kept_path(scratch, shard) for shard in range(len(files))]
    merges = [Merge(kept, n, outputs["documents"] / documents.file_name(n)) for n in range(len(files))]
    context.map("write", merge_parts, merges, kind="process")
    stats.write(outputs["documents"])
    pq.write_table(near.members.cast(MEMBERS_SCHEMA), outputs["documents"] / "clusters.parquet", compression="zstd")
    shutil.rmtree(scratch)

    metrics = stats.metrics(STEPS)
    context.table("funnel", metrics["funnel"])
    return metrics | {
        "removed": {step: _removed_share(stats, step) for step in STEPS},
        "minhash": near.metrics,
        "lines": {"distinct": repeated.num_distinct, "occurrences": occurrences},
    }


def write_catalog(work: CatalogShard) -> int:
    """Writes the catalog of one file (metadata and keys of bands), and returns its number of documents.

    The language is part of the keys, because a text and its translation share numbers and names.
    """
    pages, bands = [], [np.empty((work.bands[0], 0), np.uint64)]
    for batch in documents.read_batches(work.source, [*PAGE_COLUMNS, "text", "language"]):
        cut = shingles.make_shingles(batch["text"].to_pylist(), work.shingle)
        signatures = minhash.signatures(cut.hashes(), cut.offsets, work.permutations)
        keys = minhash.band_keys(signatures, *work.bands)
        bands.append(keys ^ _hashes(batch["language"].to_pylist()))
        urls, planted = batch["url"].to_pylist(), batch["planted_from"]
        page = batch.select(PAGE_COLUMNS).append_column("length", pc.utf8_length(batch["text"]).cast(pa.int64()))
        page = page.append_column("address", pa.array(_hashes([normalize_url(url) for url in urls])))
        page = page.append_column("url_key", pa.array(_hashes(urls)))
        sources = _hashes(planted.fill_null("").to_pylist()) * planted.is_valid().to_numpy(zero_copy_only=False)
        pages.append(page.append_column("planted_key", pa.array(sources)))
    table = pa.Table.from_batches(pages)
    catalog.write_shard(work.directory, "pages", work.number, {name: table[name] for name in table.column_names})
    keys = np.concatenate(bands, axis=1)
    catalog.write_shard(work.directory, "bands", work.number, {band_column(band): row for band, row in enumerate(keys)})
    return table.num_rows


def write_kept(work: Shard) -> ShardResult:
    """Writes the kept documents of one file, in parts by id."""
    result, first_row = ShardResult(FilterStats(), 0), 0
    repeated = work.repeated.keys_in(work.number)
    kept = []
    for batch in documents.read_batches(work.source, SCHEMA.names):
        result.stats.documents_in += batch.num_rows
        result.stats.bytes_in += _num_bytes(batch)
        older, near = (_rows_in_batch(rows, first_row, batch.num_rows) for rows in (work.older, work.near))
        _count_removed(result.stats, batch.take(older), Removal("url", "older version"))
        _count_removed(result.stats, batch.take(near), Removal("document", "near-duplicate"))
        first_row += batch.num_rows
        kept_rows = np.setdiff1d(np.arange(batch.num_rows), np.concatenate([older, near]))
        batch, result = _remove_lines(batch.take(kept_rows), repeated, work, result)
        result.stats.documents_out += batch.num_rows
        result.stats.bytes_out += _num_bytes(batch)
        kept.append(batch)
    table = pa.Table.from_batches(kept, SCHEMA).combine_chunks()
    parts = np.array([int(id, 16) * work.num_files >> 64 for id in table["id"].to_pylist()], int)
    # One file with a batch per part, because a thousand shards would need a million files.
    with pa.ipc.new_file(_kept_path(work.directory, work.number), SCHEMA) as file:
        for number in range(work.num_files):
            part = table.take(np.flatnonzero(parts == number)).combine_chunks()
            file.write_batch(part.to_batches()[0] if len(part) else pa.RecordBatch.from_pylist([], SCHEMA))
    return result


def merge_parts(work: Merge) -> None:
    """Merges the parts of one output file."""
    parts = []
    for path in work.shards:
        with pa.ipc.open_file(path) as file:
            parts.append(file.get_batch(work.number))
    table = pa.Table.from_batches(parts, SCHEMA).combine_chunks()
    documents.write_table(work.output, table.take(pc.sort_indices(table["id"])))


def _remove_lines(
    batch: pa.RecordBatch, repeated: set[int], work: Shard, result: ShardResult
) -> tuple[pa.RecordBatch, ShardResult]:
    """The documents without repeated lines, and without documents that become too short."""
    stats, occurrences = result
    changed = {}
    for row, document in enumerate(batch.select(["id", "text", "code"]).to_pylist() if repeated else ()):
        shorter = lines.remove_lines(document, repeated, line_duplicates.bucket_of(document["id"], work.num_buckets))
        if shorter is not document:
            changed[row] = (document, shorter)
    before = batch
    for name in ("text", "code") if changed else ():
        values, field = batch[name].to_pylist(), SCHEMA.field(name)
        for row, (_, shorter) in changed.items():
            values[row] = shorter[name]
        batch = batch.set_column(SCHEMA.get_field_index(name), field, pa.array(values, field.type))
    is_long_enough = pc.greater_equal(pc.utf8_length(batch["text"]), work.min_characters).to_numpy(zero_copy_only=False)
    for row, (document, shorter) in changed.items():
        if is_long_enough[row]:
            removed_bytes = documents.num_bytes(document["text"]) - documents.num_bytes(shorter["text"])
            stats.add_removed(Removal("line", "repeated line"), 0, removed_bytes)
            occurrences += len(lines.prose_lines(document)) - len(lines.prose_lines(shorter))
    _count_removed(stats, before.filter(pa.array(~is_long_enough)), Removal("line", "nothing left"))
    return batch.filter(pa.array(is_long_enough)), ShardResult(stats, occurrences)


def _count_removed(stats: FilterStats, batch: pa.RecordBatch, removal: Removal) -> None:
    for document in batch.select(["id", "url", "text"]).to_pylist():
        stats.count_removed(document, removal)


def _num_bytes(batch: pa.RecordBatch) -> int:
    return sum(pc.binary_length(batch["text"]).to_pylist())


def _rows_in_batch(rows: np.ndarray, first_row: int, num_rows: int) -> np.ndarray:
    """The rows of a file that are in a batch, counted from its first row."""
    start, stop = np.searchsorted(rows, [first_row, first_row + num_rows])
    return rows[start:stop] - first_row


def _kept_path(directory: Path, shard: int) -> Path:
    return directory / f"kept-{shard:05d}.arrow"


def _hashes(texts: Iterable[str]) -> np.ndarray:
    return np.array([xxhash.xxh64_intdigest(text.encode()) for text in texts], np.uint64)


def _removed_share(stats: FilterStats, step: str) -> dict[str, float]:
    counts = [entry for removal, entry in stats.steps.items() if removal.step == step]
    return {
        "documents": sum(entry["documents"] for entry in counts) / max(1, stats.documents_in),
        "bytes": sum(entry["bytes"] for entry in counts) / max(1, stats.bytes_in),
    }
