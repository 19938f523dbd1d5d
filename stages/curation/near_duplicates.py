"""Near-duplicate documents of a whole corpus, within each language, in bounded memory (paper 3.1.1, global MinHash).

1. The signature of each document is cut into bands; `catalog` keeps one column of keys per band.
2. A task per band, and per range of its keys where memory asks for it, reads that column of all shards: documents that
   share a key are candidates.
3. Candidates are verified by the exact Jaccard similarity of their shingles and joined to clusters; the newest, then
   longest, of each cluster stays.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import Field

from stages.curation import documents, minhash
from stages.curation.catalog import Table, parts
from stages.interface import Context, Metrics, Section

PAIRS = 20_000
"""Pairs verified by one task."""


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


class Found(NamedTuple):
    """What goes, the members of each cluster, and how well they were found."""

    losers: np.ndarray
    """Numbers of the documents to remove, ascending."""
    members: list[dict[str, Any]]
    metrics: Metrics


class Band(NamedTuple):
    """The keys of one band, or a range of them."""

    keys: Table
    band: int
    part: int
    parts: int
    gone: np.ndarray
    """Numbers of documents that are removed already."""


class Sets(NamedTuple):
    """The shingle sets to write of one shard."""

    source: Path
    rows: np.ndarray
    shingle: int
    output: Path


class Pairs(NamedTuple):
    """Pairs of numbers to compare; the sets of shard n lie in directory/sets-n.npy."""

    pairs: np.ndarray
    catalog: Table
    wanted: np.ndarray
    """Numbers of the documents whose sets were written."""


def find(
    files: Sequence[Path], catalog: Table, keys: Table, gone: np.ndarray, options: MinHashing, memory_mb: int,
    context: Context,
) -> Found:  # fmt: skip
    """Finds the near-duplicates among the documents that are not `gone`. `files`: the shards, in catalog's order."""
    number, rows = minhash.bands(options.threshold, options.permutations, options.recall_weight)
    cut = parts(keys.rows, memory_mb)
    work = [Band(keys, band, part, cut, gone) for band in range(number) for part in range(cut)]
    candidates = np.unique(np.concatenate(context.map("bands", share_a_band, work, kind="process")))
    planted = planted_pairs(catalog, gone)

    wanted = np.unique(np.concatenate([minhash.unpack(candidates).ravel(), planted.ravel()]))
    shards = [
        Sets(path, rows_, options.shingle, catalog.directory / f"sets-{shard:05d}")
        for shard, (path, rows_) in enumerate(zip(files, catalog.split(wanted), strict=True))
    ]
    context.map("shingle sets", write_sets, shards, kind="process")

    def similarities(pairs: np.ndarray) -> np.ndarray:
        chunks = [Pairs(pairs[first : first + PAIRS], catalog, wanted) for first in range(0, len(pairs), PAIRS)]
        return np.concatenate([np.empty(0), *context.map("verify", compare, chunks, kind="process")])

    pairs = minhash.unpack(candidates)
    verified = pairs[similarities(pairs) >= options.threshold]
    clusters = minhash.Clusters()
    for first, second in verified.tolist():
        clusters.join(first, second)
    members, losing = choose(catalog, clusters)
    alike = similarities(losing)
    planted_alike = planted[similarities(planted) >= options.threshold].tolist()
    together = sum(clusters.find(first) == clusters.find(second) for first, second in planted_alike)
    return Found(
        np.unique(losing[:, 0]),
        members,
        {
            "bands": number,
            "rows": rows,
            "candidate_pairs": len(candidates),
            "verified_pairs": len(verified),
            "clusters": len(members) - len(losing),
            "removed": len(losing),
            # Clusters are chains: a removed document may be less similar to the kept one than the threshold asks.
            "removed_similar": int((alike >= options.threshold).sum()),
            "planted": {
                "pairs": len(planted),
                "similar": len(planted_alike),
                "found": together,
                "recall": together / len(planted_alike) if planted_alike else None,
            },
        },
    )


