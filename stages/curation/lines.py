"""Lines that many documents share are boilerplate: menus, cookie warnings, calls to subscribe (paper 3.1.1)."""

import xxhash

from stages.curation.documents import Document


def without(document: Document, repeated: set[int], bucket: int) -> Document:
    """The document without the lines of which the key is given; blocks of code keep their lines, under new numbers."""
    code = _code_lines(document)
    lines = document["text"].split("\n")
    kept = [n for n, line in enumerate(lines) if n in code or not line.strip() or key(line, bucket) not in repeated]
    if len(kept) == len(lines):
        return document
    # Of the empty lines around a removed one, one stays.
    kept = [n for place, n in enumerate(kept) if lines[n] or n in code or (place and lines[kept[place - 1]])]
    while kept and not lines[kept[-1]] and kept[-1] not in code:
        kept.pop()
    number = {line: place for place, line in enumerate(kept)}
    spans = [[number[first], number[last]] for first, last in document["code"]]
    return document | {"text": "\n".join(lines[n] for n in kept), "code": spans}


def prose(document: Document) -> list[str]:
    """The lines that are neither code nor empty."""
    code = _code_lines(document)
    return [line for n, line in enumerate(document["text"].split("\n")) if n not in code and line.strip()]


def key(line: str, bucket: int) -> int:
    """A 64-bit hash of a line, without its outer spaces, in a bucket of documents."""
    return xxhash.xxh64_intdigest(line.strip().encode(), bucket)


def _code_lines(document: Document) -> set[int]:
    return {line for first, last in document["code"] for line in range(first, last + 1)}
