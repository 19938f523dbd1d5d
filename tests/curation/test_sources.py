"""Archives become pages with URLs; the choice under a limit does not depend on order."""

from collections.abc import Iterator

from stages.curation.pages import sources
from stages.curation.pages.archives import Archive
from stages.curation.pages.sources import Page


class Members(Archive):
    """An archive of given files."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__("test", "1.0", "sdist", "")
        self.__dict__["files"] = files

    def members(self) -> Iterator[tuple[str, bytes]]:
        return iter(sorted(self.__dict__["files"].items()))


def test_choice_keeps_the_limit_and_does_not_depend_on_order() -> None:
    pages = [Page(f"https://a.example/{n}", "2024", "text/plain", b"x" * 1000) for n in range(50)]
    chosen = sources.select_pages(iter(pages), 0.02)
    assert chosen == sources.select_pages(iter(reversed(pages)), 0.02)
    assert len(chosen) == 20 and chosen != pages[:20]


def test_docstrings_lose_markup_and_keep_mathematics_and_sessions() -> None:
    text = (
        """Computes the :func:`~mpmath.gamma` function of ``z``.

    .. plot ::
        :include-source:

    .. math ::

        \\\\Gamma(z) = \\\\int_0^{\\\\infty} t^{z-1} e^{-t} dt

    **Examples**

        >>> gamma(4)
        mpf('6.0')
    """
        + "It satisfies the recurrence of the factorial for all complex numbers but the poles. " * 2
    )
    module = f'def gamma(z):\n    """{text}"""\n'.encode()
    read = sources.docstrings("https://docs.example/", "mpmath")
    page = next(iter(read(Members({"mpmath/functions.py": module, "mpmath/tests/t.py": module}))))
    body = page.body.decode()
    assert page.url == "https://docs.example/mpmath/functions.html"
    assert "Computes the gamma function of z." in body
    assert "\\Gamma(z) = \\int_0^{\\infty} t^{z-1} e^{-t} dt" in body
    assert ">>> gamma(4)\n" in body
    assert ".." not in body.replace("...", "") and ":func:" not in body and "`" not in body


def test_saved_pages_take_the_canonical_url() -> None:
    files = {
        "tests/cache/a.org.post.html": b'<link rel="canonical" href="https://a.org/2020/post"/>',
        "tests/cache/b.org.html": b"<p>none</p>",
        "tests/cache/exotic_tags.html": b"",
    }
    pages = sources.saved_pages("2021")(Members(files))
    assert [page.url for page in pages] == ["https://a.org/2020/post", "https://b.org/"]
