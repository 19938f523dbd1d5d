"""Benchmarks signatures and candidate pairs against datasketch as in its documentation; whole stage: dedup_stage.

python -m bench.dedup
"""

from collections.abc import Iterator

import numpy as np
import xxhash
from datasketch import MinHash, MinHashLSH

from bench.corpus import corpus
from bench.timing import race, table
from stages.curation.deduplication import minhash, shingles

PERMUTATIONS, THRESHOLD, RECALL_WEIGHT, SEED = 128, 0.8, 0.95, 1


def datasketch_signatures(shingled: list[list[bytes]], **options: object) -> list[MinHash]:
    """Signatures as in datasketch's documentation: one update per shingle."""
    signatures = []
    for document in shingled:
        signature = MinHash(num_perm=PERMUTATIONS, seed=SEED, **options)
        for shingle in document:
            signature.update(shingle)
        signatures.append(signature)
    return signatures


def insert_and_query(signatures: list[MinHash], number: int, rows: int) -> set[tuple[int, int]]:
    """Candidate pairs as datasketch finds them."""
    index = MinHashLSH(num_perm=PERMUTATIONS, params=(number, rows))
    for key, signature in enumerate(signatures):
        index.insert(key, signature)
    return {
        (min(key, other), max(key, other))
        for key, signature in enumerate(signatures)
        for other in index.query(signature)
        if other != key
    }


def speed() -> Iterator[tuple[str, str, str, str]]:
    texts, _ = corpus(2_000, SEED)
    shingled = shingles.make_shingles(texts, 5).lists()
    permutations = minhash.permutations(PERMUTATIONS, SEED)
    count = len(texts)

    def ours() -> np.ndarray:
        """Starts from the texts; datasketch gets ready shingles."""
        cut = shingles.make_shingles(texts, 5)
        return minhash.signatures(cut.hashes(), cut.offsets, permutations)

    ours()  # compiles
    fast = race(ours, lambda: datasketch_signatures(shingled))
    yield (
        "signatures, documents/s",
        f"{count / fast.ours:,.0f}",
        f"{count / fast.peer:,.0f}",
        f"{fast.ratio:.0f} (35)",
    )
    same = race(ours, lambda: datasketch_signatures(shingled, hashfunc=xxhash.xxh32_intdigest), rounds=1)
    made, theirs = same.results
    assert all(np.array_equal(row, signature.hashvalues) for row, signature in zip(made, theirs, strict=True))
    yield (
        "  the same hash function, equal values",
        f"{count / same.ours:,.0f}",
        f"{count / same.peer:,.0f}",
        f"{same.ratio:.0f}",
    )
    number, rows = minhash.bands(THRESHOLD, PERMUTATIONS, RECALL_WEIGHT)
    pairs = race(lambda: minhash.candidate_pairs(made, number, rows), lambda: insert_and_query(theirs, number, rows))
    assert {(int(a), int(b)) for a, b in pairs.results[0]} == pairs.results[1]
    yield (
        f"candidate pairs ({number} x {rows}), documents/s",
        f"{count / pairs.ours:,.0f}",
        f"{count / pairs.peer:,.0f}",
        f"{pairs.ratio:.0f} (20), the same pairs",
    )


def main() -> None:
    table([*speed()])


if __name__ == "__main__":
    main()
