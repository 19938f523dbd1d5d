"""Benchmarks extraction, from bytes to text, against Resiliparse alone on the pages of three pinned archives.

python -m bench.extraction
"""

from statistics import median

from bench.timing import ratio, table, turns
from stages.curation.extraction import html
from stages.curation.pages import archives
from stages.curation.pages.sources import SOURCES, select_pages

PAGES = {"articles": 13.0, "blogs": 6.0, "forms": 12.0}
"""Source -> maximum MB."""


def read_bodies() -> list[bytes]:
    """Bodies of HTML pages."""
    fetched = archives.fetch_all(sorted({SOURCES[name][0] for name in PAGES}))
    return [
        page.body
        for name, megabytes in PAGES.items()
        for page in select_pages(SOURCES[name][1](fetched[SOURCES[name][0]]), megabytes)
    ]


def ours(pages: list[bytes]) -> int:
    return sum(len(html.extract_page(body, "text/html")[1]) for body in pages)


def resiliparse(pages: list[bytes]) -> int:
    """As in its documentation: detects the encoding, parses, extracts the main content."""
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.encoding import detect_encoding
    from resiliparse.parse.html import HTMLTree

    size = 0
    for body in pages:
        page = HTMLTree.parse_from_bytes(body, detect_encoding(body) or "utf-8")
        size += len(extract_plain_text(page, main_content=True))
    return size


def main() -> None:
    pages = read_bodies()
    megabytes = sum(map(len, pages)) / 1e6
    seconds, _ = turns({"ours": lambda: ours(pages), "resiliparse": lambda: resiliparse(pages)}, 9)
    mine, theirs = (f"{megabytes / median(seconds[name]):.1f}" for name in ("ours", "resiliparse"))
    table([(f"{len(pages)} pages, MB/s", mine, theirs, f"{ratio(seconds, 'ours', 'resiliparse'):.2f} (0.8)")])


if __name__ == "__main__":
    main()
