"""Which part of the data mix a document belongs to: general knowledge, mathematics and reasoning, code, or
multilingual (paper 3.1.2). Code and mathematics are found by classifiers, as the paper does (3.1.1)."""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from stages.curation.classifier import Features, auc, cross_fit, labels_by_source
from stages.curation.documents import Document
from stages.interface import Section

BUCKETS = ("general", "math", "code", "multilingual")


class Bucket(Section):
    """Assignment to buckets (3.1.2)."""

    general: list[str]
    """Sources whose pages are examples of general text (assumption: weak labels)."""

    math: list[str]
    """Sources whose pages are examples of mathematics and reasoning (assumption)."""

    code: list[str]
    """Sources whose pages are examples of code (assumption)."""

    english: Annotated[float, Field(ge=0, le=1)]
    """Least probability of a language other than English to call a general document multilingual (assumption)."""


def assign(
    matrix: Any, documents: Sequence[Document], options: Bucket, features: Features
) -> tuple[list[str], dict[str, Any]]:
    """The bucket of each document, and how the cross-fitted classifier fares on the labelled ones.

    Source files are code by their media type; the rest goes to the likeliest of general, math and code, or to general
    where none is more likely than not; of the general documents those in another language are multilingual.
    """
    labels = labels_by_source(documents, {"general": options.general, "math": options.math, "code": options.code})
    classes, probabilities = cross_fit(matrix, documents, labels, features)
    best = [classes[row.argmax()] if row.max() > 0.5 else "general" for row in probabilities]
    buckets = []
    for document, choice in zip(documents, best, strict=True):
        if document["media"] == "code":
            choice = "code"
        elif choice == "general" and document["language"] != "en" and document["language_score"] >= options.english:
            choice = "multilingual"
        buckets.append(choice)
    known = np.array([label is not None for label in labels])
    pairs = Counter(zip(labels, best, strict=True))
    confusion = {true: {name: pairs[true, name] for name in classes} for true in classes}
    areas = {
        name: auc(probabilities[known, column], np.array([label == name for label in labels if label is not None]))
        for column, name in enumerate(classes)
    }
    return buckets, {"confusion": confusion, "auc": areas}
