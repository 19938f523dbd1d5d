"""Operations on the lines of a document: lines that many documents share are boilerplate (paper 3.1.1)."""

import xxhash

from stages.curation.documents import Document


def remove_lines(document: Document, repeated: set[int], bucket: int) -> Document:
    """The document without the lines whose keys are in `repeated`. Code keeps its lines; their numbers are updated."""
    code = _code_line_numbers(document)
    lines = document["text"].split("\n")
    kept = [
        n for n, line in enumerate(lines) if n in code or not line.strip() or line_key(line, bucket) not in repeated
    ]
    if len(kept) == len(lines):
        return document
    # Keeps one of the empty lines around a removed line.
    kept = [n for i, n in enumerate(kept) if lines[n] or n in code or (i and lines[kept[i - 1]])]
    while kept and not lines[kept[-1]] and kept[-1] not in code:
        kept.pop()
    new_number = {old: new for new, old in enumerate(kept)}
    spans = [[new_number[first], new_number[last]] for first, last in document["code"]]
    return document | {"text": "\n".join(lines[n] for n in kept), "code": spans}


def prose_lines(document: Document) -> list[str]:
    """The lines that are neither code nor empty."""
    code = _code_line_numbers(document)
    return [line for n, line in enumerate(document["text"].split("\n")) if n not in code and line.strip()]


def line_key(line: str, bucket: int) -> int:
    """64-bit hash of a line without outer spaces, seeded by the bucket of documents."""
    return xxhash.xxh64_intdigest(line.strip().encode(), bucket)


def _code_line_numbers(document: Document) -> set[int]:
    return {line for first, last in document["code"] for line in range(first, last + 1)}
