"""Reads documents from a user's file or directory: text, JSON lines, Parquet or WARC."""

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from stages.curation.extraction import html
from stages.curation.pages import warc
from stages.interface import StageError

SUFFIXES = (".txt", ".md", ".jsonl", ".jsonl.gz", ".parquet", ".warc", ".warc.gz")
LARGEST = 10_000_000
"""Largest page in bytes; larger WARC records are skipped."""


def read_documents(path: Path, field: str = "text") -> Iterator[str]:
    """Each document under `path`, in the order of the file names, without empty ones.

    A text file is one document. In JSON lines and Parquet, `field` is the text; null is skipped. The pages of a WARC
    file are extracted as in curation. StageError if no file can be read, or a record has no such field.
    """
    if not path.exists():
        raise StageError(f"{path} does not exist")
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    known = [file for file in files if file.name.lower().endswith(SUFFIXES)]
    if not known:
        raise StageError(f"{path}: no readable file; supported are {', '.join(SUFFIXES)}")
    for file in known:
        yield from (text for text in _of_file(file, field) if text.strip())


def _of_file(file: Path, field: str) -> Iterator[str]:
    name = file.name.lower()
    try:
        if name.endswith((".txt", ".md")):
            yield file.read_text(encoding="utf-8")
        elif name.endswith((".jsonl", ".jsonl.gz")):
            yield from _json_lines(file, field)
        elif name.endswith(".parquet"):
            if field not in pq.read_schema(file).names:
                raise StageError(f"{file}: no column {field}; it has {', '.join(pq.read_schema(file).names)}")
            for batch in pq.ParquetFile(file).iter_batches(columns=[field]):
                yield from (text for text in batch.column(0).to_pylist() if isinstance(text, str))
        else:
            with file.open("rb") as stream:
                for response in warc.read_responses(stream, LARGEST):
                    if isinstance(response, str):
                        continue
                    page = html.extract_page(response.body, response.content_type)
                    if not isinstance(page, str):
                        yield page[1]
    except (UnicodeDecodeError, pa.ArrowInvalid, OSError, EOFError, zlib.error) as error:
        raise StageError(f"{file} cannot be read: {error}") from None


def _json_lines(file: Path, field: str) -> Iterator[str]:
    with gzip.open(file, "rt", encoding="utf-8") if file.suffix == ".gz" else file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                text = json.loads(line)[field]
            except (ValueError, KeyError, TypeError, RecursionError):
                raise StageError(f"{file}, line {number}: no JSON object with the field {field}") from None
            if isinstance(text, str):
                yield text.encode("utf-8", "replace").decode()  # JSON allows unpaired surrogates
            elif text is not None:
                raise StageError(f"{file}, line {number}: {field} is not a string but {text!r:.40}")
