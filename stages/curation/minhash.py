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


def candidates(signature: np.ndarray, number: int, rows: int) -> np.ndarray:
    """[pairs, 2] sorted indices first < second of documents that agree in at least one band."""
    found = [np.empty(0, np.uint64)]
    for band in range(number):
        part = np.ascontiguousarray(signature[:, band * rows : (band + 1) * rows])
        order, edges = _groups(part)
        sizes = np.diff(edges)
        # Nearly all groups are of one document, most others of two.
        for size in np.unique(sizes[sizes > 1]).tolist():
            starts = edges[:-1][sizes == size]
            members = np.sort(order[starts[:, None] + np.arange(size)], axis=1).astype(np.uint64)
            first, second = np.triu_indices(size, 1)
            found.append((members[:, first] << np.uint64(32) | members[:, second]).ravel())
    pairs = np.unique(np.concatenate(found))
    return np.stack([pairs >> np.uint64(32), pairs & np.uint64(0xFFFFFFFF)], axis=1).astype(np.int64)


def _groups(part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An order of the rows of `part`, [documents, rows], in which equal ones stand together, and where groups begin and
    end in it."""
    keys = np.zeros(len(part), np.uint64)
    for column in part.T:
        keys = (keys ^ column) * np.uint64(0x9E3779B97F4A7C15)
        keys ^= keys >> np.uint64(29)
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    same = np.flatnonzero(keys[1:] == keys[:-1])
    if not (part[order[same]] == part[order[same + 1]]).all():  # unequal rows of one key: sort by the rows themselves
        order = np.lexsort(part.T)
        change = (part[order[1:]] != part[order[:-1]]).any(axis=1)
    else:
        change = np.ones(max(0, len(part) - 1), bool)
        change[same] = False
    return order, np.concatenate([[0], np.flatnonzero(change) + 1, [len(part)]])


def jaccard(first: set[bytes], second: set[bytes]) -> float:
    """Shared shingles by all shingles of two documents."""
    shared = len(first & second)
    return shared / (len(first) + len(second) - shared)


class Clusters:
    """Union-find over document indices."""

    def __init__(self, number: int) -> None:
        self._parent = list(range(number))

    def find(self, index: int) -> int:
        """The smallest index of the cluster."""
        while self._parent[index] != index:
            self._parent[index] = self._parent[self._parent[index]]
            index = self._parent[index]
        return index

    def join(self, first: int, second: int) -> None:
        """Makes two clusters one."""
        low, high = sorted((self.find(first), self.find(second)))
        self._parent[high] = low

    def groups(self) -> list[list[int]]:
        """Clusters of two and more, each sorted, in the order of their first member."""
        members: dict[int, list[int]] = {}
        for index in range(len(self._parent)):
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
