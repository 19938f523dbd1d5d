"""One page's bytes to text, with its blocks of code: what the paper's own parser adds to a well-kept one (3.1.1).

Code blocks keep their indentation and are remembered as ranges of lines, formulas become their TeX or alternative
text, lists inside the main content survive, and no markdown marker is left.
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
"""What stands around a block of code on its way through the extractor: a private character, and a letter, because the
extractor drops text without one."""

Extracted = tuple[str, str, list[list[int]]]
"""(media, text, ranges of code lines)."""

LINKS = re.compile(r"<a\b[^<>]*>.*?</a\b|<[^<>]*>", re.DOTALL)
DIV = re.compile(r"<(/?)[dD][iI][vV]\b[^<>]*>")
TAGS = re.compile(r"<(?:[dD][iI][vV]|[mM][aA][tT][hH]|/[pP][rR][eE])")
"""What a page must have for some of the passes to find anything; one look for all takes as long as one for each."""
INDENT = re.compile(r"\n +")
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u200b\u200e\u200f\u2060\ufeff\ud800-\udfff]")
LEVEL = re.compile(r"<(/?)[dD][iI][vV]\b")
STEP = {"": 1, "/": -1}
ANY = re.compile(r"<[^<>]*>")
SKIPPED = ("object", "svg", ".toc", ".contents.topic", ".jp-relatedposts")
"""What is no text, and lists that programs add inside the main text, as CSS selectors."""
GUTTERS = (".linenos", ".gutter", ".lineno", ".line-numbers")
"""The same beside code: the numbers of its lines."""
WIKI = (".mw-editsection", ".mw-cite-backlink", ".navbox", ".printfooter", ".catlinks", ".hatnote")
"""The same in pages of MediaWiki."""
LINKED = 300
"""Characters per link: with fewer, a list of links has no room for prose."""
BEGINNING = 500
"""Characters of a list that are looked at."""
DEPTH = 512
"""Levels of nested blocks, as in browsers; the extractor's time grows with their square."""
WINDOWS = {"euc-kr": "cp949", "ks_c_5601-1987": "cp949", "shift_jis": "cp932", "x-sjis": "cp932", "gb2312": "gb18030"}
"""What a page that names the first is really written in where it does not fit: Windows' larger sets, as in browsers."""
FEED = re.compile(r"<(title|description|summary|content(?::encoded)?|body)\b[^>]*>(.*?)</\1\s*>", re.DOTALL)
FORMULA = re.compile(r"\b(?:math|latex|tex|equation|formula|mwe-math\S*)\b", re.IGNORECASE)


def decode(body: bytes, content_type: str) -> Extracted | str:
    """Media, text and code lines of a page, or the reason why it has none. Never raises for any bytes."""
    kind, charset = _content_type(content_type)
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
    text = text_of(body, charset)
    if text is None:
        return "unknown encoding"
    if media == "code":
        text = clean(text)
        return "code", text, [[0, text.count("\n")]] if text else []
    if media == "text":
        text = clean(text)
        return "text", text, _doctests(text)
    try:
        text, code = main_content(_feed(text) if media == "feed" else text)
    except (ValueError, TypeError, RuntimeError, MemoryError) as error:
        return f"parser: {type(error).__name__}"
    return "html", text, code


def main_content(page: str) -> tuple[str, list[list[int]]]:
    """Text of the main content of an HTML page and the ranges of its lines that are code."""
    from resiliparse.extract.html2text import extract_plain_text

    element = main_element(page).replace(MARK, "").replace("twitter-tweet", "quotation")
    tags = TAGS.findall(element)
    kinds = set(map(str.lower, set(tags)))
    prepared = _images(_elements("math", element, _mathml) if "<math" in kinds else element)
    prepared = _lists(_code(prepared) if "</pre" in kinds else prepared)
    prepared = _flat(prepared) if len(tags) > DEPTH else prepared
    skipped = SKIPPED + GUTTERS * ("</pre" in kinds) + WIKI * ("mw-editsection" in prepared)
    text = extract_plain_text(
        prepared, main_content=True, list_bullets=False, comments=False, post_meta=False, skip_elements=skipped
    )
    return _take_code(clean(text))


def clean(text: str) -> str:
    """Text in Unicode NFC with \\n line ends, without control characters, trailing spaces and runs of empty lines."""
    text = unicodedata.normalize("NFC", text).replace("\r\n", "\n").replace("\r", "\n").replace("\xa0", " ")
    text = CONTROL.sub("", text)
    text = "\n".join([line.rstrip(" \t") for line in text.split("\n")])
    if "\n\n\n" in text:
        text = re.sub(r"\n{3,}", "\n\n", text)
    return text.strip("\n")


def _content_type(header: str) -> tuple[str, str]:
    kind, _, rest = header.partition(";")
    found = re.search(r"charset\s*=\s*[\"']?([\w.:-]+)", rest, re.IGNORECASE)
    return kind.strip().lower(), found[1].lower() if found else ""


