"""How a response is compared with a reference answer."""

import re
from difflib import SequenceMatcher


def normalize_answer(text: str) -> str:
    """The text in lower case, without outer space, quotes and final full stop, and with single inner spaces."""
    text = re.sub(r"\s+", " ", text).strip()
    return text.strip("\"'`").rstrip(".").strip().lower()


def character_similarity(response: str, answer: str) -> float:
    """Similarity of two normalized texts in [0, 1]: twice the number of matching characters over all characters."""
    # SequenceMatcher takes quadratic time; a response of four times the answer's length is wrong enough.
    return SequenceMatcher(None, response[: 4 * len(answer) + 8], answer, autojunk=False).ratio()


def contains_phrase(text: str, phrase: str) -> bool:
    """True if `text` contains the words of `phrase` in a row, in any case."""
    return re.search(rf"(?<!\w){re.escape(phrase.lower())}(?!\w)", text.lower()) is not None
