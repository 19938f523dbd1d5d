"""Pages in legacy encodings, the archive's and mis-declared ones: characters, or a reason."""

import codecs

import pytest

from stages.curation.extraction import html
from stages.curation.pages import archives


def named(folder: str) -> str:
    """The encoding of a folder such as iso-8859-5-bulgarian."""
    try:
        return codecs.lookup(folder).name
    except LookupError:
        return codecs.lookup(folder.rpartition("-")[0]).name


def test_pages_in_legacy_encodings_are_decoded_as_their_folder_says() -> None:
    archive = archives.lock()["chardet"]  # `make data` downloads it
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
        found = html.text_of(body, "")
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
    assert html.decode(page.encode(written), "text/html")[1] == text
