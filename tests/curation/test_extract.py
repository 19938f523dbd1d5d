"""Text keeps what a reader came for, and no input stops the stage."""

import gzip
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stages.curation import acquire, documents, extract
from stages.curation.acquire import SourcedPage
from stages.curation.extract import Config, Extract
from stages.curation.pages.sources import Page
from stages.interface import StageError
from tests.curation.samples import PROSE, block, contents, fresh, reasons, section
from tests.curation.web_pages import PAGE
from tests.recorder import Recorder


@pytest.fixture(autouse=True)
def blocked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block(tmp_path, monkeypatch)


def warc(path: Path, pages: list[Page]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for page in pages:
            acquire._write_record([file], SourcedPage(page, "news"))


def run(inputs: Path, output: Path, recorder: Recorder | None = None) -> dict[str, object]:
    limits = Config(Extract.model_validate(section("extract") | {"page_bytes": 100_000}))
    return extract.run(limits, {"warc": inputs}, {"documents": fresh(output)}, recorder or Recorder(inputs))


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