def text_of(body: bytes, charset: str) -> str | None:
    """The characters of a page, `charset` being what the server says; None where no encoding fits."""
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding

    for tried in filter(None, _encodings(body, charset)):
        try:
            return body.decode(tried)
        except (LookupError, UnicodeDecodeError, ValueError):
            continue
    name = detect_encoding(body)
    if not name:
        return None
    text: str = bytes_to_str(body, name)
    return None if text.count("\ufffd") > len(text) / 100 else text


def _encodings(body: bytes, charset: str) -> Iterator[str]:
    """Names to try, best first."""
    yield charset
    # What is valid UTF-8 is UTF-8, whatever an old template declares; only ISO 2022 also looks like it.
    yield "" if b"\x1b" in body else "utf-8"
    declared = re.search(rb"(?:charset|encoding)\s*=\s*[\"']?([\w.:-]+)", body[:2048], re.IGNORECASE)
    named = declared[1].decode("latin-1").lower() if declared else ""
    yield from (named, WINDOWS.get(charset) or WINDOWS.get(named, ""), "utf-8")


# What follows rewrites the page's source in one pass each: through the parser's tree the same takes ten times as long,
# and what is left broken here the parser repairs as a browser would. Each pass takes time in proportion to the page,
# whatever is left open in it.


def _elements(name: str, page: str, replace: Callable[[re.Match[str]], str]) -> str:
    """The page with each element `name` replaced; match[1] are the attributes, match[2] is the content."""
    ends = [found.end() for found in re.finditer(rf"</{name}\s*>", page, re.IGNORECASE)]
    if not ends:
        return page
    # Behind the last end tag there is none to look for, over and over again.
    element = re.compile(rf"<{name}\b([^>]*)>(.*?)</{name}\s*>", re.DOTALL | re.IGNORECASE)
    return element.sub(replace, page[: ends[-1]]) + page[ends[-1] :]


def _mathml(match: re.Match[str]) -> str:
    note = re.search(r"<annotation\b[^>]*tex[^>]*>(.*?)</annotation", match[2], re.DOTALL | re.IGNORECASE)
    source = (note[1] if note else _attribute("alttext", match[1])) or mathml.to_tex(match[0])
    return f" {source.strip()} " if source else match[0]


def _images(page: str) -> str:
    """Formula images give way to their text; what other pictures show is none of the page's text."""
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


def _code(page: str) -> str:
    """Blocks of code get marks that survive the extraction."""

    def mark(found: re.Match[str]) -> str:
        return f"<pre{found[1]}>{OPEN}{found[2].removeprefix(chr(10)).rstrip(chr(10))}{CLOSE}</pre>"

    return _elements("pre", page, mark)


def _lists(page: str) -> str:
    """The extractor takes unordered lists with some links in them, or near the root, for navigation, but never ordered
    ones: so lists that are prose rather than links become ordered."""
    first, *others = page.split("<ul")
    parts = [first]
    for part in others:
        items, end, rest = part.partition("</ul")
        prose = end and _prose(items)
        parts += ["<ol", items, "</ol", rest] if prose else ["<ul", part]
    return "".join(parts)


def _prose(part: str) -> bool:
    """Whether at most half of the text is links; a long list is judged by its beginning."""
    links = part.count("<a ")
    if not links or (links * LINKED > len(part) and links >= part.count("<li")):
        return not links
    beginning = part[:BEGINNING]
    text, outside = (len("".join(tags.sub(" ", beginning).split())) for tags in (ANY, LINKS))
    return text <= 2 * outside


def _flat(page: str) -> str:
    """The page with blocks that are nested deeper than DEPTH made flat."""
    if max(accumulate(map(STEP.__getitem__, LEVEL.findall(page))), default=0) <= DEPTH:
        return page
    depth = 0

    def flatten(tag: re.Match[str]) -> str:
        nonlocal depth
        kept = depth + (not tag[1]) <= DEPTH
        depth = max(0, depth + (-1 if tag[1] else 1))
        return tag[0] if kept else ""

    return DIV.sub(flatten, page)


def _take_code(text: str) -> tuple[str, list[list[int]]]:
    """The text without the private characters and without indentation outside code, and the lines that stood between
    the characters."""
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


def _doctests(text: str) -> list[list[int]]:
    """Interpreter sessions in plain documentation: from `>>>` to the next empty line."""
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


def _feed(text: str) -> str:
    """The titles and contents of an RSS or Atom feed as one HTML page."""
    parts = []
    for name, content in FEED.findall(text):
        content = re.sub(r"<!\[CDATA\[(.*?)\]\]>", r"\1", content, flags=re.DOTALL)
        if "&lt;" in content and "<" not in content:
            content = content.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", '"').replace("&amp;", "&")
        parts.append(f"<h2>{content}</h2>" if name == "title" else f"<p>{content}</p>")
    return f"<html><body><main>{''.join(parts)}</main></body></html>"
