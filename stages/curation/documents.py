"""The table of documents that the curation stages hand on, and the account of what each of them removed.

An artifact holds `documents-00000.parquet`, ... (one file per shard, zstd); after a step that removes, also
`removed.parquet`, a sample of what it removed.
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
        ("planted_from", pa.string()),  # URL of the page this one is a planted copy of
        ("text", pa.string()),
        ("code", pa.list_(pa.list_(pa.int32()))),  # [first, last] index of the lines of each block of code
        ("language", pa.string()),  # ISO 639, "und" where there is no text to tell it from
        ("language_score", pa.float32()),
    ]
)
CLASSIFIED = pa.schema(
    [
        *SCHEMA,
        ("quality", pa.float32()),  # would an encyclopaedia refer to it
        ("judged", pa.float32()),  # would the judge approve of it
        ("rank", pa.float32()),  # place of its quality among the documents of its language, 0 (last) to 1
        ("domain", pa.string()),  # general, math, reasoning, code or code_in_text
        ("bucket", pa.string()),  # general, math, code or multilingual
        ("topic", pa.string()),  # of general documents, once they have one
    ]
)
REMOVED = pa.schema([(name, pa.string()) for name in ("id", "url", "step", "reason", "text")])
EXCERPT = 500
SAMPLES = 500
"""Removed documents that are kept for each reason: a random sample, the same however the corpus is cut into files."""


class Cut(NamedTuple):
    """Why a step removed a document: the reason is a stable name, countable; the detail is for people."""

    step: str
    reason: str


@dataclass
class Account:
    """What a stage got, removed and kept, in documents and UTF-8 bytes of text."""

    documents_in: int = 0
    bytes_in: int = 0
    documents_out: int = 0
    bytes_out: int = 0
    steps: dict[Cut, Counter[str]] = field(default_factory=dict)
    samples: dict[Cut, list[tuple[int, dict[str, str]]]] = field(default_factory=dict)
    """Of the documents removed, for each reason those with the lowest hashes."""

    def take(self, document: Mapping[str, Any]) -> None:
        """The stage got this document."""
        self.documents_in += 1
        self.bytes_in += size(document["text"])

    def keep(self, document: Mapping[str, Any]) -> None:
        """The stage hands this document on."""
        self.documents_out += 1
        self.bytes_out += size(document["text"])

    def cut(self, document: Mapping[str, Any], cut: Cut) -> None:
        """A step removed this document."""
        self.count(cut, 1, size(document["text"]))
        row = {"id": document["id"], "url": document["url"], "text": document["text"][:EXCERPT]}
        place = xxhash.xxh64_intdigest(f"{document['id']} {document['url']}".encode())
        self._sample(cut, [(place, row | cut._asdict())])

    def revoke(self, document: Mapping[str, Any], cut: Cut) -> None:
        """A later step of the stage removed a document that was kept so far."""
        self.documents_out -= 1
        self.bytes_out -= size(document["text"])
        self.cut(document, cut)

    def count(self, cut: Cut, documents: int, size: int) -> None:
        """A step removed so many documents, or bytes of documents that stay."""
        entry = self.steps.setdefault(cut, Counter())
        entry["documents"] += documents
        entry["bytes"] += size

    def merge(self, other: "Account") -> None:
        """Adds the account of another shard."""
        for name in ("documents_in", "bytes_in", "documents_out", "bytes_out"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for cut, entry in other.steps.items():
            self.count(cut, entry["documents"], entry["bytes"])
        for cut, rows in other.samples.items():
            self._sample(cut, rows)

    def metrics(self, order: Sequence[str]) -> dict[str, Any]:
        """documents_in/out, bytes_in/out and the funnel: steps in the given order, reasons by name."""
        cuts = sorted(self.steps.items(), key=lambda item: (order.index(item[0].step), item[0].reason))
        return {
            "documents_in": self.documents_in,
            "documents_out": self.documents_out,
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "funnel": [
                {"step": cut.step, "reason": cut.reason, "documents": entry["documents"], "bytes": entry["bytes"]}
                for cut, entry in cuts
            ],
        }

    def write(self, directory: Path) -> None:
        """Writes removed.parquet, sorted by step, reason and id."""
        found = [row for rows in self.samples.values() for _, row in _lowest(rows)]
        rows = sorted(found, key=lambda row: (row["step"], row["reason"], row["id"]))
        pq.write_table(pa.Table.from_pylist(rows, REMOVED), directory / "removed.parquet", compression="zstd")

    def _sample(self, cut: Cut, rows: list[tuple[int, dict[str, str]]]) -> None:
        kept = self.samples.setdefault(cut, [])
        kept += rows
        if len(kept) > 2 * SAMPLES:  # not at each one: sorting is dear
            kept[:] = _lowest(kept)


def _lowest(rows: list[tuple[int, dict[str, str]]]) -> list[tuple[int, dict[str, str]]]:
    return sorted(rows, key=lambda row: (row[0], row[1]["id"]))[:SAMPLES]


def size(text: str) -> int:
    """Bytes of the text in UTF-8."""
    return len(text.encode())


def shards(directory: Path) -> list[Path]:
    """The document files of an artifact in order; raises StageError where there is none."""
    files = sorted(directory.glob("documents-*.parquet"))
    if not files:
        raise StageError(f"{directory}: no documents-*.parquet in it; run the stage that makes it")
    return files


def read(path: Path) -> list[Document]:
    """The documents of one file."""
    try:
        documents: list[Document] = pq.read_table(path).to_pylist()
        return documents
    except (OSError, pa.ArrowException) as error:
        raise StageError(f"{path}: not a readable Parquet file ({error}); run the stage that makes it again") from None


def batches(path: Path, columns: Sequence[str], rows: int = 1000) -> Iterator[pa.RecordBatch]:
    """Those columns of one file, so many rows at a time; one empty batch where the file has no rows."""
    try:
        with pq.ParquetFile(path) as file:
            if not file.metadata.num_rows:
                schema = pa.schema([file.schema_arrow.field(column) for column in columns])
                yield pa.RecordBatch.from_pylist([], schema)
            yield from file.iter_batches(rows, columns=list(columns))
    except (OSError, pa.ArrowException) as error:
        raise StageError(f"{path}: not a readable Parquet file ({error}); run the stage that makes it again") from None


def read_all(directory: Path) -> list[Document]:
    """The documents of an artifact, file by file."""
    return [document for path in shards(directory) for document in read(path)]


def write(path: Path, documents: Iterable[Mapping[str, Any]], schema: pa.Schema = SCHEMA) -> None:
    """Writes one file; the same documents give the same bytes."""
    write_table(path, pa.Table.from_pylist(list(documents), schema))


def write_table(path: Path, table: pa.Table) -> None:
    """Writes one file of such a table."""
    pq.write_table(table, path, compression="zstd")


def name(shard: int) -> str:
    """File name of a shard."""
    return f"documents-{shard:05d}.parquet"


def write_sharded(
    directory: Path, documents: Sequence[Mapping[str, Any]], shards: int, schema: pa.Schema = SCHEMA
) -> None:
    """Writes the documents as `shards` files of about equal numbers, in order."""
    for shard in range(shards):
        start, stop = (len(documents) * edge // shards for edge in (shard, shard + 1))
        write(directory / name(shard), documents[start:stop], schema)


def rewrite(path: Path, judge: Callable[[int, Document], Cut | None], account: Account) -> None:
    """Writes a file of kept documents again without those for which `judge`, given row and document, has a reason."""
    kept = []
    for row, document in enumerate(read(path)):
        if cut := judge(row, document):
            account.revoke(document, cut)
        else:
            kept.append(document)
    write(path, kept)


def keep_or_cut(
    documents: Iterable[Document], judge: Callable[[Document], Cut | None], account: Account
) -> Iterator[Document]:
    """The documents for which `judge` gives no reason to remove them; fills the account."""
    for document in documents:
        account.take(document)
        cut = judge(document)
        if cut:
            account.cut(document, cut)
        else:
            account.keep(document)
            yield document
