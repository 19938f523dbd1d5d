"""A judge labels a sample of pages, on which the second quality classifier is trained (paper 3.1.1: Llama 2 read the
cleaned pages and the requirements; a smaller model then scored the web).

At toy scale the judge is a set of rules; at larger scales, a served model behind an OpenAI-compatible endpoint.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Literal

import httpx
from pydantic import Field, model_validator

from stages.curation.documents import Document
from stages.curation.lines import prose_lines
from stages.interface import Section, StageError

QUESTION = (
    "Does the following page hold mostly complete sentences that explain, tell or teach something, with little "
    "advertising, navigation or repetition? Answer yes or no."
)
MAX_CHARACTERS = 3_000
"""Characters of a page that the judge reads."""
SENTENCE = re.compile("[^.!?\u2026\u3002\uff01\uff1f]+([.!?\u2026\u3002\uff01\uff1f](?!\\w))?")
"""match[1]: the end of the sentence; None: no sentence, matched so that it is not searched again."""
WORD = re.compile(r"\w+")
MIN_SENTENCE_CHARACTERS = 20
"""Shorter sentences are menu entries or prices."""


class Judge(Section):
    """The judge and its threshold (3.1.1)."""

    kind: Literal["rules", "endpoint"]
    """rules: `is_approved_by_rules`; endpoint: a served model (paper: Llama 2)."""

    url: str | None
    """Base URL of the endpoint, for example http://host:8000/v1; null for rules (assumption)."""

    model: str | None
    """The model's name at the endpoint; null for rules (paper: Llama 2)."""

    threshold: Annotated[float, Field(ge=0, le=1)]
    """Documents with a lower predicted probability of approval are dropped, in the buckets of the quality threshold
    (assumption; the paper gives none)."""

    @model_validator(mode="after")
    def _endpoint_is_named(self) -> "Judge":
        if (self.kind == "endpoint") != (self.url is not None and self.model is not None):
            raise ValueError("kind endpoint needs url and model, kind rules needs neither")
        return self


def judge_documents(documents: Sequence[Document], judge: Judge) -> list[bool]:
    """Whether the judge approves each document. Raises StageError if the endpoint does not answer yes or no."""
    if judge.kind == "rules":
        return [is_approved_by_rules(document) for document in documents]
    return [answer == "yes" for answer in ask_endpoint(documents, QUESTION, ("yes", "no"), judge)]


def ask_endpoint(documents: Sequence[Document], question: str, answers: Sequence[str], judge: Judge) -> list[str]:
    """The served model's answer (one of `answers`, each one word) to the question about each document.

    Raises StageError if it gives another answer or none.
    """
    with httpx.Client(transport=httpx.HTTPTransport(retries=3), timeout=120) as client:
        return [_ask(client, document, question, answers, judge) for document in documents]


def is_approved_by_rules(document: Document) -> bool:
    """Whether half of the text or more is complete sentences, with few upper-case and few repeated words.

    Code is not prose, so pages of mostly code are not approved.
    """
    text = "\n".join(prose_lines(document))
    words = text.split()
    if len(words) < 30:
        return False
    sentence_characters = sum(
        len(match[0]) for match in SENTENCE.finditer(text) if match[1] and len(match[0]) >= MIN_SENTENCE_CHARACTERS
    )
    num_upper = sum(word.isupper() and len(word) > 2 for word in words)
    num_distinct = len({word.lower() for word in words[:400]})
    is_normal = 10 * num_upper <= len(words) and 100 * num_distinct >= 15 * min(len(words), 400)
    return is_normal and 2 * sentence_characters >= len(document["text"])


def _ask(client: httpx.Client, document: Document, question: str, answers: Sequence[str], judge: Judge) -> str:
    content = f"{question}\n\n{document['text'][:MAX_CHARACTERS]}"
    body = {"model": judge.model, "messages": [{"role": "user", "content": content}], "temperature": 0, "max_tokens": 8}
    url = f"{judge.url}/chat/completions"
    try:
        answer = client.post(url, json=body).raise_for_status().json()["choices"][0]["message"]["content"]
    except (httpx.HTTPError, ValueError, KeyError, IndexError, TypeError) as error:
        raise StageError(f"curation.classify.judge.url: {url}: {type(error).__name__}: {error}") from None
    words = WORD.findall(answer.lower())
    if not words or words[0] not in answers:
        raise StageError(
            f"curation.classify.judge.model: {judge.model} answers {answer!r}, none of {', '.join(answers)}"
        )
    return str(words[0])
