"""Which element of a page holds its main text, where the page says so: by the names that publishing programs, and the
vocabularies they follow, give it. What lies outside is navigation and need not be parsed.

All is done on the page's source, where a name is found a hundred times as fast as in the parser's tree.
"""

import re
from itertools import chain

NAMES = ("entry-content", "articleBody", "mw-parser-output", "post-body", "article-content")
"""Values of `class` and `itemprop`: WordPress, schema.org, MediaWiki, Blogger."""
ELEMENTS = ("article", "main")
TAG = re.compile(r"<(article|main)\b")
LEAST = 250
"""Characters of text that make an element worth it; teasers have fewer."""
MOST = 100
"""Places where a name stands that are looked at."""
WINDOW = 4000
"""Characters of a page that are searched for text at a time."""
LEVELS = 4
"""The extractor takes lists near the root of a page for menus."""
OPENING = re.compile(r"<(\w+)\b[^<>]*\s(?:class|itemprop)\s*=\s*(?:\"[^\"<>]*|'[^'<>]*|[^\s\"'<>]*)", re.IGNORECASE)
INVISIBLE = re.compile(r"<(script|style|svg|noscript)\b.*?</\1|<[^<>]*>", re.DOTALL | re.IGNORECASE)


def main_element(page: str) -> str:
    """The page without scripts, and with nothing but its main element and the first heading before it where it names
    one such element."""
    head = page.find("</head>")
    if head >= 0 and page[head + len("</head>") : head + WINDOW].lstrip().startswith("<body"):
        page = page[head + len("</head>") :]
    page = _without_scripts(page)
    starts: dict[str, list[int]] = {name: [] for name in ELEMENTS}
    for tag in TAG.finditer(page):
        starts[tag[1]].append(tag.start())
    around = next(filter(None, (_only(page, name, starts[name]) for name in ELEMENTS)), (0, len(page)))
    inside = (_named(page, name, *around) for name in NAMES)
    for start, end in chain(filter(None, inside), [around]):
        if end - start < len(page) and _long(page, start, end):
            return f"<html><body>{'<div>' * LEVELS}{_heading(page, start, end)}{page[start:end]}"
    return page


def _without_scripts(page: str) -> str:
    """The page without its scripts, but with the formulas that MathJax finds in some; one without an end stays."""
    kept, position = [], 0
    while (start := page.find("<script", position)) >= 0 and (stop := page.find("</script>", start)) >= 0:
        kept.append(page[position:start])
        if "math/tex" in page[start : start + 100]:
            attributes, _, formula = page[start:stop].partition(">")
            kept.append(f" {formula} " if "math/tex" in attributes else "")
        position = stop + len("</script>")
    return "".join([*kept, page[position:]]) if kept else page


def _long(page: str, start: int, end: int) -> bool:
    """Whether there is text enough between the two places; looks no further than it must."""
    text = 0
    while start < end and text < LEAST:
        part = page[start : min(end, start + WINDOW)]
        text += len("".join(INVISIBLE.sub("", part).split()))
        start += WINDOW
    return text >= LEAST


def _named(page: str, name: str, begin: int, stop: int) -> tuple[int, int] | None:
    """Where the one element of this class or item property between the two places begins and ends."""
    found: tuple[int, int] | None = None
    position = begin
    for _ in range(MOST):
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
            found = start, _end(page, opening[1], start)
            position = found[1]
    return found


def _only(page: str, name: str, starts: list[int]) -> tuple[int, int] | None:
    """Where the one element of this kind, of those that begin at `starts`, begins and ends; of several, the one with
    the page's one main heading."""
    if not starts:
        return None
    end = _end(page, name, starts[0])
    if starts[-1] < end:
        return starts[0], end
    heading = page.find("<h1")
    before = [start for start in starts if start < heading]
    if not before or page.find("<h1", heading + 1) >= 0 or (end := _end(page, name, before[-1])) < heading:
        return None
    return before[-1], end


def _end(page: str, name: str, start: int) -> int:
    """Where the element that begins at `start` ends."""
    depth = 0
    for tag in re.compile(rf"<(/?){name}\b", re.IGNORECASE).finditer(page, start):
        depth += -1 if tag[1] else 1
        if not depth:
            return tag.end()
    return len(page)


def _heading(page: str, start: int, end: int) -> str:
    """The last main heading before the element, if there is none in it."""
    if page.find("<h1", start, end) >= 0:
        return ""
    begin = page.rfind("<h1", 0, start)
    stop = page.find("</h1", begin, start)
    return f"{page[begin:stop]}</h1>" if 0 <= begin < stop else ""
