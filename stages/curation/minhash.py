"""Near-duplicate documents by MinHash and banded LSH, over a whole corpus at once (paper 3.1.1).

The meaning is datasketch's: the same permutations, the same hash values. What differs is that all documents are
worked on together in numpy: signatures of many documents at a time, candidate pairs by sorting each band.
"""

import re
from collections.abc import Iterator, Sequence

import numpy as np
import xxhash
from datasketch import MinHash, MinHashLSH

WORD = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]|[^\W\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]+")
"""A word; in scripts that write no spaces, a character."""
CROWD = 64
"""Members of one band above which not all of their pairs are looked at."""
BLOCK = 1 << 15
"""Shingles worked on at a time: with 128 permutations, 16 MB, which stays near the processor."""


def shingles(text: str, n: int) -> list[bytes]:
    """Each run of n words of the text, lower-case, joined by spaces; all words where there are fewer than n."""
    words = [word.encode() for word in WORD.findall(text.lower())]
    joined = b" ".join(words)
    if len(words) <= n:
        return [joined]
    ends = np.cumsum([len(word) + 1 for word in words])
    starts = [0, *ends[:-n].tolist()]
    return [joined[start:end] for start, end in zip(starts, (ends[n - 1 :] - 1).tolist(), strict=True)]


def signatures(documents: Sequence[Sequence[bytes]], permutations: int, seed: int) -> np.ndarray:
    """[documents, permutations] uint32: the `hashvalues` that `MinHash(num_perm=permutations, seed=seed,
    hashfunc=xxhash.xxh32_intdigest)` has after an update with each shingle. A document has one shingle at least."""
    a, b = MinHash(num_perm=permutations, seed=seed, scheme="affine32").permutations
    a, b = a.astype(np.uint32), b.astype(np.uint32)
    result = np.empty((len(documents), permutations), np.uint32)
    for first, last in _blocks([len(document) for document in documents]):
        chunk = documents[first:last]
        lengths = np.array([len(document) for document in chunk])
        digests = (xxhash.xxh32_intdigest(shingle) for document in chunk for shingle in document)
        hashes = _mix(np.fromiter(digests, np.uint32, int(lengths.sum())))
        starts = np.concatenate([[0], np.cumsum(lengths[:-1])])
        for permutation in range(permutations):
            values = hashes * a[permutation]
            values += b[permutation]
            result[first:last, permutation] = np.minimum.reduceat(values, starts)
    return result


def bands(threshold: float, permutations: int, recall_weight: float) -> tuple[int, int]:
    """Number of bands and rows per band that datasketch's LSH takes for a Jaccard threshold."""
    index = MinHashLSH(threshold=threshold, num_perm=permutations, weights=(1 - recall_weight, recall_weight))
    return index.b, index.r


def band_keys(signature: np.ndarray, number: int, rows: int) -> np.ndarray:
    """[bands, documents] uint64: equal where the band of two signatures is (unequal bands collide once in 2^64, and
    candidates are verified)."""
    keys = np.zeros((number, len(signature)), np.uint64)
    for band, row in enumerate(keys):
        for column in np.ascontiguousarray(signature[:, band * rows : (band + 1) * rows].T):
            row ^= column
            row *= np.uint64(0x9E3779B97F4A7C15)
            row ^= row >> np.uint64(29)
    return keys


def pairs(keys: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Packed pairs (see `pack`) of the documents that share a key; keys: [n] uint64, numbers: [n], ascending.

    In a group of more than CROWD each is paired with the first and with its neighbour only: all pairs of a page that
    is there a hundred thousand times would be five billion.
    """
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    edges = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1], [True]]))
    sizes = np.diff(edges)
    found = [np.empty(0, np.uint64)]
    # Nearly all groups are of one document, most others of two. The sort is stable, so members ascend.
    for size in np.unique(sizes[sizes > 1]).tolist():
        members = numbers[order[edges[:-1][sizes == size][:, None] + np.arange(size)]]
        if size > CROWD:
            first = np.concatenate([np.zeros(size - 1, int), np.arange(1, size - 1)])
            second = np.concatenate([np.arange(1, size), np.arange(2, size)])
        else:
            first, second = np.triu_indices(size, 1)
        found.append(pack(members[:, first], members[:, second]).ravel())
    return np.unique(np.concatenate(found))


def candidates(signature: np.ndarray, number: int, rows: int) -> np.ndarray:
    """[pairs, 2] indices first < second, sorted, of documents that agree in at least one band."""
    numbers = np.arange(len(signature))
    return unpack(np.unique(np.concatenate([pairs(keys, numbers) for keys in band_keys(signature, number, rows)])))


def pack(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Pairs of numbers below 2^32 as one uint64 each, in their order."""
    return first.astype(np.uint64) << np.uint64(32) | second.astype(np.uint64)


def unpack(packed: np.ndarray) -> np.ndarray:
    """[pairs, 2] of what `pack` made."""
    return np.stack([packed >> np.uint64(32), packed & np.uint64(0xFFFFFFFF)], axis=-1).astype(np.int64)


def shingle_set(document: Sequence[bytes]) -> np.ndarray:
    """Sorted distinct 64-bit hashes of a document's shingles."""
    hashes = np.fromiter(map(xxhash.xxh64_intdigest, document), np.uint64, len(document))
    return np.unique(hashes)


def jaccard(first: np.ndarray, second: np.ndarray) -> float:
    """Shared shingles by all shingles of two documents' shingle sets."""
    shared = len(np.intersect1d(first, second, assume_unique=True))
    return shared / (len(first) + len(second) - shared)


class Clusters:
    """Union-find over the documents that were ever joined."""

    def __init__(self) -> None:
        self._parent: dict[int, int] = {}

    def find(self, index: int) -> int:
        """The smallest index of the cluster."""
        while (parent := self._parent.get(index, index)) != index:
            self._parent[index] = index = self._parent.get(parent, parent)
        return index

    def join(self, first: int, second: int) -> None:
        """Makes two clusters one."""
        low, high = sorted((self.find(first), self.find(second)))
        self._parent.setdefault(low, low)
        self._parent[high] = low

    def groups(self) -> list[list[int]]:
        """Clusters of two and more, each sorted, in the order of their first member."""
        members: dict[int, list[int]] = {}
        for index in sorted(self._parent):
            members.setdefault(self.find(index), []).append(index)
        return [group for group in members.values() if len(group) > 1]


def _mix(hashes: np.ndarray) -> np.ndarray:
    """MurmurHash3's 32-bit finaliser, with which datasketch mixes hash values before it permutes them."""
    hashes = hashes ^ (hashes >> np.uint32(16))
    hashes *= np.uint32(0x85EBCA6B)
    hashes ^= hashes >> np.uint32(13)
    hashes *= np.uint32(0xC2B2AE35)
    hashes ^= hashes >> np.uint32(16)
    return hashes


def _blocks(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Ranges of documents that hold about BLOCK shingles each."""
    first = room = 0
    for index, length in enumerate(lengths):
        if room and room + length > BLOCK:
            yield first, index
            first, room = index, 0
        room += length
    if first < len(lengths):
        yield first, len(lengths)
