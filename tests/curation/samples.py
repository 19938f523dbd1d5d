"""Documents and parameters that several tests of curation need."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xxhash
import yaml

from stages.curation import documents
from stages.curation.documents import Document
from stages.curation.extraction import blocklist

PROSE = (
    "The river runs through the old town and under two stone bridges before it reaches the sea. "
    "In spring the water is high, and the people who live near it keep sandbags in their cellars. "
    "A museum in the former mill tells how the valley was settled, who built the dam, and why it broke. "
    "Every summer the pupils of the school by the harbour clean the bank and count the herons that nest there."
)


def document(text: str, url: str = "", **fields: Any) -> Document:
    """A document of that text; everything else has a plain value unless given."""
    digest = hashlib.sha256(f"{url}{text}{sorted(fields.items())}".encode()).hexdigest()[:16]
    url = url or f"https://{digest}.example/page"
    row: Document = {
        "id": digest,
        "url": url,
        "host": url.split("/")[2],
        "date": "2024-01-01T00:00:00Z",
        "source": "news",
        "media": "html",
        "planted_from": None,
        "text": text,
        "code": [],
        "language": "en",
        "language_score": 1.0,
    }
    return row | fields


def store(directory: Path, rows: list[Document], shards: int = 1) -> Path:
    """An artifact of documents."""
    directory.mkdir(parents=True)
    documents.write_sharded(directory, rows, shards)
    return directory


def fresh(directory: Path) -> Path:
    """A new empty directory."""
    directory.mkdir(parents=True)
    return directory


def contents(directory: Path) -> dict[str, bytes]:
    """Name -> bytes of each file."""
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def section(name: str) -> dict[str, Any]:
    """A section of curation in params.yaml."""
    tree = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text())
    values: dict[str, Any] = tree["curation"][name]
    return values


def reasons(metrics: Mapping[str, Any]) -> dict[str, int]:
    """Documents by the reason for which a stage removed them."""
    return {row["reason"]: row["documents"] for row in metrics["funnel"]}


def block(directory: Path, monkeypatch: pytest.MonkeyPatch, *domains: bytes) -> None:
    """A block list of these domains in place of the large one."""
    path = directory / "domains.npy"
    hashes = [xxhash.xxh64_intdigest(name) for name in domains or (b"bad.example",)]
    np.save(path, np.sort(np.array(hashes, np.uint64)))
    monkeypatch.setattr(blocklist, "prepare", lambda: path)
