"""The first quality classifier: is the page written, as pages are that an encyclopaedia refers to (paper 3.1.1)?

Its examples are labelled by their layout (`layout.weak_label`), generated tasks by `is_quality_positive`.
"""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from stages.curation import documents
from stages.curation.classification import classifier, layout
from stages.curation.documents import Document
from stages.interface import Section
from stages.tasks import REGISTRY, source_name


class Quality(Section):
    """Model-based quality filtering (3.1.1)."""

    threshold: Annotated[float, Field(ge=0, le=1)]
    """Documents with a lower score are dropped (assumption; the paper gives none)."""

    buckets: list[Literal["general", "math", "code", "multilingual"]]
    """Buckets that the threshold applies to, source files excepted (assumption)."""

    lowest: Annotated[float, Field(ge=0, lt=1)]
    """Multilingual documents below this percentile of their language are dropped (assumption; paper 3.1.1 ranks
    multilingual documents by quality and gives no share)."""


POSITIVE_TASKS = frozenset(source_name(name) for name, task in REGISTRY.items() if task.INFO.is_quality_positive)


def weak_label(document: Document) -> str | None:
    """positive, negative, or None: not a clear example."""
    if documents.is_generated(document["source"]):
        return "positive" if document["source"] in POSITIVE_TASKS else None
    return layout.weak_label(document)


def features(document: Document, options: classifier.Features) -> np.ndarray:
    """Hashed n-grams and layout features; empty if the document has no words."""
    ngrams = classifier.features(document, options)
    if not len(ngrams):
        return ngrams
    return np.concatenate([ngrams, layout.layout_features(document["text"], len(ngrams), options.hash_bits)])
