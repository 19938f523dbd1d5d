"""The table of documents that the curation stages read and write, and statistics of what each stage removed.

An artifact holds `documents-00000.parquet`, ... (one file per shard, zstd); a stage that removes
documents also writes `removed.parquet`, a sample of them.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from stages.interface import StageError

Document = dict[str, Any]
"""One row of SCHEMA, or of CLASSIFIED."""

SCHEMA = pa.schema(
    [
        ("id", pa.string()),  # 16 hex digits of the sha256 of URL, date and page
        ("url", pa.string()),
        ("host", pa.string()),
        ("date", pa.string()),  # ISO 8601, when the page was fetched
        ("source", pa.string()),  # name of the source in curation.acquire, "crawl" for the user's own WARC files
        ("media", pa.string()),  # html, text or code
        ("planted_from", pa.string()),  # URL of the page that this one is a planted copy of
        ("text", pa.string()),
        ("code", pa.list_(pa.list_(pa.int32()))),  # [first, last] index of the lines of each block of code
        ("language", pa.string()),  # ISO 639; "und": undetermined
        ("language_score", pa.float32()),
    ]
)
CLASSIFIED = pa.schema(
    [
        *SCHEMA,
        ("quality", pa.float32()),  # score of the quality classifier: would an encyclopaedia refer to it
        ("judged", pa.float32()),  # score of the second classifier: would the judge approve of it
        ("rank", pa.float32()),  # percentile of its quality among the documents of its language, 0 (lowest) to 1
        ("domain", pa.string()),  # general, math, reasoning, code or code_in_text
        ("bucket", pa.string()),  # general, math, code or multilingual
        ("topic", pa.string()),  # of general documents, after stage topics
    ]
)
REMOVED = pa.schema([(name, pa.string()) for name in ("id", "url", "step", "reason", "text")])
EXCERPT_CHARACTERS = 500
SAMPLES_PER_REASON = 500
"""Removed documents written for each reason: a random sample that does not depend on the number of files."""


class Removal(NamedTuple):
    """Why a document was removed; the reason is a stable name that is counted."""

    step: str
    reason: str


@dataclass
class FilterStats:
    """What a stage read, removed and kept, in documents and UTF-8 bytes of text."""

    documents_in: int = 0
    bytes_in: int = 0
    documents_out: int = 0
    bytes_out: int = 0
    steps: dict[Removal, Counter[str]] = field(default_factory=dict)
    samples: dict[Removal, list[tuple[int, dict[str, str]]]] = field(default_factory=dict)
    """Removed documents with the lowest hashes, by reason."""

    def count_in(self, document: Mapping[str, Any]) -> None:
        """Counts a document that the stage reads."""
        self.documents_in += 1
        self.bytes_in += num_bytes(document["text"])

    def count_out(self, document: Mapping[str, Any]) -> None:
        """Counts a document that the stage keeps."""
        self.documents_out += 1
        self.bytes_out += num_bytes(document["text"])

    def count_removed(self, document: Mapping[str, Any], removal: Removal) -> None:
        """Counts and samples a removed document."""
        self.add_removed(removal, 1, num_bytes(document["text"]))
        record = {"id": document["id"], "url": document["url"], "text": document["text"][:EXCERPT_CHARACTERS]}
        hash64 = xxhash.xxh64_intdigest(f"{document['id']} {document['url']}".encode())
        self._add_samples(removal, [(hash64, record | removal._asdict())])

    def remove_kept(self, document: Mapping[str, Any], removal: Removal) -> None:
        """Counts as removed a document that was counted as kept."""
        self.documents_out -= 1
        self.bytes_out -= num_bytes(document["text"])
        self.count_removed(document, removal)

    def add_removed(self, removal: Removal, documents: int, size: int) -> None:
        """Adds removed documents, or removed bytes of kept documents."""
        entry = self.steps.setdefault(removal, Counter())
        entry["documents"] += documents
        entry["bytes"] += size

    def merge(self, other: "FilterStats") -> None:
        """Adds the statistics of another shard."""
        for name in ("documents_in", "bytes_in", "documents_out", "bytes_out"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for removal, entry in other.steps.items():
            self.add_removed(removal, entry["documents"], entry["bytes"])
        for removal, samples in other.samples.items():
            self._add_samples(removal, samples)

    def metrics(self, order: Sequence[str]) -> dict[str, Any]:
        """documents_in/out, bytes_in/out and the funnel: steps in the given order, reasons by name."""
        removals = sorted(self.steps.items(), key=lambda item: (order.index(item[0].step), item[0].reason))
        return {
            "documents_in": self.documents_in,
            "documents_out": self.documents_out,
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "funnel": [
                removal._asdict() | {"documents": entry["documents"], "bytes": entry["bytes"]}
                for removal, entry in removals
            ],
        }

    def write(self, directory: Path) -> None:
        """Writes removed.parquet, sorted by step, reason and id."""
        sampled = [record for samples in self.samples.values() for _, record in _lowest_hashes(samples)]
        records = sorted(sampled, key=lambda record: (record["step"], record["reason"], record["id"]))
        pq.write_table(pa.Table.from_pylist(records, REMOVED), directory / "removed.parquet", compression="zstd")

    def _add_samples(self, removal: Removal, samples: list[tuple[int, dict[str, str]]]) -> None:
        kept = self.samples.setdefault(removal, [])
        kept += samples
        if len(kept) > 2 * SAMPLES_PER_REASON:  # sorts rarely, because sorting is slow
            kept[:] = _lowest_hashes(kept)


def _lowest_hashes(samples: list[tuple[int, dict[str, str]]]) -> list[tuple[int, dict[str, str]]]:
    return sorted(samples, key=lambda sample: (sample[0], sample[1]["id"]))[:SAMPLES_PER_REASON]


def num_bytes(text: str) -> int:
    """Bytes of the text in UTF-8."""
    return len(text.encode())


def is_generated(source: str) -> bool:
    """Whether a source holds generated pages of a task (`stages.tasks.source_name`)."""
    return source.startswith("generated-")


def generated_shares(sizes: Mapping[tuple[str, bool], int]) -> dict[str, float]:
    """Bucket, and "all" -> share of generated pages; sizes: (bucket, is generated) -> bytes or tokens."""
    totals, generated = Counter[str](), Counter[str]()
    for (bucket, is_from_task), size in sorted(sizes.items()):
        for name in (bucket, "all"):
            totals[name] += size
            generated[name] += size * is_from_task
    return {name: generated[name] / total for name, total in totals.items() if total}


def document_files(directory: Path) -> list[Path]:
    """The document files of an artifact in order. Raises StageError if there is none."""
    files = sorted(directory.glob("documents-*.parquet"))
    if not files:
        raise StageError(f"{directory}: no documents-*.parquet; run the stage that writes it")
    return files


def read_documents(path: Path) -> list[Document]:
    """The documents of one file."""
    try:
        documents: list[Document] = pq.read_table(path).to_pylist()
        return documents
    except (OSError, pa.ArrowException) as error:
        raise StageError(f"{path}: not a readable Parquet file ({error}); run the stage that writes it again") from None


def read_batches(path: Path, columns: Sequence[str], rows: int = 1000) -> Iterator[pa.RecordBatch]:
    """Columns of one file, at most `rows` documents per batch; one empty batch if the file is empty."""
    try:
        with pq.ParquetFile(path) as file:
            if not file.metadata.num_rows:
                schema = pa.schema([file.schema_arrow.field(column) for column in columns])
                yield pa.RecordBatch.from_pylist([], schema)
            yield from file.iter_batches(rows, columns=list(columns))
    except (OSError, pa.ArrowException) as error:
        raise StageError(f"{path}: not a readable Parquet file ({error}); run the stage that writes it again") from None


def read_all(directory: Path) -> list[Document]:
    """The documents of an artifact, file by file."""
    return [document for path in document_files(directory) for document in read_documents(path)]


def write_documents(path: Path, documents: Iterable[Mapping[str, Any]], schema: pa.Schema = SCHEMA) -> None:
    """Writes one file; the same documents give the same bytes."""
    write_table(path, pa.Table.from_pylist(list(documents), schema))


def write_table(path: Path, table: pa.Table) -> None:
    """Writes one file of documents."""
    pq.write_table(table, path, compression="zstd")


def file_name(shard: int) -> str:
    """File name of a shard."""
    return f"documents-{shard:05d}.parquet"


def write_sharded(
    directory: Path, documents: Sequence[Mapping[str, Any]], shards: int, schema: pa.Schema = SCHEMA
) -> None:
    """Writes the documents, in order, to `shards` files of about equal numbers."""
    for shard in range(shards):
        start, stop = (len(documents) * edge // shards for edge in (shard, shard + 1))
        write_documents(directory / file_name(shard), documents[start:stop], schema)


def remove_from_file(path: Path, rule: Callable[[int, Document], Removal | None], stats: FilterStats) -> None:
    """Rewrites a file of kept documents without those for which `rule(row, document)` gives a reason."""
    kept = []
    for row, document in enumerate(read_documents(path)):
        if removal := rule(row, document):
            stats.remove_kept(document, removal)
        else:
            kept.append(document)
    write_documents(path, kept)


def filter_documents(
    documents: Iterable[Document], rule: Callable[[Document], Removal | None], stats: FilterStats
) -> Iterator[Document]:
    """The documents for which `rule` gives no reason to remove them; updates the statistics."""
    for document in documents:
        stats.count_in(document)
        removal = rule(document)
        if removal:
            stats.count_removed(document, removal)
        else:
            stats.count_out(document)
            yield document
