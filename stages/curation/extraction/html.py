"""Extracts text and code blocks from the bytes of a page: what the paper's parser adds to a library's (3.1.1).

Code keeps its indentation and is returned as ranges of lines. Formulas become their TeX or alternative text. Lists in
the main content stay, and Markdown markers are removed.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator
from itertools import accumulate
from urllib.parse import unquote

from stages.curation.extraction import mathml
from stages.curation.extraction.main_element import main_element

MARK = "\ue000"
OPEN, CLOSE = f"{MARK}o", f"{MARK}c"
"""Markers around a block of code inside the extractor: a private character and a letter, because the extractor drops
text without letters."""

ExtractedPage = tuple[str, str, list[list[int]]]
"""(media, text, ranges of code lines)."""

LINKS = re.compile(r"<a\b[^<>]*>.*?</a\b|<[^<>]*>", re.DOTALL)
FULL_DIV_TAG = re.compile(r"<(/?)[dD][iI][vV]\b[^<>]*>")
TAGS = re.compile(r"<(?:[dD][iI][vV]|[mM][aA][tT][hH]|/[pP][rR][eE])")
"""Tags that some passes need. One search for all of them takes as long as one for each."""
INDENT = re.compile(r"\n +")
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u200b\u200e\u200f\u2060\ufeff\ud800-\udfff]")
DIV_TAG = re.compile(r"<(/?)[dD][iI][vV]\b")
DEPTH_CHANGE = {"": 1, "/": -1}
ANY_TAG = re.compile(r"<[^<>]*>")
SKIPPED = ("object", "svg", ".toc", ".contents.topic", ".jp-relatedposts")
"""CSS selectors of elements without text, and of lists that publishing programs add inside the main text."""
GUTTERS = (".linenos", ".gutter", ".lineno", ".line-numbers")
"""CSS selectors of line numbers next to code."""
WIKI = (".mw-editsection", ".mw-cite-backlink", ".navbox", ".printfooter", ".catlinks", ".hatnote")
"""CSS selectors of elements that MediaWiki adds."""
MIN_CHARACTERS_PER_LINK = 300
"""A list with fewer characters per link holds no prose."""
LIST_PREFIX = 500
"""Characters of a list that are examined."""
MAX_DEPTH = 512
"""Levels of nested blocks, as in browsers; the extractor takes quadratic time in them."""
WINDOWS = {"euc-kr": "cp949", "ks_c_5601-1987": "cp949", "shift_jis": "cp932", "x-sjis": "cp932", "gb2312": "gb18030"}
"""Declared encoding -> its Windows superset, tried if the declared one fails, as in browsers."""
FEED = re.compile(r"<(title|description|summary|content(?::encoded)?|body)\b[^>]*>(.*?)</\1\s*>", re.DOTALL)
FORMULA = re.compile(r"\b(?:math|latex|tex|equation|formula|mwe-math\S*)\b", re.IGNORECASE)


def extract_page(body: bytes, content_type: str) -> ExtractedPage | str:
    """Media, text and code lines of a page, or the reason (str) why it has none. Does not raise for any bytes."""
    kind, charset = _parse_content_type(content_type)
    if kind in ("", "text/html", "application/xhtml+xml") or (kind.endswith("/xml") and b"<html" in body[:2000]):
        media = "html"
    elif kind == "text/plain":
        media = "text"
    elif kind.endswith(("/xml", "+xml")):
        media = "feed"
    elif kind.startswith("text/"):
        media = "code"
    else:
        return "not text"
    if not body.strip():
        return "empty"
    if b"\0" in body[:4096] and not body.startswith((b"\xff\xfe", b"\xfe\xff")) and not charset.startswith("utf-16"):
        return "binary"
    text = decode_bytes(body, charset)
    if text is None:
        return "unknown encoding"
    if media == "code":
        text = normalize_text(text)
        return "code", text, [[0, text.count("\n")]] if text else []
    if media == "text":
        text = normalize_text(text)
        return "text", text, _find_doctests(text)
    try:
        text, code = main_content(_feed_to_html(text) if media == "feed" else text)
    except (ValueError, TypeError, RuntimeError, MemoryError) as error:
        return f"parser: {type(error).__name__}"
    return "html", text, code


def main_content(page: str) -> tuple[str, list[list[int]]]:
    """Text of the main content of an HTML page, and the ranges of lines that are code."""
    from resiliparse.extract.html2text import extract_plain_text

    element = main_element(page).replace(MARK, "").replace("twitter-tweet", "quotation")
    tags = TAGS.findall(element)
    kinds = set(map(str.lower, set(tags)))
    source = _replace_elements("math", element, _mathml_to_tex) if "<math" in kinds else element
    source = _replace_formula_images(source)
    source = _order_prose_lists(_mark_code(source) if "</pre" in kinds else source)
    source = _limit_depth(source) if len(tags) > MAX_DEPTH else source
    skipped = SKIPPED + GUTTERS * ("</pre" in kinds) + WIKI * ("mw-editsection" in source)
    text = extract_plain_text(
        source, main_content=True, list_bullets=False, comments=False, post_meta=False, skip_elements=skipped
    )
    return _extract_code(normalize_text(text))


def normalize_text(text: str) -> str:
    """Text in Unicode NFC with \\n line ends, without control characters, trailing spaces and runs of empty lines."""
    text = unicodedata.normalize("NFC", text).replace("\r\n", "\n").replace("\r", "\n").replace("\xa0", " ")
    text = CONTROL.sub("", text)
    text = "\n".join([line.rstrip(" \t") for line in text.split("\n")])
    if "\n\n\n" in text:
        text = re.sub(r"\n{3,}", "\n\n", text)
    return text.strip("\n")


def _parse_content_type(header: str) -> tuple[str, str]:
    kind, _, rest = header.partition(";")
    found = re.search(r"charset\s*=\s*[\"']?([\w.:-]+)", rest, re.IGNORECASE)
    return kind.strip().lower(), found[1].lower() if found else ""


def decode_bytes(body: bytes, charset: str) -> str | None:
    """The characters of a page; None if no encoding fits. `charset`: from the HTTP header."""
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding

    for encoding in filter(None, _candidate_encodings(body, charset)):
        try:
            return body.decode(encoding)
        except (LookupError, UnicodeDecodeError, ValueError):
            continue
    name = detect_encoding(body)
    if not name:
        return None
    text: str = bytes_to_str(body, name)
    return None if text.count("\ufffd") > len(text) / 100 else text


def _candidate_encodings(body: bytes, charset: str) -> Iterator[str]:
    """Encodings to try, in order."""
    yield charset
    # Valid UTF-8 is UTF-8, whatever the page declares; only ISO 2022 can also be valid UTF-8.
    yield "" if b"\x1b" in body else "utf-8"
    declared = re.search(rb"(?:charset|encoding)\s*=\s*[\"']?([\w.:-]+)", body[:2048], re.IGNORECASE)
    named = declared[1].decode("latin-1").lower() if declared else ""
    yield from (named, WINDOWS.get(charset) or WINDOWS.get(named, ""), "utf-8")


# Each function below rewrites the page's source in one pass, in linear time for any input. On the parser's tree this
# takes ten times as long. The parser repairs broken HTML that is left, as a browser does.


def _replace_elements(name: str, page: str, replace: Callable[[re.Match[str]], str]) -> str:
    """The page with each element `name` replaced; match[1]: attributes, match[2]: content."""
    ends = [found.end() for found in re.finditer(rf"</{name}\s*>", page, re.IGNORECASE)]
    if not ends:
        return page
    # Stops at the last end tag, so that unclosed elements do not cause quadratic time.
    element = re.compile(rf"<{name}\b([^>]*)>(.*?)</{name}\s*>", re.DOTALL | re.IGNORECASE)
    return element.sub(replace, page[: ends[-1]]) + page[ends[-1] :]


def _mathml_to_tex(match: re.Match[str]) -> str:
    note = re.search(r"<annotation\b[^>]*tex[^>]*>(.*?)</annotation", match[2], re.DOTALL | re.IGNORECASE)
    source = (note[1] if note else _attribute("alttext", match[1])) or mathml.to_tex(match[0])
    return f" {source.strip()} " if source else match[0]


def _replace_formula_images(page: str) -> str:
    """Replaces images of formulas by their alternative text, and removes other images."""
    first, *others = page.split("<img")
    parts = [first]
    for part in others:
        tag, end, rest = part.partition(">")
        if not end:
            parts += ["<img", part]
            continue
        hint = tag.lower()
        if "math" in hint or "tex" in hint or "equation" in hint or "formula" in hint:
            words = f"{_attribute('class', tag)} {unquote(_attribute('src', tag))}"
            if FORMULA.search(words):
                parts += [" ", _attribute("alt", tag), " "]
        parts.append(rest)
    return "".join(parts)


def _attribute(name: str, tag: str) -> str:
    found = re.search(rf"\b{name}\s*=\s*(?:\"([^\"]*)\"|'([^']*)')", tag, re.IGNORECASE)
    return (found[1] or found[2] or "") if found else ""


def _mark_code(page: str) -> str:
    """Puts markers around blocks of code that survive the extraction."""

    def mark(found: re.Match[str]) -> str:
        return f"<pre{found[1]}>{OPEN}{found[2].removeprefix(chr(10)).rstrip(chr(10))}{CLOSE}</pre>"

    return _replace_elements("pre", page, mark)


def _order_prose_lists(page: str) -> str:
    """Turns unordered lists of prose into ordered ones, because the extractor takes unordered lists with links, or near
    the root, for navigation."""
    first, *others = page.split("<ul")
    parts = [first]
    for part in others:
        items, end, rest = part.partition("</ul")
        is_prose = end and _is_prose(items)
        parts += ["<ol", items, "</ol", rest] if is_prose else ["<ul", part]
    return "".join(parts)


def _is_prose(part: str) -> bool:
    """Whether at most half of the text is links, judged by its beginning."""
    links = part.count("<a ")
    if not links or (links * MIN_CHARACTERS_PER_LINK > len(part) and links >= part.count("<li")):
        return not links
    prefix = part[:LIST_PREFIX]
    total, outside_links = (len("".join(tags.sub(" ", prefix).split())) for tags in (ANY_TAG, LINKS))
    return total <= 2 * outside_links


def _limit_depth(page: str) -> str:
    """The page without the tags of blocks nested deeper than MAX_DEPTH."""
    if max(accumulate(map(DEPTH_CHANGE.__getitem__, DIV_TAG.findall(page))), default=0) <= MAX_DEPTH:
        return page
    depth = 0

    def flatten(tag: re.Match[str]) -> str:
        nonlocal depth
        kept = depth + (not tag[1]) <= MAX_DEPTH
        depth = max(0, depth + (-1 if tag[1] else 1))
        return tag[0] if kept else ""

    return FULL_DIV_TAG.sub(flatten, page)


def _extract_code(text: str) -> tuple[str, list[list[int]]]:
    """The text without markers and without indentation outside code, and the ranges of lines between markers."""
    if MARK not in text:
        return INDENT.sub("\n", text.lstrip(" ")), []
    lines: list[str] = []
    code: list[list[int]] = []
    start = None
    for line in text.split("\n"):
        if MARK not in line:
            lines.append(line if start is not None else line.lstrip(" "))
            continue
        if OPEN in line:
            start = len(lines)
        ends = CLOSE in line
        lines.append(line.replace(OPEN, "").replace(CLOSE, "").rstrip())
        if ends and start is not None:
            while len(lines) > start + 1 and not lines[-1]:
                lines.pop()
            code.append([start, len(lines) - 1])
            start = None
    return "\n".join(lines).replace(MARK, ""), code


def _find_doctests(text: str) -> list[list[int]]:
    """Ranges of lines of interpreter sessions: from `>>>` to the next empty line."""
    code: list[list[int]] = []
    start = None
    lines = text.split("\n")
    for number, line in enumerate(lines):
        if start is None and line.lstrip().startswith(">>> "):
            start = number
        elif start is not None and not line.strip():
            code.append([start, number - 1])
            start = None
    if start is not None:
        code.append([start, len(lines) - 1])
    return code


def _feed_to_html(text: str) -> str:
    """The titles and contents of an RSS or Atom feed as one HTML page."""
    parts = []
    for name, content in FEED.findall(text):
        content = re.sub(r"<!\[CDATA\[(.*?)\]\]>", r"\1", content, flags=re.DOTALL)
        if "&lt;" in content and "<" not in content:
            content = content.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", '"').replace("&amp;", "&")
        parts.append(f"<h2>{content}</h2>" if name == "title" else f"<p>{content}</p>")
    return f"<html><body><main>{''.join(parts)}</main></body></html>"
