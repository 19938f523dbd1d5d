"""Removes what the corpus holds twice: addresses, then documents, then lines (paper 3.1.1, de-duplication).

1. URL: of the versions of one page, the newest.
2. Document: global MinHash over all documents; candidates from banded LSH are verified by the exact Jaccard
   similarity of their shingles, joined to clusters, and the newest, then longest, of each cluster stays.
3. Line: lines that occur more than 6 times in a bucket of documents go; code is exempt.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from stages.curation import documents, lines, minhash
from stages.curation.documents import Account, Cut, Document
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


class MinHashing(Section):
    """Near-duplicate documents (3.1.1: global MinHash; its parameters are not given there)."""

    shingle: Annotated[int, Field(ge=1)]
    """Words per shingle (assumption)."""

    permutations: Annotated[int, Field(ge=2)]
    """Length of a signature (assumption)."""

    threshold: Annotated[float, Field(gt=0, le=1)]
    """Least Jaccard similarity of two duplicates (assumption)."""

    recall_weight: Annotated[float, Field(gt=0, lt=1)]
    """How much a missed pair counts against a needless candidate when bands are chosen; candidates are verified, so
    they cost time only (assumption)."""


class Lines(Section):
    """Repeated lines (3.1.1)."""

    most: Annotated[int, Field(ge=1)]
    """Occurrences in a bucket up to which a line stays (paper: 6)."""

    bucket_documents: Annotated[int, Field(ge=1)]
    """Documents per bucket, in the order of a hash of their id (paper: 30 million)."""

    characters: Annotated[int, Field(ge=0)]
    """Documents with fewer characters after the removal of lines are dropped (assumption)."""


class Dedup(Section):
    """De-duplication."""

    minhash: MinHashing
    lines: Lines


@dataclass(frozen=True)
class Config:
    seed: Annotated[int, "seed"]
    dedup: Annotated[Dedup, "curation.dedup"]


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """Reads and writes `documents`; the output also holds clusters.parquet: kept and removed members of each cluster.

    The result does not depend on how the input is cut into files.
    """
    account = Account()
    files = documents.shards(inputs["documents"])
    table = sorted(documents.read_all(inputs["documents"]), key=lambda document: document["id"])
    for document in table:
        account.take(document)
    context.progress("duplicates", 0, 3)
    table = unique_urls(table, account)
    context.progress("duplicates", 1, 3)
    table, members, near = unique_documents(table, config.dedup.minhash, config.seed, account)
    context.progress("duplicates", 2, 3)
    table, removed_lines = unique_lines(table, config.dedup.lines, account)
    context.progress("duplicates", 3, 3)
    for document in table:
        account.keep(document)
    documents.write_sharded(outputs["documents"], table, len(files))
    account.write(outputs["documents"])
    clusters = pa.Table.from_pylist(members, MEMBERS)
    pq.write_table(clusters, outputs["documents"] / "clusters.parquet", compression="zstd")
    metrics = account.metrics(STEPS)
    context.table("funnel", metrics["funnel"])
    shares = {step: _share(account, step) for step in STEPS}
    return metrics | {"removed": shares, "minhash": near, "lines": removed_lines}


def unique_urls(table: Sequence[Document], account: Account) -> list[Document]:
    """Of the documents of one normalised URL the newest, then longest, stays."""
    best: dict[str, Document] = {}
    for document in table:
        address = normalise(document["url"])
        other = best.get(address)
        if other is None or rank(document) > rank(other):
            best[address] = document
    kept = []
    for document in table:
        if best[normalise(document["url"])] is document:
            kept.append(document)
        else:
            account.cut(document, Cut("url", "older version"))
    return kept


def rank(document: Document) -> tuple[str, int, str]:
    """The larger of two is the better to keep: newest, then longest, then by id."""
    return document["date"], len(document["text"]), document["id"]


def unique_documents(
    table: list[Document], options: MinHashing, seed: int, account: Account
) -> tuple[list[Document], list[dict[str, Any]], Metrics]:
    """The documents without near-duplicates, the members of each cluster, and how well they were found."""
    shingled = [minhash.shingles(document["text"], options.shingle) for document in table]
    signatures = minhash.signatures(shingled, options.permutations, seed)
    number, rows = minhash.bands(options.threshold, options.permutations, options.recall_weight)
    sets: dict[int, set[bytes]] = {}

    def similarity(first: int, second: int) -> float:
        a, b = (sets.setdefault(index, set(shingled[index])) for index in (first, second))
        return minhash.jaccard(a, b)

    clusters = minhash.Clusters(len(table))
    pairs = minhash.candidates(signatures, number, rows).tolist()
    verified = [pair for pair in pairs if similarity(*pair) >= options.threshold]
    for first, second in verified:
        clusters.join(first, second)

    members, losers = [], {}
    for group in clusters.groups():
        best = max(group, key=lambda index: rank(table[index]))
        for index in group:
            fields = {name: table[index][name] for name in ("id", "url", "date", "planted_from")}
            members.append({"cluster": table[best]["id"], "kept": index == best, **fields})
            if index != best:
                losers[index] = similarity(index, best)
                account.cut(table[index], Cut("document", "near-duplicate"))

    metrics = {
        "bands": number,
        "rows": rows,
        "candidate_pairs": len(pairs),
        "verified_pairs": len(verified),
        "clusters": len(members) - len(losers),
        "removed": len(losers),
        # Clusters are chains: a removed document may be less similar to the kept one than the threshold asks.
        "removed_similar": sum(value >= options.threshold for value in losers.values()),
        "planted": planted_pairs(table, similarity, options.threshold, clusters),
    }
    return ([document for index, document in enumerate(table) if index not in losers], members, metrics)


def planted_pairs(
    table: Sequence[Document], similarity: Callable[[int, int], float], threshold: float, clusters: minhash.Clusters
) -> Metrics:
    """Of the planted copies whose original is there: pairs, those at least as similar as the threshold by exact
    Jaccard, and how many of these share a cluster (`recall`; null where there is none)."""
    by_url = {document["url"]: index for index, document in enumerate(table)}
    copies = [(by_url.get(document["planted_from"]), index) for index, document in enumerate(table)]
    pairs = [(first, second) for first, second in copies if first is not None]
    similar = [pair for pair in pairs if similarity(*pair) >= threshold]
    found = sum(clusters.find(first) == clusters.find(second) for first, second in similar)
    recall = found / len(similar) if similar else None
    return {"pairs": len(pairs), "similar": len(similar), "found": found, "recall": recall}


def unique_lines(table: list[Document], options: Lines, account: Account) -> tuple[list[Document], dict[str, int]]:
    """The documents without lines that repeat in their bucket, and how many distinct lines and occurrences went."""
    order = sorted(range(len(table)), key=lambda index: hashlib.sha256(table[index]["id"].encode()).digest())
    result: dict[int, Document] = {}
    distinct = occurrences = 0
    for start in range(0, len(order), options.bucket_documents):
        bucket = order[start : start + options.bucket_documents]
        hashes = set(lines.repeated([table[index] for index in bucket], options.most).tolist())
        distinct += len(hashes)
        for index in bucket:
            document = table[index]
            result[index] = lines.without(document, hashes)
            occurrences += len(lines.prose(document)) - len(lines.prose(result[index]))
    kept = []
    for index, before in enumerate(table):
        after = result[index]
        if len(after["text"]) < options.characters:
            account.cut(before, Cut("line", "nothing left"))
            continue
        if after is not before:
            lost = documents.size(before["text"]) - documents.size(after["text"])
            account.count(Cut("line", "repeated line"), 0, lost)
        kept.append(after)
    return kept, {"distinct": distinct, "occurrences": occurrences}


def _share(account: Account, step: str) -> dict[str, float]:
    counts = [entry for cut, entry in account.steps.items() if cut.step == step]
    return {
        "documents": sum(entry["documents"] for entry in counts) / max(1, account.documents_in),
        "bytes": sum(entry["bytes"] for entry in counts) / max(1, account.bytes_in),
    }
