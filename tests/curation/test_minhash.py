"""MinHash signatures and bands are those of datasketch."""

import random

import numpy as np
import pytest
import xxhash
from datasketch import MinHash, MinHashLSH

from stages.curation.deduplication import minhash, shingles
from tests.curation.duplicates import near_copies, random_text


@pytest.mark.parametrize(("permutations", "seed"), [(128, 1), (64, 7), (16, 3)])
def test_signatures_equal_datasketch(permutations: int, seed: int) -> None:
    generator = random.Random(seed)
    texts = [" ".join(words) for words in near_copies(50, seed)] + [random_text(generator) for _ in range(60)]
    cut = shingles.make_shingles(["", " \n", "ünïcode 東京", *texts], 5)
    shingled = cut.lists()
    assert shingled[0] == shingled[1] == [b""]  # no word at all is one shingle: such documents are alike
    assert min(map(len, shingled)) == 1 and max(map(len, shingled)) > 200
    found = minhash.signatures(cut.hashes(), cut.offsets, minhash.permutations(permutations, seed))
    for row, each in zip(found, shingled, strict=True):
        reference = MinHash(num_perm=permutations, seed=seed, hashfunc=xxhash.xxh32_intdigest)
        for shingle in each:
            reference.update(shingle)
        assert np.array_equal(row, reference.hashvalues)


def test_candidates_are_the_pairs_of_datasketch_lsh() -> None:
    cut = shingles.make_shingles([" ".join(words) for words in near_copies(300, 5)], 3)
    signatures = minhash.signatures(cut.hashes(), cut.offsets, minhash.permutations(128, 1))
    number, rows = minhash.bands(0.7, 128, 0.5)
    index = MinHashLSH(num_perm=128, params=(number, rows))
    sketches = [MinHash(hashvalues=row, seed=1, scheme="affine32") for row in signatures]
    for key, sketch in enumerate(sketches):
        index.insert(key, sketch)
    expected = {
        tuple(sorted((key, int(other)))) for key, sketch in enumerate(sketches) for other in index.query(sketch)
    }
    expected = {pair for pair in expected if pair[0] != pair[1]}
    assert {tuple(pair) for pair in minhash.candidate_pairs(signatures, number, rows).tolist()} == expected
    assert len(expected) > 50
