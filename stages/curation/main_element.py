"""Which element of a page holds its main text, where the page says so: by the names that publishing programs, and the
vocabularies they follow, give it. What lies outside is navigation and need not be parsed.

All is done on the page's source, where a name is found a hundred times as fast as in the parser's tree.
"""

import re

NAMES = (
    "articleBody", "mw-parser-output", "entry-content", "post-content", "article-content", "article-body",
    "article__body", "article__content", "article_body", "post-body", "post__content", "postcontent", "story-body",
    "markdown-body", "theme-doc-markdown", "js-post-body",
)  # fmt: skip
"""Values of `class` and `itemprop`: schema.org, MediaWiki, WordPress, Blogger, GitHub, Docusaurus, Stack Exchange."""
ELEMENTS = ("article", "main")
LEAST = 250
"""Characters of text that make an element worth it; teasers have fewer."""
MOST = 100
"""Places where a name stands that are looked at."""
LEVELS = 4
"""The extractor takes lists near the root of a page for menus."""
OPENING = re.compile(r"<(\w+)\b[^<>]*\s(?:class|itemprop)\s*=\s*(?:\"[^\"<>]*|'[^'<>]*|[^\s\"'<>]*)", re.IGNORECASE)
HEADING = re.compile(r"<h1\b[^<>]*>.*?</h1\s*>", re.DOTALL | re.IGNORECASE)
INVISIBLE = re.compile(r"<(script|style|svg|noscript)\b.*?</\1|<[^<>]*>", re.DOTALL | re.IGNORECASE)


def main_element(page: str) -> str:
    """The page with nothing but its main element and the first heading before it; the page as it is where it names no
    such element, or several."""
    places = [place for name in NAMES if name in page and (place := _named(page, name))]
    places += [place for name in ELEMENTS if f"<{name}" in page and (place := _only(page, name))]
    for start, end in places:
        if len("".join(INVISIBLE.sub("", page[start:end]).split())) >= LEAST:
            return f"<html><body>{'<div>' * LEVELS}{_heading(page, start, end)}{page[start:end]}"
    return page


def _named(page: str, name: str) -> tuple[int, int] | None:
    """Where the one element of this class or item property begins and ends."""
    found: tuple[int, int] | None = None
    position = 0
    for _ in range(MOST):
        position = page.find(name, position)
        if position < 0:
            break
        start = page.rfind("<", max(0, position - 1000), position)
        opening = OPENING.fullmatch(page, start, position) if start >= 0 else None
        position += len(name)
        around = page[position - len(name) - 1], page[position : position + 1]
        if opening and around[0] in " \"'=" and around[1] in ("", " ", '"', "'", ">", "\n", "\t"):
            if found:
                return None
            found = start, _end(page, opening[1], start)
            position = found[1]
    return found


def _only(page: str, name: str) -> tuple[int, int] | None:
    """Where the one element of this kind begins and ends."""
    start = re.search(rf"<{name}\b", page)
    if not start:
        return None
    end = _end(page, name, start.start())
    return None if re.compile(rf"<{name}\b").search(page, end) else (start.start(), end)


def _end(page: str, name: str, start: int) -> int:
    """Where the element that begins at `start` ends; tags inside scripts and comments are none."""
    tags = re.compile(rf"<(?:(/?){name}\b|script\b|!--)", re.IGNORECASE)
    depth, position = 0, start
    while found := tags.search(page, position):
        position = found.end()
        if found[1] is None:
            closing = "-->" if found[0] == "<!--" else "</script"
            position = page.find(closing, position)
            if position < 0:
                break
        else:
            depth += -1 if found[1] else 1
            if not depth:
                return position
    return len(page)


def _heading(page: str, start: int, end: int) -> str:
    """The last main heading before the element, if there is none in it."""
    if HEADING.search(page, start, end):
        return ""
    found = [heading[0] for heading in HEADING.finditer(page, 0, start)]
    return found[-1] if found else ""
