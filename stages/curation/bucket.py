"""Which part of the data mix a document belongs to: general knowledge, mathematics and reasoning, code, or
multilingual (paper 3.1.2). Code and mathematics are found by classifiers, as the paper does (3.1.1)."""

from typing import Annotated

import numpy as np
from pydantic import Field

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


def likeliest(classes: list[str], probabilities: np.ndarray) -> str:
    """The likeliest of general, math and code, or general where none is more likely than not."""
    return classes[probabilities.argmax()] if probabilities.max() > 0.5 else "general"


def assign(document: Document, choice: str, options: Bucket) -> str:
    """The bucket: source files are code by their media type, other documents what the classifier says; of the general
    ones those in another language are multilingual."""
    if document["media"] == "code":
        return "code"
    if choice == "general" and document["language"] != "en" and document["language_score"] >= options.english:
        return "multilingual"
    return choice
