"""Finds near-duplicate documents of a corpus, within each language, in bounded memory (paper 3.1.1, global MinHash).

1. The signature of each document is split into bands; `catalog` has one column of keys per band.
2. One task per band, or per range of its keys if memory is short, reads that column of all shards: documents with equal
   keys are candidates. Each task writes them to a file; one task per range of pairs merges these files.
3. Candidates are verified by the exact Jaccard similarity of their shingles and joined to clusters. Of each cluster the
   newest, then longest, document is kept; of a chain whose ends are not similar, more than one.

A task holds a range of keys, a range of pairs or a column of one shard. One process holds two 8-byte numbers and the
columns of clusters.parquet for each document that has a near-duplicate.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import pyarrow as pa
from pydantic import Field

from stages.curation.deduplication import clusters, minhash, similarity
from stages.curation.deduplication.catalog import Table, num_parts
from stages.interface import Context, Metrics, Section

SAMPLE_STRIDE = 64
"""One candidate in this many is used to choose the ranges."""


class MinHashOptions(Section):
    """MinHash and LSH (3.1.1: global MinHash, without parameters)."""

    shingle: Annotated[int, Field(ge=1)]
    """Words per shingle (assumption)."""

    permutations: Annotated[int, Field(ge=2)]
    """Length of a signature (assumption)."""

    threshold: Annotated[float, Field(gt=0, le=1)]
    """Minimum Jaccard similarity of near-duplicates (assumption)."""

    recall_weight: Annotated[float, Field(gt=0, lt=1)]
    """Weight of false negatives against false positives in the choice of bands; candidates are verified, so false
    positives cost time only (assumption)."""


class NearDuplicates(NamedTuple):
    """Documents to remove, the members of each cluster, and metrics."""

    removed: np.ndarray
    """Numbers of the documents to remove, ascending."""
    members: pa.Table
    metrics: Metrics


class BandRange(NamedTuple):
    """A range of the keys of one band."""

    keys: Table
    removed: Table
    band: int
    part: int
    num_parts: int

    @property
    def output(self) -> Path:
        """Path of the packed pairs."""
        return self.keys.directory / f"band-{self.band:03d}-{self.part:05d}.npy"


class PairRange(NamedTuple):
    """The packed candidates of all bands in [low, high)."""

    bands: list[Path]
    low: int
    high: int
    output: Path


def find_near_duplicates(
    files: Sequence[Path],
    catalog: Table,
    keys: Table,
    removed: Table,
    bands: tuple[int, int],
    options: MinHashOptions,
    memory_mb: int,
    context: Context,
) -> NearDuplicates:
    """Finds near-duplicates among the documents that are not `removed`. `files`: the shards in the catalog's order;
    `bands`: number of bands and rows per band."""
    parts = num_parts(keys.num_rows, memory_mb)
    band_ranges = [BandRange(keys, removed, band, part, parts) for band in range(bands[0]) for part in range(parts)]
    context.map("bands", write_band_pairs, band_ranges, kind="process")
    ranges = split_candidates([work.output for work in band_ranges], catalog.directory)
    num_candidates = context.map("candidates", merge_candidates, ranges, kind="process")
    planted = planted_pairs(catalog, removed)
    candidate_files = [work.output for work in ranges]
    planted_file = similarity.save_pairs(catalog.directory / "planted.npy", planted)

    sets = [
        similarity.ShingleSets(path, shard, catalog, [*candidate_files, planted_file], options.shingle)
        for shard, path in enumerate(files)
    ]
    context.map("shingle sets", similarity.write_sets, sets, kind="process")

    def comparisons(files: Sequence[Path]) -> list[similarity.Comparison]:
        return [similarity.Comparison(path, catalog, options.threshold) for path in files]

    verified = context.map("verify", verify, comparisons(candidate_files), kind="process")
    edges = np.concatenate([np.empty((0, 2), np.int64), *(edges for _, edges in verified)])
    components = clusters.connected_components(edges)
    ranked = clusters.rank_members(catalog, components)

    def are_similar(pairs: np.ndarray) -> np.ndarray:
        """[pairs] bool: whether the two documents of each pair are similar."""
        starts = range(0, len(pairs), similarity.PAIRS_PER_TASK)
        chunks = [
            similarity.save_pairs(
                catalog.directory / f"removed-{start}.npy", pairs[start : start + similarity.PAIRS_PER_TASK]
            )
            for start in starts
        ]
        results = context.map("compare", similarity.compare, comparisons(chunks), kind="process")
        return np.concatenate([np.empty(0, bool), *results])

    removed_pairs, is_similar = choose_removed(ranked, candidate_files, are_similar)
    members = clusters.members_table(ranked, removed_pairs)
    planted_similar = similarity.compare(*comparisons([planted_file]))
    is_removed = np.isin(planted, removed_pairs[:, 0]).any(axis=1)
    num_found = int((components.are_together(planted) & is_removed)[planted_similar].sum())
    return NearDuplicates(
        removed_pairs[:, 0],
        members,
        {
            "bands": bands[0],
            "rows": bands[1],
            "candidate_pairs": sum(num_candidates),
            "verified_pairs": sum(count for count, _ in verified),
            "clusters": members.num_rows - len(removed_pairs),
            "removed": len(removed_pairs),
            "removed_similar": int(is_similar.sum()),
            "planted": {
                "pairs": len(planted),
                "similar": int(planted_similar.sum()),
                "found": num_found,
                "recall": num_found / int(planted_similar.sum()) if planted_similar.any() else None,
            },
        },
    )


def choose_removed(
    ranked: pa.Table, candidates: Sequence[Path], are_similar: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """[removed, 2] numbers of removed documents, ascending, and of those kept for them; [removed] bool: whether the two
    are similar.

    The best of a cluster is kept; if a member is not similar to it, `clusters.keep_dissimilar` decides.
    """
    removed = clusters.keep_best(ranked)
    is_similar = are_similar(removed)
    if is_similar.all():
        return removed, is_similar
    numbers, roots = ranked["number"].to_numpy(), ranked["root"].to_numpy()
    is_chain = np.isin(roots, roots[np.isin(numbers, removed[~is_similar, 0])])
    in_chains = np.sort(numbers[is_chain])
    similar_pairs = [removed[is_similar & np.isin(removed[:, 0], in_chains)]]
    for path in candidates:
        similar = np.load(similar_path(path), mmap_mode="r")
        similar_pairs.append(similar[np.isin(similar[:, 0], in_chains)])
    from_chains = clusters.keep_dissimilar(ranked.filter(pa.array(is_chain)), np.concatenate(similar_pairs))
    others = removed[~np.isin(removed[:, 0], in_chains)]  # all similar, as compared above
    is_similar = np.concatenate([np.ones(len(others), bool), are_similar(from_chains)])
    removed = np.concatenate([others, from_chains])
    order = np.argsort(removed[:, 0])
    return removed[order], is_similar[order]


def write_band_pairs(work: BandRange) -> None:
    """Writes the sorted packed pairs of documents with equal keys of the band."""
    numbers, keys = work.keys.keys_in_range(band_column(work.band), work.part, work.num_parts, work.removed)
    np.save(work.output, minhash.pairs_with_equal_keys(keys, numbers))


def split_candidates(bands: list[Path], directory: Path) -> list[PairRange]:
    """Ranges of packed pairs with about PAIRS_PER_TASK pairs each."""
    files = [np.load(path, mmap_mode="r") for path in bands]
    sample = minhash.distinct([packed[::SAMPLE_STRIDE] for packed in files])
    num_ranges = -(-sum(len(packed) for packed in files) // similarity.PAIRS_PER_TASK) or 1
    edges = minhash.distinct([sample[len(sample) * np.arange(1, num_ranges) // num_ranges]]).tolist()
    lows = [0, *edges]
    return [
        PairRange(bands, low, high, directory / f"candidates-{n:05d}.npy")
        for n, (low, high) in enumerate(zip(lows, [*edges, 1 << 64], strict=True))
    ]


def merge_candidates(work: PairRange) -> int:
    """Writes the distinct candidates of a range, and returns their number."""
    parts = []
    for path in work.bands:
        packed = np.load(path, mmap_mode="r")
        first = np.searchsorted(packed, np.uint64(work.low))
        last = np.searchsorted(packed, np.uint64(work.high)) if work.high < 1 << 64 else len(packed)
        parts.append(packed[first:last])
    candidates = minhash.distinct(parts)
    similarity.save_pairs(work.output, minhash.unpack(candidates))
    return len(candidates)


def verify(work: similarity.Comparison) -> tuple[int, np.ndarray]:
    """Writes the similar candidates; returns their number, and [edges, 2] the fewest pairs that connect them."""
    similar = np.load(work.source)[similarity.compare(work)]
    np.save(similar_path(work.source), similar)
    return len(similar), clusters.connected_components(similar).edges


def similar_path(candidates: Path) -> Path:
    """Path of the similar pairs of a file of candidates."""
    return candidates.with_suffix(".similar.npy")


def planted_pairs(catalog: Table, removed: Table) -> np.ndarray:
    """[pairs, 2] numbers of original and planted copy, if neither is removed."""
    copies: list[int] = []
    sources: list[int] = []
    originals: dict[int, int] = {}
    for shard, start in enumerate(catalog.starts[:-1]):
        keys = catalog.read_shard(shard, ["planted_key"])["planted_key"].to_numpy()
        rows = catalog.remaining_rows(shard, np.flatnonzero(keys), removed)
        copies += (rows + start).tolist()
        sources += keys[rows].tolist()
    source_keys = np.array(sources, np.uint64)
    for shard, start in enumerate(catalog.starts[:-1]):
        keys = catalog.read_shard(shard, ["url_key"])["url_key"].to_numpy()
        rows = catalog.remaining_rows(shard, np.flatnonzero(np.isin(keys, source_keys)), removed)
        originals |= dict(zip(keys[rows].tolist(), (rows + start).tolist(), strict=True))
    pairs = [(originals[key], copy) for key, copy in zip(sources, copies, strict=True) if key in originals]
    return np.array(pairs, np.int64).reshape(-1, 2)


def band_column(band: int) -> str:
    """Name of the column of a band's keys."""
    return f"band_{band:02d}"
