"""Text keeps what a reader came for, and no input stops the stage."""

import gzip
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stages.curation import acquire, documents, extract
from stages.curation.acquire import Record
from stages.curation.extract import Config, Extract
from stages.curation.extraction import html, mathml
from stages.curation.pages.sources import Page
from stages.interface import StageError
from tests.curation.samples import PROSE, block, contents, fresh, reasons, section
from tests.recorder import Recorder

PAGE = f"""<!DOCTYPE html><html><head><title>t</title></head><body>
<header><nav><ul><li><a href="/">Home</a></li><li><a href="/about">About us</a></li></ul></nav></header>
<main><article><h1>Even numbers</h1><p>{PROSE}</p>
<p>Let <math alttext="x^2"><mi>x</mi><mn>2</mn></math> be even and
<math><semantics><mi>y</mi><annotation encoding="application/x-tex">\\frac{{y}}{{2}}</annotation></semantics></math>
be whole; then <img class="math" src="/latex/1.png" alt="z &lt; 3"> holds. <img src="/cat.jpg" alt="a cat"></p>
<ul><li>first point</li><li>second point</li></ul>
<pre><code><span class="k">def</span> even(n):
    if n % 2 == 0:
        return True

    return False
</code></pre>
<table><tr><th>n</th><th>even</th></tr><tr><td>1</td><td>no</td></tr></table>
</article></main><footer>Copyright 2024</footer><script>var hidden = 1;</script></body></html>"""


def test_mathml_without_its_tex_keeps_its_form() -> None:
    root = "<msqrt><mrow><msup><mi>b</mi><mn>2</mn></msup><mo>&minus;</mo><mn>4</mn></mrow></msqrt>"
    page = f"<p>{PROSE} <math><mfrac>{root}<mrow><mn>2</mn><mi>a</mi></mrow></mfrac><mo>&lt;</mo><mn>1</mn></math>.</p>"
    assert r"\frac{\sqrt{b^{2} - 4}}{2 a} < 1" in html.decode(page.encode(), "text/html")[1]
    for broken in ("<mi>broken<mo>", "<mrow>" * 3000 + "<mi>q</mi>" + "</mrow>" * 3000, "<mi>x</mi>" * 5000):
        assert mathml.to_tex(f"<math>{broken}</math>") == ""


@pytest.fixture(autouse=True)
def blocked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block(tmp_path, monkeypatch)


