"""Pages become WARC records that any reader of crawls understands, the same bytes each time."""

import sys
from collections import Counter
from pathlib import Path

import pytest
from fastwarc.warc import ArchiveIterator, WarcRecordType

from stages.curation import acquire
from stages.curation.acquire import Acquire, Config, Planted
from stages.curation.extract import Extract
from stages.interface import StageError
from tests.curation.samples import contents, fresh, section
from tests.recorder import Recorder

PLANTED = Planted(share=0.5, recrawled=0.5, edits=[0.0, 0.1])


def config(**fields: object) -> Config:
    values = {"sources": {}, "generated": {"arithmetic": 20, "code": 10}, "warc": [], "shards": 2, "planted": PLANTED}
    return Config(
        1, Acquire.model_validate(values | fields), Extract.model_validate(section("extract") | {"page_bytes": 100_000})
    )


def records(directory: Path) -> list[tuple[dict[str, str], str, bytes]]:
    found = []
    for path in sorted(directory.glob("*.warc.gz")):
        for record in ArchiveIterator(path.open("rb"), record_types=WarcRecordType.response):
            found.append((dict(record.headers), record.http_headers["Content-Type"], record.reader.read()))
    return found


def test_same_parameters_same_bytes_and_readable_records(tmp_path: Path) -> None:
    metrics = acquire.run(config(), {}, {"warc": fresh(tmp_path / "a")}, Recorder(tmp_path))
    acquire.run(config(), {}, {"warc": fresh(tmp_path / "b")}, Recorder(tmp_path))
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    found = records(tmp_path / "a")
    assert metrics["pages"] == 30
    assert len(found) == 30 + sum(metrics["planted"].values())
    assert len({headers["WARC-Record-ID"] for headers, _, _ in found}) == len(found)
    assert {headers["WARC-Source"] for headers, _, _ in found} == {"generated-arithmetic", "generated-code"}
    assert all(kind.startswith("text/html") and b"<html" in body for _, kind, body in found)


def test_planted_copies_are_labelled_later_and_edited_in_words_only(tmp_path: Path) -> None:
    metrics = acquire.run(config(), {}, {"warc": fresh(tmp_path / "a")}, Recorder(tmp_path))
    found = records(tmp_path / "a")
    originals = {headers["WARC-Target-URI"]: (headers, body) for headers, _, body in found}
    copies = [(headers, body) for headers, _, body in found if "WARC-Planted-From" in headers]
    assert copies and len(copies) == sum(metrics["planted"].values())
    for headers, body in copies:
        original, text = originals[headers["WARC-Planted-From"]]
        assert headers["WARC-Date"] > original["WARC-Date"]
        assert headers["WARC-Target-URI"] != original["WARC-Target-URI"]
        assert body.count(b"<") == text.count(b"<")
        assert abs(len(body) - len(text)) < 0.2 * len(text)
    assert metrics["planted"]["edited"] and metrics["planted"]["recrawled"]


def test_a_crawl_in_a_bucket_needs_s3fs_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(StageError, match=r"s3://bucket/\*.gz: .*pip install s3fs"):
        list(acquire._read_crawl("s3://bucket/*.gz", 1000, Counter()))


def test_own_crawls_are_read_and_broken_ones_counted(tmp_path: Path) -> None:
    acquire.run(config(), {}, {"warc": fresh(tmp_path / "crawl")}, Recorder(tmp_path))
    whole = (tmp_path / "crawl" / "pages-00000.warc.gz").read_bytes()
    (tmp_path / "crawl" / "pages-00001.warc.gz").write_bytes(whole[: len(whole) // 2])
    own = config(generated={}, warc=[str(tmp_path / "crawl" / "*.warc.gz")], shards=1)
    metrics = acquire.run(own, {}, {"warc": fresh(tmp_path / "own")}, Recorder(tmp_path))
    assert metrics["sources"].keys() == {"crawl"}
    number = len(list(ArchiveIterator((tmp_path / "crawl" / "pages-00000.warc.gz").open("rb"))))
    assert number <= metrics["pages"] < 2 * number


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sources": {"nonsense": 1.0}}, "curation.acquire.sources: nonsense unknown; known are articles"),
        ({"generated": {"nonsense": 1}}, "curation.acquire.generated: nonsense unknown"),
        ({"generated": {}, "warc": ["/nowhere/*.warc.gz"]}, "no file matches"),
        ({"generated": {}}, "no pages; name sources"),
    ],
)
def test_impossible_input_is_named(tmp_path: Path, fields: dict[str, object], message: str) -> None:
    with pytest.raises(StageError, match=message):
        acquire.run(config(**fields), {}, {"warc": fresh(tmp_path / "a")}, Recorder(tmp_path))
