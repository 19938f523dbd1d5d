"""Near-duplicate documents by MinHash and banded LSH, over a whole corpus at once (paper 3.1.1).

The meaning is datasketch's: the same permutations, the same hash values. What differs is that all documents are
worked on together in numpy: signatures of many documents at a time, candidate pairs by sorting each band.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np
import xxhash

WORD = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]|[^\W\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]+")
"""A word; in scripts that write no spaces, a character."""
BLANKED = bytes(byte if chr(byte).isalnum() or byte == ord("_") else ord(" ") for byte in range(128)).ljust(256)
"""Translates the ASCII characters that are in no word to spaces."""
CROWD = 64
"""Members of one band above which not all of their pairs are looked at."""
BLOCK = 1 << 14
"""Shingles worked on at a time: their hashes, twice 64 KB, stay in the nearest caches."""


def shingles(text: str, n: int) -> list[bytes]:
    """Each run of n words of the text, lower-case, joined by spaces; all words where there are fewer than n."""
    lower = text.lower()
    # The same words either way; that for texts in ASCII, which many are, is several times faster.
    ascii_ = lower.isascii()
    words = lower.encode().translate(BLANKED).split() if ascii_ else [word.encode() for word in WORD.findall(lower)]
    if len(words) <= n:
        return [b" ".join(words)]
    return list(map(b" ".join, zip(*(words[start:] for start in range(n)), strict=False)))


def permutations(number: int, seed: int) -> np.ndarray:
    """[2, number] uint32: factors and terms of datasketch's permutations of 32-bit hash values."""
    from datasketch import MinHash  # half a second, and no worker needs it

    return np.stack(MinHash(num_perm=number, seed=seed, scheme="affine32").permutations).astype(np.uint32)


def signatures(documents: Sequence[Sequence[bytes]], permutations: np.ndarray) -> np.ndarray:
    """[documents, permutations] uint32: the `hashvalues` that `MinHash(num_perm=number, seed=seed,
    hashfunc=xxhash.xxh32_intdigest)` has after an update with each shingle, for `permutations(number, seed)`. A
    document has one shingle at least."""
    factors, terms = permutations
    result = np.empty((len(documents), len(factors)), np.uint32)
    for first, last in _blocks([len(document) for document in documents]):
        chunk = documents[first:last]
        lengths = np.array([len(document) for document in chunk])
        digests = map(xxhash.xxh32_intdigest, chain.from_iterable(chunk))
        hashes = _mix(np.fromiter(digests, np.uint32, int(lengths.sum())))
        starts = np.concatenate([[0], np.cumsum(lengths[:-1])])
        values = np.empty_like(hashes)
        for permutation in range(len(factors)):
            np.multiply(hashes, factors[permutation], out=values)
            values += terms[permutation]
            result[first:last, permutation] = np.minimum.reduceat(values, starts)
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
