"""Finds the element of a page that holds its main text, by the names that publishing programs and vocabularies give it.
Text outside is navigation and need not be parsed.

It searches the page's source, which is a hundred times as fast as the parser's tree.
"""

import re
from itertools import chain

NAMES = ("entry-content", "articleBody", "mw-parser-output", "post-body", "article-content")
"""Values of `class` and `itemprop`: WordPress, schema.org, MediaWiki, Blogger."""
ELEMENTS = ("article", "main")
TAG = re.compile(r"<(article|main)\b")
MIN_CHARACTERS = 250
"""Least text of a main element; teasers have less."""
MAX_MATCHES = 100
"""Occurrences of a name that are examined."""
WINDOW = 4000
"""Characters that are searched for text at a time."""
WRAPPER_DEPTH = 4
"""Levels of <div> around the main element: the extractor takes lists near the root for menus."""
OPENING = re.compile(r"<(\w+)\b[^<>]*\s(?:class|itemprop)\s*=\s*(?:\"[^\"<>]*|'[^'<>]*|[^\s\"'<>]*)", re.IGNORECASE)
INVISIBLE = re.compile(r"<(script|style|svg|noscript)\b.*?</\1|<[^<>]*>", re.DOTALL | re.IGNORECASE)


def main_element(page: str) -> str:
    """The page without scripts; only its main element and the heading before it, if the page names one main element."""
    head = page.find("</head>")
    if head >= 0 and page[head + len("</head>") : head + WINDOW].lstrip().startswith("<body"):
        page = page[head + len("</head>") :]
    page = _without_scripts(page)
    starts: dict[str, list[int]] = {name: [] for name in ELEMENTS}
    for tag in TAG.finditer(page):
        starts[tag[1]].append(tag.start())
    outer = next(filter(None, (_find_by_tag(page, name, starts[name]) for name in ELEMENTS)), (0, len(page)))
    named = (_find_by_name(page, name, *outer) for name in NAMES)
    for start, end in chain(filter(None, named), [outer]):
        if end - start < len(page) and _has_text(page, start, end):
            return f"<html><body>{'<div>' * WRAPPER_DEPTH}{_preceding_heading(page, start, end)}{page[start:end]}"
    return page


def _without_scripts(page: str) -> str:
    """The page without scripts, but with the formulas in MathJax scripts; an unclosed script stays."""
    kept, position = [], 0
    while (start := page.find("<script", position)) >= 0 and (stop := page.find("</script>", start)) >= 0:
        kept.append(page[position:start])
        if "math/tex" in page[start : start + 100]:
            attributes, _, formula = page[start:stop].partition(">")
            kept.append(f" {formula} " if "math/tex" in attributes else "")
        position = stop + len("</script>")
    return "".join([*kept, page[position:]]) if kept else page


def _has_text(page: str, start: int, end: int) -> bool:
    """Whether there are MIN_CHARACTERS of text between the two positions."""
    text = 0
    while start < end and text < MIN_CHARACTERS:
        part = page[start : min(end, start + WINDOW)]
        text += len("".join(INVISIBLE.sub("", part).split()))
        start += WINDOW
    return text >= MIN_CHARACTERS


def _find_by_name(page: str, name: str, begin: int, stop: int) -> tuple[int, int] | None:
    """Start and end of the only element with this class or item property between the two positions; else None."""
    found: tuple[int, int] | None = None
    position = begin
    for _ in range(MAX_MATCHES):
        position = page.find(name, position, stop)
        if position < 0:
            break
        start = page.rfind("<", max(0, position - 1000), position)
        opening = OPENING.fullmatch(page, start, position) if start >= 0 else None
        position += len(name)
        around = page[position - len(name) - 1], page[position : position + 1]
        if opening and around[0] in " \"'=" and around[1] in ("", " ", '"', "'", ">", "\n", "\t"):
            if found:
                return None
            found = start, _element_end(page, opening[1], start)
            position = found[1]
    return found


def _find_by_tag(page: str, name: str, starts: list[int]) -> tuple[int, int] | None:
    """Start and end of the only element of this tag, given the starts of all; of several, the one with the page's only
    main heading; else None."""
    if not starts:
        return None
    end = _element_end(page, name, starts[0])
    if starts[-1] < end:
        return starts[0], end
    heading = page.find("<h1")
    before = [start for start in starts if start < heading]
    if not before or page.find("<h1", heading + 1) >= 0 or (end := _element_end(page, name, before[-1])) < heading:
        return None
    return before[-1], end


def _element_end(page: str, name: str, start: int) -> int:
    """The end of the element that begins at `start`."""
    depth = 0
    for tag in re.compile(rf"<(/?){name}\b", re.IGNORECASE).finditer(page, start):
        depth += -1 if tag[1] else 1
        if not depth:
            return tag.end()
    return len(page)


def _preceding_heading(page: str, start: int, end: int) -> str:
    """The last main heading before the element; empty if there is one inside."""
    if page.find("<h1", start, end) >= 0:
        return ""
    begin = page.rfind("<h1", 0, start)
    stop = page.find("</h1", begin, start)
    return f"{page[begin:stop]}</h1>" if 0 <= begin < stop else ""
