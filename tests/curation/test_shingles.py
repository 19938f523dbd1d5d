"""Shingles of words and of scripts without spaces."""

import random
import re

import xxhash

from stages.curation.deduplication import shingles
from tests.curation.duplicates import random_text


def shingles_by_hand(body: str, n: int) -> list[bytes]:
    """What `shingles.make_shingles` has to give, a word at a time."""
    words = re.findall(rf"[{shingles.UNSPACED_SCRIPTS}]|[^\W{shingles.UNSPACED_SCRIPTS}]+", body.lower())
    return [" ".join(words[start : start + n]).encode() for start in range(max(1, len(words) - n + 1))]


def test_shingles_of_words_and_of_scripts_without_spaces() -> None:
    examples = ["A b, C d!", "one two", "東京は", ""]
    assert shingles.make_shingles(examples, 3).lists() == [
        [b"a b c", b"b c d"],
        [b"one two"],
        ["東 京 は".encode()],
        [b""],
    ]
    generator = random.Random(4)
    texts = [random_text(generator) for _ in range(300)] + ["İstanbul ΣΑΣ ß_1", "x" * 10_000]
    cut = shingles.make_shingles(texts, 2)
    assert cut.lists() == [shingles_by_hand(body, 2) for body in texts]
    assert len(shingles.make_shingles([], 2).lists()) == 0
    each = [shingle for document in cut.lists() for shingle in document]
    for seed in (0, 1):
        assert cut.hashes(seed).tolist() == [xxhash.xxh32_intdigest(shingle, seed) for shingle in each]
