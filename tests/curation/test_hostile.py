"""A hundred and more hostile inputs: each ends in a document or a counted reason, and good pages beside them stay."""

import gzip
import random
import re
import uuid
import zlib
from pathlib import Path

import pytest

from stages.curation import documents, extract
from stages.curation.extract import Config, Extract
from stages.curation.extraction import blocklist
from stages.curation.pages import warc
from tests.curation.samples import PROSE, block, fresh, reasons, section
from tests.recorder import Recorder

LARGEST = 1_000_000
TAGS = ("div", "b", "span", "table", "ul", "li", "a", "font", "blockquote", "math", "pre", "p", "script", "td", "dl")
PAGE = f"<html><head><title>t</title></head><body><main><h1>A</h1><p>{PROSE}</p><pre>x = 1</pre></main></body></html>"


def pages() -> dict[str, tuple[str, bytes]]:
    """Name -> (content type, body)."""
    generator = random.Random(7)
    found: dict[str, tuple[str, bytes]] = {}

    def soup() -> str:
        parts = [
            f"<{generator.choice(['', '/', '!', '?'])}{generator.choice(TAGS)}{generator.choice(['>', '', ' a='])}"
            f"{generator.choice(['x', PROSE[:40], '&#xD800;', '&', '<', ']]>', '<!--', '-->'])}"
            for _ in range(400)
        ]
        return "".join(parts)

    for number in range(15):
        found[f"tag soup {number}"] = ("text/html", soup().encode())
        cut = generator.randrange(len(PAGE))
        found[f"page cut at {cut} ({number})"] = ("text/html", PAGE[:cut].encode())
        flipped = bytearray(PAGE * 3, "utf-8")
        for _ in range(60):
            flipped[generator.randrange(len(flipped))] = generator.randrange(256)
        found[f"flipped bytes {number}"] = ("text/html; charset=utf-8", bytes(flipped))
        found[f"random bytes {number}"] = ("text/html", generator.randbytes(3_000))
    for tag in TAGS:
        found[f"deep {tag}"] = ("text/html", f"<{tag}>".encode() * 20_000 + PROSE.encode())
    for charset in ("utf-16", "utf-7", "utf-32", "cp037", "big5", "nonsense", "idna", "punycode", "rot13", "zlib"):
        found[f"declared {charset}"] = (f"text/html; charset={charset}", PAGE.encode())
    found["NULs"] = ("text/html", PAGE.replace(" ", "\0").encode())
    found["NULs late"] = ("text/html", PAGE.encode() + b" " * 5_000 + b"\0" * 100)
    found["only blanks"] = ("text/html", b" \n" * 1000)
    found["empty"] = ("text/html", b"")
    found["one long line"] = ("text/html", b"<p>" + b"x" * (LARGEST - 10))
    found["one long line of markup"] = ("text/html", b"<" * (LARGEST // 4))
    found["open comments"] = ("text/html", b"<!--" * 50_000)
    found["open lists"] = ("text/html", b"<ul><li>" * 20_000)
    found["attributes without end"] = ("text/html", b'<a href="' * 50_000)
    found["quotes in formulas"] = ("text/html", b'<math alttext="' + b"'\"" * 20_000)
    found["entities"] = ("text/html", b"&#x10FFFF;&#xFFFFFFFFF;&lol9;" * 10_000)
    found["entity bomb"] = ("application/xml", b'<!DOCTYPE x [<!ENTITY a "aaa"><!ENTITY b "&a;&a;">]><rss>&b;</rss>')
    found["too large"] = ("text/html", b"<p>" + b"x" * (50 * LARGEST))
    found["type of a picture"] = ("image/png", PAGE.encode())
    found["no type"] = ("", b"\x89PNG\r\n\x1a\n\0\0")
    found["odd type"] = ("text/html;;;charset==\"'", PAGE.encode())
    return found


def record(name: str, kind: str, body: bytes, **labels: str) -> bytes:
    url = f"https://hostile.example/{uuid.uuid5(uuid.NAMESPACE_URL, name)}"
    return warc.make_record(url, "2024-01-01T00:00:00Z", kind, body, uuid.uuid5(uuid.NAMESPACE_URL, name), labels)


def bomb() -> bytes:
    """A response whose content, a few kilobytes, unpacks to 400 MB."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(400)) + packer.flush()
    plain = gzip.decompress(record("bomb", "text/html", packed))
    header = b"Content-Encoding: gzip\r\n"
    found = re.search(rb"Content-Length: (\d+)", plain)
    assert found
    longer = b"Content-Length: %d" % (int(found[1]) + len(header))
    plain = plain.replace(found[0], longer, 1).replace(b"200 OK\r\n", b"200 OK\r\n" + header)
    return gzip.compress(plain)


def broken_files() -> dict[str, bytes]:
    """Name -> bytes of a WARC file of three good pages with something broken in it."""
    generator = random.Random(3)
    whole = b"".join(record(f"file {n}", "text/html", PAGE.replace("A", f"{n}", 1).encode()) for n in range(3))
    found = {
        "empty": b"",
        "no gzip": PAGE.encode(),
        "gzip of nothing": gzip.compress(b""),
        "no WARC": gzip.compress(b"x" * 99),
    }
    for number in range(8):
        found[f"cut {number}"] = whole[: generator.randrange(20, len(whole))]
        damaged = bytearray(whole)
        damaged[generator.randrange(len(whole))] ^= 0xFF
        found[f"damaged {number}"] = bytes(damaged)
    plain = gzip.decompress(whole)
    for wrong in (b"Content-Length: 99999999", b"Content-Length: -5", b"Content-Length: x", b"Content-Length: 3"):
        head, _, rest = plain.partition(b"Content-Length: ")
        found[f"wrong {wrong.decode()}"] = gzip.compress(head + wrong + rest[rest.index(b"\r") :])
    found["no URL"] = gzip.compress(plain.replace(b"WARC-Target-URI", b"WARC-Target-XXX"))
    found["status"] = gzip.compress(plain.replace(b"200 OK", b"404 No"))
    return found


@pytest.mark.timeout(120)
def test_a_hundred_hostile_inputs_are_counted_and_stop_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "warc"
    directory.mkdir()
    hostile = pages()
    good = [f"{number} {PROSE}" for number in range(10)]
    with (directory / "pages-00000.warc.gz").open("wb") as file:
        for number, (name, (kind, body)) in enumerate(hostile.items()):
            file.write(record(name, kind, body))
            if number < len(good):
                file.write(record(f"good {number}", "text/plain", good[number].encode()))
        file.write(bomb())
        file.write(record("last", "text/plain", b"the last one " + PROSE.encode()))
    files = broken_files()
    for number, content in enumerate(files.values()):
        (directory / f"pages-1{number:04d}.warc.gz").write_bytes(content)
    assert len(hostile) + len(files) >= 110

    block(tmp_path, monkeypatch)
    config = Config(Extract.model_validate(section("extract") | {"page_bytes": LARGEST}))
    metrics = extract.run(config, {"warc": directory}, {"documents": fresh(tmp_path / "out")}, Recorder(tmp_path))

    texts = [row["text"] for row in documents.read_documents(documents.document_files(tmp_path / "out")[0])]
    assert set(good) <= set(texts) and any(text.startswith("the last one") for text in texts)
    expected = len(hostile) + len(good) + 2  # the bomb and the last page
    skipped = reasons(metrics)
    shard = extract.Shard(
        directory / "pages-00000.warc.gz", tmp_path / "again.parquet", blocklist.prepare(), config.extract
    )
    first = extract.extract_shard(shard).stats.metrics(extract.STEPS)
    assert sum(reasons(first).values()) + first["documents_out"] == first["documents_in"] == expected
    assert reasons(first)["too large"] == 2  # 50 MB, and what unpacks to 400 MB
    assert reasons(first)["not text"] == 1 and reasons(first)["empty"] >= 2
    assert {"broken file", "status other than 200", "incomplete headers"} <= {r.partition(":")[0] for r in skipped}
    assert metrics["documents_in"] == metrics["documents_out"] + sum(skipped.values())