def share_a_band(work: Band) -> np.ndarray:
    """Packed pairs of documents that share a key of the band."""
    numbers, keys = work.keys.keys(band_name(work.band), work.part, work.parts)
    here = ~np.isin(numbers, work.gone, assume_unique=True)
    return minhash.pairs(keys[here], numbers[here])


def write_sets(work: Sets) -> None:
    """Writes the shingle sets of some documents: one after the other, and where each begins."""
    rows = documents.read(work.source) if len(work.rows) else []
    sets = [minhash.shingle_set(minhash.shingles(rows[row]["text"], work.shingle)) for row in work.rows.tolist()]
    starts = np.cumsum([0, *(len(one) for one in sets)])
    np.save(f"{work.output}.starts.npy", starts)
    np.save(f"{work.output}.npy", np.concatenate([np.empty(0, np.uint64), *sets]))


def compare(work: Pairs) -> np.ndarray:
    """The exact Jaccard similarity of each pair."""
    shards = range(len(work.catalog.counts))
    places = [work.catalog.directory / f"sets-{shard:05d}" for shard in shards]
    starts = [np.load(f"{place}.starts.npy") for place in places]
    sets = [np.load(f"{place}.npy", mmap_mode="r") for place in places]
    edges = np.searchsorted(work.wanted, work.catalog.starts)

    def shingles(number: int) -> np.ndarray:
        place = int(np.searchsorted(work.wanted, number))
        shard = int(np.searchsorted(edges, place, side="right")) - 1
        row = place - int(edges[shard])
        return sets[shard][starts[shard][row] : starts[shard][row + 1]]

    return np.array([minhash.jaccard(shingles(first), shingles(second)) for first, second in work.pairs.tolist()])


def choose(catalog: Table, clusters: minhash.Clusters) -> tuple[list[dict[str, Any]], np.ndarray]:
    """The members of each cluster, those of one cluster together, and [losers, 2] each with the one that stays."""
    groups = clusters.groups()
    numbers = np.sort(np.array([number for group in groups for number in group], np.int64))
    columns = ["id", "url", "date", "length", "planted_from"]
    table = dict(zip(numbers.tolist(), catalog.rows_of(numbers, columns).to_pylist(), strict=True))
    members, losing = [], []
    for group in groups:
        rows = {number: table[number] for number in group}
        best = max(group, key=lambda number: (rows[number]["date"], rows[number]["length"], rows[number]["id"]))
        for number in sorted(group, key=lambda number: rows[number]["id"]):
            fields = {name: rows[number][name] for name in ("id", "url", "date", "planted_from")}
            members.append({"cluster": rows[best]["id"], "kept": number == best, **fields})
            if number != best:
                losing.append((number, best))
    members.sort(key=lambda member: (member["cluster"], member["id"]))
    return members, np.array(losing, np.int64).reshape(-1, 2)


def planted_pairs(catalog: Table, gone: np.ndarray) -> np.ndarray:
    """[pairs, 2] numbers of each planted copy's original and of the copy, where both are there still."""
    sources: dict[int, int] = {}
    for shard, start in enumerate(catalog.starts[:-1]):
        planted = catalog.shard(shard, ["planted_key"])["planted_key"].to_numpy()
        sources |= {int(row + start): int(planted[row]) for row in np.flatnonzero(planted)}
    wanted = np.unique(np.array(list(sources.values()), np.uint64))
    originals: dict[int, int] = {}
    for shard, start in enumerate(catalog.starts[:-1]):
        keys = catalog.shard(shard, ["url_key"])["url_key"].to_numpy()
        originals |= {int(keys[row]): int(row + start) for row in np.flatnonzero(np.isin(keys, wanted))}
    absent = set(gone.tolist())
    pairs = [
        (originals[source], copy)
        for copy, source in sources.items()
        if source in originals and copy not in absent and originals[source] not in absent
    ]
    return np.array(pairs, np.int64).reshape(-1, 2)


def band_name(band: int) -> str:
    """The column of a band's keys."""
    return f"band_{band:02d}"
