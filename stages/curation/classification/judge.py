"""A judge's verdict on a sample of pages, on which the second quality classifier is trained (paper 3.1.1: Llama 2 was
shown the cleaned pages and the requirements, a smaller model then scored the web).

At toy scale the judge is a set of rules; at larger scales a served model behind an OpenAI-compatible endpoint.
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
CHARACTERS = 3_000
"""Of a page that the judge is shown."""
SENTENCE = re.compile("[^.!?\u2026\u3002\uff01\uff1f]+([.!?\u2026\u3002\uff01\uff1f](?!\\w))?")
"""Match[1] is its end; without one it is no sentence, but need not be looked at again."""
WORD = re.compile(r"\w+")
SHORTEST = 20
"""Characters of a sentence that says something; what a menu or a price ends with a full stop is shorter."""


class Judge(Section):
    """Who judges, and what its verdict is used for (3.1.1)."""

    kind: Literal["rules", "endpoint"]
    """rules: `approves` below; endpoint: a served model (paper: Llama 2)."""

    url: str | None
    """Base of the endpoint, for example http://host:8000/v1; null for rules (assumption)."""

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


def verdicts(documents: Sequence[Document], judge: Judge) -> list[bool]:
    """Whether the judge approves of each; raises StageError when the endpoint does not answer yes or no."""
    if judge.kind == "rules":
        return [approves(document) for document in documents]
    return [answer == "yes" for answer in ask(documents, QUESTION, ("yes", "no"), judge)]


def ask(documents: Sequence[Document], question: str, answers: Sequence[str], judge: Judge) -> list[str]:
    """Which of the answers, each one word, the served model gives to the question about each document.

    Raises StageError when it gives none of them, or does not answer at all.
    """
    with httpx.Client(transport=httpx.HTTPTransport(retries=3), timeout=120) as client:
        return [_ask(client, document, question, answers, judge) for document in documents]


def approves(document: Document) -> bool:
    """Half the text or more is whole sentences, and words are neither shouted nor mostly repeated.

    Code is no prose: pages of mostly code are not approved of, whatever else they are good for.
    """
    text = "\n".join(prose_lines(document))
    words = text.split()
    if len(words) < 30:
        return False
    whole = sum(len(found[0]) for found in SENTENCE.finditer(text) if found[1] and len(found[0]) >= SHORTEST)
    shouted = sum(word.isupper() and len(word) > 2 for word in words)
    distinct = len({word.lower() for word in words[:400]})
    calm = 10 * shouted <= len(words) and 100 * distinct >= 15 * min(len(words), 400)
    return calm and 2 * whole >= len(document["text"])


def _ask(client: httpx.Client, document: Document, question: str, answers: Sequence[str], judge: Judge) -> str:
    content = f"{question}\n\n{document['text'][:CHARACTERS]}"
    body = {"model": judge.model, "messages": [{"role": "user", "content": content}], "temperature": 0, "max_tokens": 8}
    where = f"{judge.url}/chat/completions"
    try:
        answer = client.post(where, json=body).raise_for_status().json()["choices"][0]["message"]["content"]
    except (httpx.HTTPError, ValueError, KeyError, IndexError, TypeError) as error:
        raise StageError(f"curation.classify.judge.url: {where}: {type(error).__name__}: {error}") from None
    words = WORD.findall(answer.lower())
    if not words or words[0] not in answers:
        raise StageError(
            f"curation.classify.judge.model: {judge.model} answers {answer!r}, none of {', '.join(answers)}"
        )
    return str(words[0])
