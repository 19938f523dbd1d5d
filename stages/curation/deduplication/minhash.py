"""Near-duplicate documents by MinHash and banded LSH, over a whole corpus at once (paper 3.1.1).

The meaning is datasketch's: the same permutations, the same hash values, which it mixes by MurmurHash3's finaliser
before it permutes them. What differs is that many documents are worked on together: signatures in a compiled loop,
candidate pairs by sorting each band.
"""

from collections.abc import Sequence

import numpy as np
from numba import njit

CROWD = 64
"""Members of one band above which not all of their pairs are looked at."""


def permutations(number: int, seed: int) -> np.ndarray:
    """[2, number] uint32: factors and terms of datasketch's permutations of 32-bit hash values."""
    from datasketch import MinHash  # half a second, and no worker needs it

    return np.stack(MinHash(num_perm=number, seed=seed, scheme="affine32").permutations).astype(np.uint32)


@njit(cache=True)
def signatures(hashes: np.ndarray, offsets: np.ndarray, permutations: np.ndarray) -> np.ndarray:  # pragma: no cover
    """[documents, permutations] uint32: the `hashvalues` that `MinHash(num_perm=number, seed=seed,
    hashfunc=xxhash.xxh32_intdigest)` has after an update with each shingle, for `permutations(number, seed)`.

    `hashes`: [shingles] uint32, XXH32 of each; `offsets`: [documents + 1], number of each document's first.
    """
    factors, terms = permutations[0], permutations[1]
    result = np.full((len(offsets) - 1, len(factors)), np.uint32(0xFFFFFFFF), np.uint32)
    for document in range(len(result)):
        least = result[document]
        for hash in hashes[offsets[document] : offsets[document + 1]]:
            mixed = np.uint32((hash ^ (hash >> 16)) * np.uint32(0x85EBCA6B))
            mixed = np.uint32((mixed ^ (mixed >> 13)) * np.uint32(0xC2B2AE35))
            mixed = np.uint32(mixed ^ (mixed >> 16))
            for permutation in range(len(factors)):
                value = np.uint32(mixed * factors[permutation] + terms[permutation])
                least[permutation] = min(least[permutation], value)
    return result


def bands(threshold: float, permutations: int, recall_weight: float) -> tuple[int, int]:
    """Number of bands and rows per band that datasketch's LSH takes for a Jaccard threshold."""
    from datasketch import MinHashLSH

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
    """Packed pairs (see `pack`) of the documents that share a key, sorted; keys: [n] uint64, numbers: [n], ascending.

    In a group of more than CROWD each is paired with the first and with its neighbour only: all pairs of a page that
    is there a hundred thousand times would be five billion.
    """
    order, close = _neighbours(keys)
    # Nearly all keys have one document and most others two; only these others are looked at.
    edges = np.flatnonzero(np.concatenate([[True], np.diff(close) > 1, [True]])) if len(close) else np.empty(0, int)
    firsts, sizes = close[edges[:-1]], np.diff(edges) + 1
    found = [np.empty(0, np.uint64)]
    for size in np.unique(sizes).tolist():
        members = numbers[order[firsts[sizes == size][:, None] + np.arange(size)]]
        if size > CROWD:
            first = np.concatenate([np.zeros(size - 1, int), np.arange(1, size - 1)])
            second = np.concatenate([np.arange(1, size), np.arange(2, size)])
        else:
            first, second = np.triu_indices(size, 1)
        found.append(pack(members[:, first], members[:, second]).ravel())
    return np.sort(np.concatenate(found))


def candidates(signature: np.ndarray, number: int, rows: int) -> np.ndarray:
    """[pairs, 2] indices first < second, sorted, of documents that agree in at least one band."""
    numbers = np.arange(len(signature))
    return unpack(distinct([pairs(keys, numbers) for keys in band_keys(signature, number, rows)]))


def distinct(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """The values of all arrays, each once, sorted."""
    values = np.sort(np.concatenate(arrays))
    return values[np.concatenate([[True], values[1:] != values[:-1]])] if len(values) else values


def pack(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Pairs of numbers below 2^32 as one uint64 each, in their order."""
    return first.astype(np.uint64) << np.uint64(32) | second.astype(np.uint64)


def unpack(packed: np.ndarray) -> np.ndarray:
    """[pairs, 2] of what `pack` made."""
    return np.stack([packed >> np.uint64(32), packed & np.uint64(0xFFFFFFFF)], axis=-1).astype(np.int64)


def _neighbours(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An order in which equal keys stand together, by place among themselves, and the places in that order whose key
    is that of the next place."""
    # The place in the low bits of the key: a plain sort, which is several times faster, does for a stable argsort.
    low = np.uint64((1 << len(keys).bit_length()) - 1)
    packed = keys & ~low
    packed |= np.arange(len(keys), dtype=np.uint64)
    packed.sort()
    order = (packed & low).astype(np.int64)
    packed &= ~low
    close = np.flatnonzero(packed[1:] == packed[:-1])
    if np.array_equal(keys[order[close]], keys[order[close + 1]]):
        return order, close
    order = np.argsort(keys, kind="stable")  # two keys differ in their low bits only
    return order, np.flatnonzero(keys[order[1:]] == keys[order[:-1]])
