"""Domain of a document (general text, mathematics, reasoning, code, or code interleaved with text) and its bucket of
the data mix (paper 3.1.1, code and reasoning data; 3.1.2)."""

import re
from typing import Annotated, Literal, get_args

import numpy as np
from pydantic import Field

from stages.curation.documents import Document, is_generated
from stages.interface import Section
from stages.tasks import REGISTRY, source_name

Domain = Literal["general", "math", "reasoning", "code", "code_in_text"]
DOMAINS: tuple[Domain, ...] = get_args(Domain)
BUCKETS = ("general", "math", "code", "multilingual")
BUCKET_OF_DOMAIN = {"general": "general", "math": "math", "reasoning": "math", "code": "code", "code_in_text": "code"}
"""Domain -> bucket of the mix (3.1.2: "mathematical and reasoning" are one)."""
QUESTION = (
    "What is the following page? Answer with one word: math if it deduces or explains mathematics; reasoning if it "
    "poses and solves problems of science or logic; code if it is source code; code_in_text if it explains code or "
    "mixes it with language; general if it is none of these."
)
"""The question to a served judge, whose answers replace the weak labels by source."""

SIGN_CHARACTERS = 6_000
WORD = re.compile(r"[^\W\d_]+")
CODE_SIGN = re.compile(
    r"[{};]\s*$|^\s*(?:def|class|import|from|return|if|for|#include|public|var|let)\b|>>> |\w\(\w*\)|\w_\w|==|->|::",
    re.MULTILINE,
)
MATH_WORDS = """algebra derivatives? equations? functions? graphs? integers? integrals? matrix matrices nodes?
polynomials? primes? sets? sums? symbolic theorems? variables? vectors?"""
MATH_SIGN = re.compile(rf"[=+*/^<>≤≥∑∫√∈±]|\\[a-z]+|>>> |\b(?:{'|'.join(MATH_WORDS.split())})\b", re.IGNORECASE)
MIN_CODE_SIGNS, MIN_MATH_SIGNS = 5, 5
"""Signs per 100 words."""


class Bucket(Section):
    """Assignment to domains and buckets (3.1.1, 3.1.2)."""

    examples: dict[Domain, list[str]]
    """Domain -> sources of its examples, besides generated tasks (assumption: weak labels; paper: Llama 2's labels)."""

    english: Annotated[float, Field(ge=0, le=1)]
    """Least probability of another language than English for the bucket multilingual (assumption)."""

    def sources_by_domain(self) -> dict[Domain, list[str]]:
        """Domain -> sources of its examples, generated tasks included."""
        sources = {domain: [*self.examples.get(domain, [])] for domain in DOMAINS}
        for name, task in REGISTRY.items():
            sources[task.INFO.domain].append(source_name(name))
        return sources


def most_likely_domain(classes: list[str], probabilities: np.ndarray) -> str:
    """The most likely domain of the most likely bucket; general if no bucket has a probability above 0.5."""
    bucket_probabilities = {
        bucket: sum(p for name, p in zip(classes, probabilities, strict=True) if BUCKET_OF_DOMAIN[name] == bucket)
        for bucket in BUCKETS
    }
    best = max(bucket_probabilities, key=lambda bucket: bucket_probabilities[bucket])
    if bucket_probabilities[best] <= 0.5:
        return "general"
    return max(
        (p, name) for name, p in zip(classes, probabilities.tolist(), strict=True) if BUCKET_OF_DOMAIN[name] == best
    )[1]


def looks_like_domain(document: Document, domain: str) -> bool:
    """Whether a page holds what the domain stands for: code or signs of programs, numbers and signs of mathematics.

    A classifier trained on few sources puts pages in unknown words anywhere; without this test forms and entries of an
    encyclopaedia are filed under code and mathematics (assumption).
    """
    if domain == "general" or document["media"] == "code" or is_generated(document["source"]):
        return True
    text = document["text"][:SIGN_CHARACTERS]
    num_words = len(WORD.findall(text)) or 1
    if BUCKET_OF_DOMAIN[domain] == "code":
        lines_of_code = sum(last - first + 1 for first, last in document["code"])
        return lines_of_code >= 3 or 100 * len(CODE_SIGN.findall(text)) >= MIN_CODE_SIGNS * num_words
    return 100 * len(MATH_SIGN.findall(text)) >= MIN_MATH_SIGNS * num_words


def assign_bucket(document: Document, domain: str, options: Bucket) -> str:
    """The bucket of a document: source files are code by media type; general documents in another language are
    multilingual; otherwise the domain decides."""
    if document["media"] == "code":
        return "code"
    if domain == "general" and document["language"] != "en" and document["language_score"] >= options.english:
        return "multilingual"
    return BUCKET_OF_DOMAIN[domain]
