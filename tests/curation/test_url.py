"""Addresses have one form, and blocked or broken ones are refused before their pages are read."""

from pathlib import Path

import pytest

from stages.curation import acquire, documents, extract
from stages.curation.acquire import SourcedPage
from stages.curation.extract import Extract
from stages.curation.extraction import blocklist
from stages.curation.extraction.blocklist import Blocklist
from stages.curation.pages import url
from stages.curation.pages.sources import Page
from tests.curation.samples import PROSE, block, fresh, section
from tests.recorder import Recorder


def test_block_list_covers_subdomains_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block(tmp_path, monkeypatch, b"bad.example", b"worse.org")
    hosts = Blocklist(blocklist.prepare(), ["extra.net"])
    assert all(host in hosts for host in ("bad.example", "a.b.bad.example", "WORSE.org", "www.extra.net"))
    assert not any(host in hosts for host in ("example", "notbad.example", "org", "bad.example.com", "", "localhost"))


def test_refused_pages_are_not_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block(tmp_path, monkeypatch)
    body = f"<html><body><p>{PROSE}</p></body></html>".encode()
    addresses = [
        "https://good.example/1",
        "https://www.bad.example/2",
        "gopher://good.example/3",
        f"https://good.example/{'x' * 1000}",
    ]
    with (fresh(tmp_path / "warc") / "pages-00000.warc.gz").open("wb") as file:
        for address in addresses:
            acquire._write_record([file], SourcedPage(Page(address, "2024-01-01T00:00:00Z", "text/html", body), "news"))
    parsed: list[str] = []
    decode = extract.html.extract_page
    monkeypatch.setattr(extract.html, "extract_page", lambda *given: parsed.append(given[1]) or decode(*given))
    metrics = extract.run(
        extract.Config(Extract(**section("extract"))),
        {"warc": tmp_path / "warc"},
        {"documents": fresh(tmp_path / "out")},
        Recorder(tmp_path),
    )
    assert [(row["step"], row["reason"], row["documents"]) for row in metrics["funnel"]] == [
        ("url", "long", 1),
        ("url", "malformed", 1),
        ("blocklist", "domain", 1),
    ]
    assert len(parsed) == 1
    (kept,) = documents.read_all(tmp_path / "out")
    assert (kept["url"], kept["language"]) == (addresses[0], "en")


@pytest.mark.parametrize(
    ("address", "normal"),
    [
        ("HTTP://www.Example.org:80/a/index.html#top", "example.org/a"),
        ("https://example.org/a/", "example.org/a"),
        ("https://example.org/a?b=2&utm_source=x&a=1&fbclid=3", "example.org/a?a=1&b=2"),
        ("https://example.org/%7Ejane/caf%c3%a9", "example.org/~jane/caf%C3%A9"),
        ("https://example.org:8080/a;jsessionid=12", "example.org:8080/a"),
        ("http://[broken/a", "http://[broken/a"),
    ],
)
def test_urls_have_one_form(address: str, normal: str) -> None:
    assert url.normalize_url(address) == normal
    assert url.normalize_url(normal if "//" in normal else f"https://{normal}") == normal


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("https://example.org/a", None),
        ("ftp://example.org/a", "malformed"),
        ("https://[1/", "malformed"),
        ("https://a.b/" + "x" * 99, "long"),
    ],
)
def test_addresses_refused(address: str, reason: str | None) -> None:
    assert url.rejection_reason(address, 80) == reason
