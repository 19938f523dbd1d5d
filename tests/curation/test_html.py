"""Text of HTML pages, feeds and plain text."""

import codecs

import pytest

from stages.curation.extraction import html
from stages.curation.pages import archives
from tests.curation.samples import PROSE
from tests.curation.web_pages import MENU, PAGE, page


def test_main_content_keeps_structure_and_drops_the_rest() -> None:
    result = html.extract_page(PAGE.encode(), "text/html; charset=utf-8")
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
    result = html.extract_page(page.encode(charset), header)
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
    assert html.extract_page(body, header) == reason


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
    result = html.extract_page(body, "text/html")
    assert isinstance(result, str) or result[0] == "html"


def test_a_charset_that_yields_no_characters_is_harmless() -> None:
    # UTF-7 can spell half of a surrogate pair, which no file format can hold.
    result = html.extract_page(b"before +2AA- after", "text/plain; charset=utf-7")
    assert result == ("text", "before  after", [])


def test_plain_text_and_code_stay_as_they_are() -> None:
    session = "gamma\n\n>>> gamma(4)\nmpf('6.0')\n>>> 1\n1\n\nIt is the factorial."
    assert html.extract_page(session.encode(), "text/plain") == ("text", session, [[2, 5]])
    program = "def f(x):\n\treturn  x  \n"
    assert html.extract_page(program.encode(), "text/x-python") == ("code", "def f(x):\n\treturn  x", [[0, 1]])


def test_feeds_give_their_entries() -> None:
    feed = f"""<?xml version="1.0"?><rss><channel><title>News</title><item><title>One</title><link>http://x</link>
    <description>&lt;p&gt;{PROSE}&lt;/p&gt;</description></item></channel></rss>"""
    assert html.extract_page(feed.encode(), "application/xml")[1].split("\n\n") == ["News", "One", PROSE]


def lines(source: str) -> list[str]:
    return [line for line in html.main_content(source)[0].split("\n") if line]


def test_only_the_element_that_the_page_names_is_read_with_the_heading_before_it() -> None:
    found = lines(page(f"<p>{PROSE}</p>", "<h1>The river</h1><p>By somebody, at noon</p>"))
    assert found == ["The river", PROSE]
    two = page(f"<p>{PROSE}</p>", after=f'<div class="entry-content"><p>Another one. {PROSE}</p></div>')
    assert {PROSE, f"Another one. {PROSE}"} <= set(lines(two))
    teaser = page("<p>Short.</p>", after=f"<div><p>{PROSE}</p></div>")
    assert PROSE in lines(teaser)


def test_scripts_that_write_scripts_take_nothing_with_them() -> None:
    script = """<script>document.write("<script src='x'></scr" + "ipt><div>");</script>"""
    assert lines(page(f"{script}<p>{PROSE}</p>", script)) == [PROSE]


def test_formulas_in_scripts_stay_and_scripts_that_only_speak_of_them_go() -> None:
    script = '<script>var kind = "math/tex";</script>'
    formula = '<script id="f" type="math/tex; mode=display">a_1</script>'
    found = lines(page(f"{script}<p>{PROSE}</p><p>So {formula} holds, as we have seen.</p>", script))
    assert found[-1].split()[:3] == ["So", "a_1", "holds,"] and "kind" not in " ".join(found)


def test_lists_of_prose_stay_and_menus_go() -> None:
    links = '<ul><li>See <a href="/a">the river</a>, which is long and runs to the sea</li><li>or walk</li></ul>'
    found = lines(page(f"<p>{PROSE}</p>{links}"))
    assert found == [PROSE, "See the river, which is long and runs to the sea", "or walk"]
    assert lines(f"<body><div><div>{links}</div></div><ul>{MENU}</ul></body>") == found[1:]


def test_captions_quotations_and_code_stay_and_gutters_pictures_and_edit_links_go() -> None:
    found = lines(
        page(
            f"""<h2>Bridges<span class="mw-editsection">[<a href="/e">edit</a>]</span></h2><p>{PROSE}</p>
<figure><img src="a.jpg" alt="a cat"><figcaption>The bridge in May</figcaption></figure>
<blockquote class="twitter-tweet"><p>It broke at last</p></blockquote>
<table><tr><td class="linenos"><pre>1\n2</pre></td><td><pre>if x:\n    y()</pre></td></tr></table>"""
        )
    )
    assert found == ["Bridges", PROSE, "The bridge in May", "It broke at last", "if x:", "    y()"]


def test_formulas_stand_as_their_source() -> None:
    source = f"""<p>{PROSE}</p><p>A <script type="math/tex">a_1</script> b <img class="tex" alt="c &lt; d" src="x.png">
e <math><semantics><mi>f</mi><annotation encoding="application/x-tex">f^2</annotation></semantics></math> g.</p>"""
    assert lines(page(source))[1].split() == ["A", "a_1", "b", "c", "<", "d", "e", "f^2", "g."]


def named(folder: str) -> str:
    """The encoding of a folder such as iso-8859-5-bulgarian."""
    try:
        return codecs.lookup(folder).name
    except LookupError:
        return codecs.lookup(folder.rpartition("-")[0]).name


def test_pages_in_legacy_encodings_are_decoded_as_their_folder_says() -> None:
    archive = archives.read_lock()["chardet"]  # `make data` downloads it
    right = pages = 0
    for name, body in archive.members():
        folders = name.split("/")
        if folders[0] != "tests" or len(folders) != 3 or not name.endswith((".xml", ".html", ".txt")):
            continue
        try:
            wanted = body.decode(named(folders[1]))
        except (LookupError, UnicodeDecodeError):
            continue
        pages += 1
        found = html.decode_bytes(body, "")
        right += found is not None and found.lstrip("\ufeff") == wanted.lstrip("\ufeff")
    assert pages > 400
    assert right / pages > 0.92


@pytest.mark.parametrize(
    ("declared", "written", "text"),
    [
        ("euc-kr", "cp949", "똠방각하와 펲시콜라는 윈도우의 확장 글자이다."),
        ("shift_jis", "cp932", "①から⑳まで、㈱の記号と髙橋さんの名前が含まれています。"),
        ("gb2312", "gb18030", "朱镕基總理說,這是一個繁體和简体混合的网页。"),
    ],
)
def test_a_charset_that_is_too_small_is_taken_for_the_larger_one(declared: str, written: str, text: str) -> None:
    page = f'<html><head><meta charset="{declared}"></head><body><main><p>{text}</p></main></body></html>'
    assert html.extract_page(page.encode(written), "text/html")[1] == text