def warc(path: Path, pages: list[Page]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for page in pages:
            acquire._append([file], Record(page, "news"))


def run(inputs: Path, output: Path, recorder: Recorder | None = None) -> dict[str, object]:
    limits = Config(Extract.model_validate(section("extract") | {"page_bytes": 100_000}))
    return extract.run(limits, {"warc": inputs}, {"documents": fresh(output)}, recorder or Recorder(inputs))


def test_main_content_keeps_structure_and_drops_the_rest() -> None:
    result = html.decode(PAGE.encode(), "text/html; charset=utf-8")
    assert not isinstance(result, str)
    media, text, code = result
    assert media == "html"
    lines = text.split("\n")
    assert [lines[first : last + 1] for first, last in code] == [
        ["def even(n):", "    if n % 2 == 0:", "        return True", "", "    return False"]
    ]
    assert "Let x^2 be even" in text and "\\frac{y}{2}" in text and "z < 3 holds" in text
    assert "first point" in lines and "second point" in lines
    assert "1\t\tno" in lines
    assert lines[0] == "Even numbers" and PROSE in lines
    for dropped in ("Home", "About us", "Copyright", "hidden", "a cat", "\ue000", "*", "`"):
        assert dropped not in text


@pytest.mark.parametrize(
    ("charset", "header", "text"),
    [
        ("koi8-r", "text/html; charset=koi8-r", "Москва стоит на реке Москве, и река эта впадает в Оку."),
        ("shift_jis", "text/html", "東京は日本の首都であり、多くの人々が暮らしている大都市です。"),
        ("utf-8", "text/html", "Größe, Straße, Übermut: in UTF-8, though the page says otherwise."),
        ("iso2022_jp", "text/html", "東京は日本の首都であり、多くの人々が暮らしている大都市です。"),
        ("windows-1252", "text/html; charset=nonsense", "Größe, Straße, Übermut und Käse: so schrieb man früher."),
    ],
)
def test_encodings(charset: str, header: str, text: str) -> None:
    declared = {"utf-8": "iso-8859-1", "iso2022_jp": "iso-2022-jp"}.get(charset, charset)
    page = f'<html><head><meta charset="{declared}"></head><body><main><p>{text}</p></main></body></html>'
    result = html.decode(page.encode(charset), header)
    assert result[1] == text


@pytest.mark.parametrize(
    ("body", "header", "reason"),
    [
        (b"", "text/html", "empty"),
        (b"\x89PNG\r\n\0\0\0", "image/png", "not text"),
        (b"MZ\0\0\0\1", "text/html", "binary"),
        (b"%PDF-1.4", "application/pdf", "not text"),
    ],
)
def test_what_is_no_text_gives_a_reason(body: bytes, header: str, reason: str) -> None:
    assert html.decode(body, header) == reason


@pytest.mark.parametrize(
    "body",
    [
        b"<div>" * 3000 + PROSE.encode(),
        b"<ul><li>" * 1000 + b"</ul>" * 3,
        b"<p>&#xFFFFFFFF;&#0;<math><pre><!-- <script>" + bytes(range(1, 256)),
        b"<pre>" * 100 + b"x" * 10_000,
        ("x" * 90_000).encode(),
        b"<html><body></body></html>",
        b"<math><mi>x</mi></math>" * 1000,
    ],
)
def test_hostile_pages_raise_nothing(body: bytes) -> None:
    result = html.decode(body, "text/html")
    assert isinstance(result, str) or result[0] == "html"


def test_a_charset_that_yields_no_characters_is_harmless() -> None:
    # UTF-7 can spell half of a surrogate pair, which no file format can hold.
    result = html.decode(b"before +2AA- after", "text/plain; charset=utf-7")
    assert result == ("text", "before  after", [])


def test_plain_text_and_code_stay_as_they_are() -> None:
    session = "gamma\n\n>>> gamma(4)\nmpf('6.0')\n>>> 1\n1\n\nIt is the factorial."
    assert html.decode(session.encode(), "text/plain") == ("text", session, [[2, 5]])
    program = "def f(x):\n\treturn  x  \n"
    assert html.decode(program.encode(), "text/x-python") == ("code", "def f(x):\n\treturn  x", [[0, 1]])


def test_feeds_give_their_entries() -> None:
    feed = f"""<?xml version="1.0"?><rss><channel><title>News</title><item><title>One</title><link>http://x</link>
    <description>&lt;p&gt;{PROSE}&lt;/p&gt;</description></item></channel></rss>"""
    assert html.decode(feed.encode(), "application/xml")[1].split("\n\n") == ["News", "One", PROSE]


def test_bad_records_are_counted_and_the_rest_goes_on(tmp_path: Path) -> None:
    good = [Page(f"https://a.example/{n}", "2024-01-01T00:00:00Z", "text/plain", f"{n} {PROSE}".encode()) for n in "ab"]
    bad = [
        Page("https://a.example/c", "2024-01-01T00:00:00Z", "image/png", b"\x89PNG" * 30),
        Page("https://a.example/d", "2024-01-01T00:00:00Z", "text/plain", b"x" * 200_000),
        Page("https://a.example/e", "2024-01-01T00:00:00Z", "text/html", b"<p>Hi"),
        good[0],
    ]
    warc(tmp_path / "warc" / "pages-00000.warc.gz", good + bad)
    data = (tmp_path / "warc" / "pages-00000.warc.gz").read_bytes()
    (tmp_path / "warc" / "pages-00001.warc.gz").write_bytes(b"")
    (tmp_path / "warc" / "pages-00002.warc.gz").write_bytes(b"no gzip at all")
    whole = next(n for n in range(len(data), 0, -1) if data[:n].count(b"\x1f\x8b\x08") == 1)
    (tmp_path / "warc" / "pages-00003.warc.gz").write_bytes(data[: whole * 4 // 5])
    (tmp_path / "warc" / "pages-00004.warc.gz").write_bytes(gzip.compress(b"WARC/1.1\r\nContent-Length: 10\r\n"))
    metrics = run(tmp_path / "warc", tmp_path / "out")
    rows = documents.read_all(tmp_path / "out")
    assert sorted(row["text"] for row in rows) == [f"a {PROSE}", f"b {PROSE}"]
    skipped = reasons(metrics)
    assert {"not text": 1, "too large": 1, "empty": 1, "same record": 1, "truncated": 1}.items() <= skipped.items()


def test_the_order_and_number_of_workers_change_nothing(tmp_path: Path) -> None:
    for shard in range(3):
        pages = [
            Page(
                f"https://a.example/{shard}/{n}",
                "2024-01-01T00:00:00Z",
                "text/html",
                PAGE.replace("Even", f"{n}").encode(),
            )
            for n in range(5)
        ]
        warc(tmp_path / "warc" / f"pages-{shard:05d}.warc.gz", pages)

    class Parallel(Recorder):
        def map(self, name, function, items, kind="thread"):  # type: ignore[no-untyped-def]
            with ThreadPoolExecutor(3) as executor:
                return list(reversed(list(executor.map(function, reversed(list(items))))))

    one = run(tmp_path / "warc", tmp_path / "one")
    many = run(tmp_path / "warc", tmp_path / "many", Parallel(tmp_path))
    assert one == many
    assert contents(tmp_path / "one") == contents(tmp_path / "many")


def test_nothing_to_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "warc").mkdir()
    with pytest.raises(StageError, match="run acquire"):
        run(tmp_path / "warc", tmp_path / "out")
