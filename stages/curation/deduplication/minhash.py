"""Near-duplicate documents by MinHash and banded LSH, over a whole corpus at once (paper 3.1.1).

Results equal datasketch's: the same permutations of the same hash values, mixed by MurmurHash3's finalizer. But many
documents are processed together: signatures in a compiled loop, candidate pairs by sorting each band.
"""

from collections.abc import Sequence

import numpy as np
from numba import njit

MAX_GROUP = 64
"""Documents with the same key of which all pairs are candidates."""


def permutations(number: int, seed: int) -> np.ndarray:
    """[2, number] uint32: multipliers and offsets of datasketch's permutations of 32-bit hash values."""
    from datasketch import MinHash  # takes half a second, and workers do not need it

    return np.stack(MinHash(num_perm=number, seed=seed, scheme="affine32").permutations).astype(np.uint32)


@njit(cache=True)
def signatures(hashes: np.ndarray, offsets: np.ndarray, permutations: np.ndarray) -> np.ndarray:  # pragma: no cover
    """[documents, permutations] uint32: the `hashvalues` that `MinHash(num_perm=number, seed=seed,
    hashfunc=xxhash.xxh32_intdigest)` has after an update with each shingle, for `permutations(number, seed)`.

    `hashes`: [shingles] uint32, XXH32 of each; `offsets`: [documents + 1], number of each document's first.
    """
    multipliers, addends = permutations[0], permutations[1]
    result = np.full((len(offsets) - 1, len(multipliers)), np.uint32(0xFFFFFFFF), np.uint32)
    for document in range(len(result)):
        signature = result[document]
        for hash in hashes[offsets[document] : offsets[document + 1]]:
            mixed = np.uint32((hash ^ (hash >> 16)) * np.uint32(0x85EBCA6B))
            mixed = np.uint32((mixed ^ (mixed >> 13)) * np.uint32(0xC2B2AE35))
            mixed = np.uint32(mixed ^ (mixed >> 16))
            for permutation in range(len(multipliers)):
                value = np.uint32(mixed * multipliers[permutation] + addends[permutation])
                signature[permutation] = min(signature[permutation], value)
    return result


def bands(threshold: float, permutations: int, recall_weight: float) -> tuple[int, int]:
    """Number of bands and rows per band that datasketch's LSH chooses for a Jaccard threshold."""
    from datasketch import MinHashLSH

    index = MinHashLSH(threshold=threshold, num_perm=permutations, weights=(1 - recall_weight, recall_weight))
    return index.b, index.r


def band_keys(signature: np.ndarray, number: int, rows: int) -> np.ndarray:
    """[bands, documents] uint64: equal if the band of two signatures is equal (unequal bands collide once in 2^64, and
    candidates are verified)."""
    keys = np.zeros((number, len(signature)), np.uint64)
    for band, row in enumerate(keys):
        for column in np.ascontiguousarray(signature[:, band * rows : (band + 1) * rows].T):
            row ^= column
            row *= np.uint64(0x9E3779B97F4A7C15)
            row ^= row >> np.uint64(29)
    return keys


def pairs_with_equal_keys(keys: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Packed pairs (see `pack`) of the documents that share a key, sorted; keys: [n] uint64, numbers: [n], ascending.

    In a group of more than MAX_GROUP each document is paired with the first and with its neighbour only: a page that
    occurs a hundred thousand times has five billion pairs.
    """
    order, repeated = _sort_keys(keys)
    # Nearly all keys have one document; only the others are processed, by group size.
    edges = (
        np.flatnonzero(np.concatenate([[True], np.diff(repeated) > 1, [True]])) if len(repeated) else np.empty(0, int)
    )
    firsts, sizes = repeated[edges[:-1]], np.diff(edges) + 1
    found = [np.empty(0, np.uint64)]
    for size in np.unique(sizes).tolist():
        members = numbers[order[firsts[sizes == size][:, None] + np.arange(size)]]
        if size > MAX_GROUP:
            first = np.concatenate([np.zeros(size - 1, int), np.arange(1, size - 1)])
            second = np.concatenate([np.arange(1, size), np.arange(2, size)])
        else:
            first, second = np.triu_indices(size, 1)
        found.append(pack(members[:, first], members[:, second]).ravel())
    return np.sort(np.concatenate(found))


def candidate_pairs(signature: np.ndarray, number: int, rows: int) -> np.ndarray:
    """[pairs, 2] sorted indices first < second of documents that share at least one band."""
    numbers = np.arange(len(signature))
    return unpack(distinct([pairs_with_equal_keys(keys, numbers) for keys in band_keys(signature, number, rows)]))


def distinct(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """The sorted distinct values of all arrays."""
    values = np.sort(np.concatenate(arrays))
    return values[np.concatenate([[True], values[1:] != values[:-1]])] if len(values) else values


def pack(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Pairs of numbers below 2^32 as one uint64 each; keeps their order."""
    return first.astype(np.uint64) << np.uint64(32) | second.astype(np.uint64)


def unpack(packed: np.ndarray) -> np.ndarray:
    """[pairs, 2] numbers from the result of `pack`."""
    return np.stack([packed >> np.uint64(32), packed & np.uint64(0xFFFFFFFF)], axis=-1).astype(np.int64)


def _sort_keys(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A stable order of the keys, and the positions in that order whose key equals the next one."""
    # Puts the position into the low bits of the key: a plain sort is several times faster than a stable argsort.
    low = np.uint64((1 << len(keys).bit_length()) - 1)
    packed = keys & ~low
    packed |= np.arange(len(keys), dtype=np.uint64)
    packed.sort()
    order = (packed & low).astype(np.int64)
    packed &= ~low
    repeated = np.flatnonzero(packed[1:] == packed[:-1])
    if np.array_equal(keys[order[repeated]], keys[order[repeated + 1]]):
        return order, repeated
    order = np.argsort(keys, kind="stable")  # two different keys differ in their low bits only
    return order, np.flatnonzero(keys[order[1:]] == keys[order[:-1]])
