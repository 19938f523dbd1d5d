"""Dirty words."""

from tests.curation.limits import DIRTY


def test_dirty_words_count_whole_words_and_phrases() -> None:
    assert DIRTY.count("Smut, smutty filth and a DIRTY phrase. A dirty phrases.") == 3
    many = "smut " * 3 + "word " * 97
    assert DIRTY.find_reason(many, 2, 5) == "dirty words"
    assert DIRTY.find_reason(many, 3, 5) is None and DIRTY.find_reason(many, 2, 30) is None
