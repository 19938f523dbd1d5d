"""Would an encyclopaedia refer to this page? A linear classifier's answer, between 0 and 1 (paper 3.1.1)."""

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from stages.curation.classifier import Features, auc, cross_fit, labels_by_source
from stages.curation.documents import Document
from stages.interface import Section


class Quality(Section):
    """Model-based quality filtering (3.1.1)."""

    positive: list[str]
    """Sources whose pages stand for what an encyclopaedia refers to (assumption: weak labels)."""

    negative: list[str]
    """Sources whose pages stand for random pages (assumption)."""

    threshold: Annotated[float, Field(ge=0, le=1)]
    """Documents with a lower score are dropped (assumption; the paper gives none)."""

    buckets: list[str]
    """Buckets in which the threshold holds: code and mathematics have their own measure (assumption)."""


def score(
    matrix: Any, documents: Sequence[Document], options: Quality, features: Features
) -> tuple[np.ndarray, dict[str, Any]]:
    """[documents] scores, and what is known of them: held-out AUC, labels, mean score by source."""
    labels = labels_by_source(documents, {"positive": options.positive, "negative": options.negative})
    classes, probabilities = cross_fit(matrix, documents, labels, features)
    scores = probabilities[:, classes.index("positive")].round(6)
    known = np.array([label is not None for label in labels])
    positive = np.array([label == "positive" for label in labels])
    return scores, {
        "auc": auc(scores[known], positive[known]),
        "positive": int(positive.sum()),
        "negative": int((known & ~positive).sum()),
        "threshold": options.threshold,
    }
