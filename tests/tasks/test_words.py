"""The words and their translations."""

from stages.tasks.words import COUNTABLE, LANGUAGES, NUMBERS, PLAIN_WORDS, WORDS


def test_every_word_has_a_translation_into_every_language() -> None:
    assert len(WORDS) == 58
    assert all(len(words) == len(LANGUAGES) == 5 and all(words) for words in WORDS.values())
    assert len(NUMBERS) == 12
    assert all(len(plurals) == 5 for _, plurals in COUNTABLE.values())
    assert len(set(PLAIN_WORDS)) == len(PLAIN_WORDS)


def test_no_foreign_word_has_two_english_meanings() -> None:
    meanings: dict[str, set[str]] = {}
    for english, words in WORDS.items():
        for word in words:
            meanings.setdefault(word.lower(), set()).add(english)
    assert {word: found for word, found in meanings.items() if len(found) > 1} == {}
