"""Near-duplicate detection against datasketch as its documentation uses it, and how it finds planted duplicates.

python -m bench.dedup [--large]     # --large also takes 100,000 and 200,000 documents
"""

import argparse
import resource
import time
from collections.abc import Iterator

import numpy as np
import xxhash
from datasketch import MinHash, MinHashLSH

from bench.timing import race, table
from stages.curation import minhash

PERMUTATIONS, THRESHOLD, RECALL_WEIGHT, SEED = 128, 0.8, 0.95, 1
WORDS, VOCABULARY = 144, 30_000
PLANTED = 0.2
"""Share of documents that are edited copies of another."""


def corpus(count: int, seed: int) -> tuple[list[str], list[tuple[int, int]]]:
    """So many documents of words drawn by Zipf's law, and which pairs are planted: a run of the copy's words is
    replaced, by a share that takes the Jaccard similarity of 5-grams from 0.5 to 1."""
    generator = np.random.default_rng(seed)
    weights = 1 / np.arange(1, VOCABULARY + 1)
    draw = generator.choice(VOCABULARY, size=(count, WORDS), p=weights / weights.sum())
    pairs = []
    for copy in range(round((1 - PLANTED) * count), count):
        original = int(generator.integers(0, round((1 - PLANTED) * count)))
        draw[copy] = draw[original]
        length = round(WORDS / 3 * float(generator.random()))
        start = int(generator.integers(0, WORDS - length + 1))
        draw[copy, start : start + length] = generator.choice(VOCABULARY, size=length)
        pairs.append((original, copy))
    return [" ".join(f"w{word}" for word in row) for row in draw], pairs


def loop(shingled: list[list[bytes]], **options: object) -> list[MinHash]:
    """Signatures as datasketch's documentation makes them: an update per shingle."""
    made = []
    for document in shingled:
        signature = MinHash(num_perm=PERMUTATIONS, seed=SEED, **options)
        for shingle in document:
            signature.update(shingle)
        made.append(signature)
    return made


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
    shingled = [minhash.shingles(text, 5) for text in texts]
    count = len(texts)
    fast = race(lambda: minhash.signatures(shingled, PERMUTATIONS, SEED), lambda: loop(shingled))
    yield ("signatures, documents/s", f"{count / fast.ours:,.0f}", f"{count / fast.peer:,.0f}",
           f"{fast.ratio:.0f} (35)")  # fmt: skip
    same = race(
        lambda: minhash.signatures(shingled, PERMUTATIONS, SEED),
        lambda: loop(shingled, hashfunc=xxhash.xxh32_intdigest), rounds=1,
    )  # fmt: skip
    ours, theirs = same.results
    assert all(np.array_equal(row, signature.hashvalues) for row, signature in zip(ours, theirs, strict=True))
    yield ("  the same hash function, equal values", f"{count / same.ours:,.0f}", f"{count / same.peer:,.0f}",
           f"{same.ratio:.0f}")  # fmt: skip
    number, rows = minhash.bands(THRESHOLD, PERMUTATIONS, RECALL_WEIGHT)
    pairs = race(lambda: minhash.candidates(ours, number, rows), lambda: insert_and_query(theirs, number, rows))
    assert {(int(a), int(b)) for a, b in pairs.results[0]} == pairs.results[1]
    yield (f"candidate pairs ({number} x {rows}), documents/s", f"{count / pairs.ours:,.0f}",
           f"{count / pairs.peer:,.0f}", f"{pairs.ratio:.0f} (20), the same pairs")  # fmt: skip


def quality(count: int) -> Iterator[tuple[str, str, str, str]]:
    texts, planted = corpus(count, SEED + 1)
    start = time.perf_counter()
    shingled = [minhash.shingles(text, 5) for text in texts]
    number, rows = minhash.bands(THRESHOLD, PERMUTATIONS, RECALL_WEIGHT)
    found = minhash.candidates(minhash.signatures(shingled, PERMUTATIONS, SEED), number, rows).tolist()
    sets = {index: minhash.shingle_set(shingled[index]) for pair in [*found, *planted] for index in pair}
    verified = {(a, b) for a, b in found if minhash.jaccard(sets[a], sets[b]) >= THRESHOLD}
    seconds = time.perf_counter() - start
    similar = {pair for pair in planted if minhash.jaccard(sets[pair[0]], sets[pair[1]]) >= THRESHOLD}
    recall = len(similar & verified) / len(similar)
    clusters = minhash.Clusters()
    for first, second in verified:
        clusters.join(first, second)
    # Clusters are chains: what is removed need not be similar to what is kept.
    removed = [minhash.jaccard(sets[group[0]], sets[index]) for group in clusters.groups() for index in group[1:]]
    precision = sum(value >= THRESHOLD for value in removed) / len(removed)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    yield (f"{count:,} documents: recall of planted pairs", f"{recall:.4f}", "", "(0.97)")
    yield ("  removed documents that are similar to the kept one", f"{precision:.4f}", "", "(0.99)")
    yield ("  candidates that are similar", f"{len(verified) / len(found):.4f}", "", "the rest is verified away")
    yield ("  from text to verified pairs, seconds", f"{seconds:.1f}", "", f"peak {memory:,.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.dedup", description=__doc__.split("\n")[0])
    parser.add_argument("--large", action="store_true", help="also 100,000 and 200,000 documents")
    large = parser.parse_args().large
    rows = [*speed()]
    for count in (20_000, 100_000, 200_000) if large else (20_000,):
        rows += quality(count)
    table(rows)


if __name__ == "__main__":
    main()
