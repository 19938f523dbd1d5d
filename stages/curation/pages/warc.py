"""Gzip WARC files of HTTP responses: what crawls are kept in (ISO 28500)."""

import io
import uuid
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple


class Response(NamedTuple):
    """One response record, its transfer and content encodings undone."""

    url: str
    date: str
    content_type: str
    body: bytes
    headers: Mapping[str, str]
    """Of the WARC record."""


def responses(stream: BinaryIO, largest: int) -> Iterator[Response | str]:
    """The responses of one file, or, in place of each one that cannot be used, the reason.

    Records of more than `largest` bytes are skipped unread. A file that breaks off ends with a reason.
    """
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    try:
        for record in ArchiveIterator(
            stream, record_types=WarcRecordType.response, auto_decode="transfer", fsspec_args=False
        ):
            yield _response(record, largest)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        yield f"broken file: {type(error).__name__}"


def _response(record: Any, largest: int) -> Response | str:
    url, date = record.headers.get("WARC-Target-URI"), record.headers.get("WARC-Date")
    http = record.http_headers
    if not url or not date or http is None:
        return "incomplete headers"
    if getattr(http, "status_code", 200) not in (200, None):
        return "status other than 200"
    if record.content_length > largest:
        return "too large"
    # All of it: a record left half read with its transfer encoding undone would break the next one.
    body = record.reader.read()
    if not http.get("Transfer-Encoding") and len(body) < record.content_length:
        return "truncated"
    try:
        # One byte more than allowed shows a small record that unpacks to a huge page, without unpacking all of it.
        body = _unpacked(body, (http.get("Content-Encoding") or "").strip().lower(), largest + 1)
    except (OSError, ValueError, zlib.error):
        return "broken content encoding"
    if len(body) > largest:
        return "too large"
    return Response(url.strip("<>"), date, http.get("Content-Type") or "", body, dict(record.headers))


def _unpacked(body: bytes, encoding: str, most: int) -> bytes:
    """At most `most` bytes of the content; crawls often keep the header of an encoding that they have undone."""
    if encoding in ("gzip", "x-gzip") and body.startswith(b"\x1f\x8b"):
        return zlib.decompressobj(31).decompress(body, most)
    if encoding == "deflate":
        for bits in (15, -15):  # with zlib's header, as the standard says, and without, as many servers do
            try:
                return zlib.decompressobj(bits).decompress(body, most)
            except zlib.error:
                continue
    if encoding == "br":
        from fastwarc.stream_io import BrotliReader

        unpacked: bytes = BrotliReader(io.BytesIO(body)).read(most)
        return unpacked
    return body


def record(url: str, date: str, kind: str, body: bytes, identity: uuid.UUID, labels: Mapping[str, str]) -> bytes:
    """One WARC 1.1 response record as a gzip member of its own, as crawls have it, so that a reader can seek.

    `kind` is the Content-Type, `labels` are more WARC headers. The same arguments give the same bytes: zlib writes no
    time stamp into the member.
    """
    http = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    headers = {
        "WARC-Type": "response",
        "WARC-Record-ID": f"<urn:uuid:{identity}>",
        "WARC-Date": date,
        "WARC-Target-URI": url,
        **labels,
        "Content-Type": "application/http; msgtype=response",
        "Content-Length": str(len(http) + len(body)),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    compressor = zlib.compressobj(6, zlib.DEFLATED, 31)
    data = f"WARC/1.1\r\n{lines}\r\n".encode() + http + body + b"\r\n\r\n"
    return compressor.compress(data) + compressor.flush()
