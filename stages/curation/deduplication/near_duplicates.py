"""Near-duplicate documents of a whole corpus, within each language, in bounded memory (paper 3.1.1, global MinHash).

1. The signature of each document is cut into bands; `catalog` keeps one column of keys per band.
2. A task per band, and per range of its keys where memory asks for it, reads that column of all shards: documents that
   share a key are candidates. Each task leaves them in a file; a task per range of pairs merges these.
3. Candidates are verified by the exact Jaccard similarity of their shingles and joined to clusters; the newest, then
   longest, of each cluster stays, and of a chain whose ends are not similar more than that one.

A task holds a range of keys, a range of pairs or a column of one shard. Only what concerns documents that have a
near-duplicate comes together in one process: two numbers of 8 bytes for each, and what the report says of it.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import pyarrow as pa
from pydantic import Field

from stages.curation.deduplication import clusters, minhash, similarity
from stages.curation.deduplication.catalog import Table, parts
from stages.interface import Context, Metrics, Section

SAMPLE = 64
"""One candidate in so many is looked at to cut all into ranges."""


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
    members: pa.Table
    metrics: Metrics


class Band(NamedTuple):
    """The keys of one band, or a range of them."""

    keys: Table
    gone: Table
    band: int
    part: int
    parts: int

    @property
    def output(self) -> Path:
        """The file of packed pairs."""
        return self.keys.directory / f"band-{self.band:03d}-{self.part:05d}.npy"


class Range(NamedTuple):
    """The candidates of all bands, packed, from `low` on and below `high`."""

    bands: list[Path]
    low: int
    high: int
    output: Path


def find(
    files: Sequence[Path],
    catalog: Table,
    keys: Table,
    gone: Table,
    bands: tuple[int, int],
    options: MinHashing,
    memory_mb: int,
    context: Context,
) -> Found:
    """Finds the near-duplicates among the documents that are not `gone`. `files`: the shards, in catalog's order;
    `bands`: their number and rows."""
    cut = parts(keys.rows, memory_mb)
    joins = [Band(keys, gone, band, part, cut) for band in range(bands[0]) for part in range(cut)]
    context.map("bands", share_a_band, joins, kind="process")
    ranges = split([join.output for join in joins], catalog.directory)
    found = context.map("candidates", merge, ranges, kind="process")
    planted = planted_pairs(catalog, gone)
    pairs = [work.output for work in ranges]
    planted_file = similarity.save(catalog.directory / "planted.npy", planted)

    sets = [
        similarity.Sets(path, shard, catalog, [*pairs, planted_file], options.shingle)
        for shard, path in enumerate(files)
    ]
    context.map("shingle sets", similarity.write_sets, sets, kind="process")

    def work(files: Sequence[Path]) -> list[similarity.Pairs]:
        return [similarity.Pairs(path, catalog, options.threshold) for path in files]

    verified = context.map("verify", verify, work(pairs), kind="process")
    joined = clusters.join(np.concatenate([np.empty((0, 2), np.int64), *(pairs for _, pairs in verified)]))
    ranked = clusters.rank(catalog, joined)

    def alike(losing: np.ndarray) -> np.ndarray:
        """[losing] bool: whether a document that is to go is similar to the one that stays."""
        starts = range(0, len(losing), similarity.PAIRS)
        chunks = [
            similarity.save(catalog.directory / f"losing-{start}.npy", losing[start : start + similarity.PAIRS])
            for start in starts
        ]
        found = context.map("compare", similarity.compare, work(chunks), kind="process")
        return np.concatenate([np.empty(0, bool), *found])

    losing, close = settle(ranked, pairs, alike)
    members = clusters.members(ranked, losing)
    planted_alike = similarity.compare(*work([planted_file]))
    gone_now = np.isin(planted, losing[:, 0]).any(axis=1)
    together = int((joined.same(planted) & gone_now)[planted_alike].sum())
    return Found(
        losing[:, 0],
        members,
        {
            "bands": bands[0],
            "rows": bands[1],
            "candidate_pairs": sum(found),
            "verified_pairs": sum(count for count, _ in verified),
            "clusters": members.num_rows - len(losing),
            "removed": len(losing),
            "removed_similar": int(close.sum()),
            "planted": {
                "pairs": len(planted),
                "similar": int(planted_alike.sum()),
                "found": together,
                "recall": together / int(planted_alike.sum()) if planted_alike.any() else None,
            },
        },
    )


def settle(
    ranked: pa.Table, candidates: Sequence[Path], alike: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """[losers, 2] numbers: who goes, ascending, and who stays in its place; [losers] bool: whether they are similar.

    The best of a cluster stays; in a cluster with members that are not similar to it, `clusters.similar` decides.
    """
    losing = clusters.best(ranked)
    close = alike(losing)
    if close.all():
        return losing, close
    numbers, roots = ranked["number"].to_numpy(), ranked["root"].to_numpy()
    chains = np.isin(roots, roots[np.isin(numbers, losing[~close, 0])])
    inside = np.sort(numbers[chains])
    compared = [losing[close & np.isin(losing[:, 0], inside)]]
    for path in candidates:
        similar = np.load(similar_name(path), mmap_mode="r")
        compared.append(similar[np.isin(similar[:, 0], inside)])
    again = clusters.similar(ranked.filter(pa.array(chains)), np.concatenate(compared))
    others = losing[~np.isin(losing[:, 0], inside)]  # compared already, and all similar
    close = np.concatenate([np.ones(len(others), bool), alike(again)])
    losing = np.concatenate([others, again])
    order = np.argsort(losing[:, 0])
    return losing[order], close[order]


def share_a_band(work: Band) -> None:
    """Writes the packed pairs of documents that share a key of the band, sorted."""
    numbers, keys = work.keys.keys(band_name(work.band), work.part, work.parts, work.gone)
    np.save(work.output, minhash.pairs(keys, numbers))


def split(bands: list[Path], directory: Path) -> list[Range]:
    """Ranges of packed pairs that hold about as many as one task compares."""
    files = [np.load(path, mmap_mode="r") for path in bands]
    sample = minhash.distinct([packed[::SAMPLE] for packed in files])
    number = -(-sum(len(packed) for packed in files) // similarity.PAIRS) or 1
    edges = minhash.distinct([sample[len(sample) * np.arange(1, number) // number]]).tolist()
    lows = [0, *edges]
    return [
        Range(bands, low, high, directory / f"candidates-{n:05d}.npy")
        for n, (low, high) in enumerate(zip(lows, [*edges, 1 << 64], strict=True))
    ]


def merge(work: Range) -> int:
    """Writes the candidates of a range, each once, and gives their number."""
    found = []
    for path in work.bands:
        packed = np.load(path, mmap_mode="r")
        first = np.searchsorted(packed, np.uint64(work.low))
        last = np.searchsorted(packed, np.uint64(work.high)) if work.high < 1 << 64 else len(packed)
        found.append(packed[first:last])
    candidates = minhash.distinct(found)
    similarity.save(work.output, minhash.unpack(candidates))
    return len(candidates)


def verify(work: similarity.Pairs) -> tuple[int, np.ndarray]:
    """Writes the candidates that are similar; gives their number, and [joins, 2] as few pairs as join these."""
    similar = np.load(work.source)[similarity.compare(work)]
    np.save(similar_name(work.source), similar)
    return len(similar), clusters.join(similar).joins


def similar_name(candidates: Path) -> Path:
    """The file of those of a file of candidates that are similar."""
    return candidates.with_suffix(".similar.npy")


def planted_pairs(catalog: Table, gone: Table) -> np.ndarray:
    """[pairs, 2] numbers of each planted copy's original and of the copy, where both are there still."""
    copies: list[int] = []
    sources: list[int] = []
    originals: dict[int, int] = {}
    for shard, start in enumerate(catalog.starts[:-1]):
        keys = catalog.shard(shard, ["planted_key"])["planted_key"].to_numpy()
        rows = catalog.without(shard, np.flatnonzero(keys), gone)
        copies += (rows + start).tolist()
        sources += keys[rows].tolist()
    wanted = np.array(sources, np.uint64)
    for shard, start in enumerate(catalog.starts[:-1]):
        keys = catalog.shard(shard, ["url_key"])["url_key"].to_numpy()
        rows = catalog.without(shard, np.flatnonzero(np.isin(keys, wanted)), gone)
        originals |= dict(zip(keys[rows].tolist(), (rows + start).tolist(), strict=True))
    pairs = [(originals[key], copy) for key, copy in zip(sources, copies, strict=True) if key in originals]
    return np.array(pairs, np.int64).reshape(-1, 2)


def band_name(band: int) -> str:
    """The column of a band's keys."""
    return f"band_{band:02d}"
