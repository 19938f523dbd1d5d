"""Gzip WARC files of HTTP responses, the format of web crawls (ISO 28500)."""

import io
import uuid
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple


class Response(NamedTuple):
    """One response record with decoded transfer and content encodings."""

    url: str
    date: str
    content_type: str
    body: bytes
    headers: Mapping[str, str]
    """Headers of the WARC record."""


def read_responses(stream: BinaryIO, max_bytes: int) -> Iterator[Response | str]:
    """The responses of one file; a reason (str) in place of each response that cannot be used.

    Records of more than `max_bytes` are skipped without reading. A broken file ends with a reason.
    """
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    try:
        for record in ArchiveIterator(
            stream, record_types=WarcRecordType.response, auto_decode="transfer", fsspec_args=False
        ):
            yield _response(record, max_bytes)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        yield f"broken file: {type(error).__name__}"


def _response(record: Any, max_bytes: int) -> Response | str:
    url, date = record.headers.get("WARC-Target-URI"), record.headers.get("WARC-Date")
    http = record.http_headers
    if not url or not date or http is None:
        return "incomplete headers"
    if getattr(http, "status_code", 200) not in (200, None):
        return "status other than 200"
    if record.content_length > max_bytes:
        return "too large"
    # Reads the whole record: a partly read record with a transfer encoding breaks the next one.
    body = record.reader.read()
    if not http.get("Transfer-Encoding") and len(body) < record.content_length:
        return "truncated"
    try:
        # One byte above the limit detects a small record with a huge page, without decompressing all of it.
        body = _decompress(body, (http.get("Content-Encoding") or "").strip().lower(), max_bytes + 1)
    except (OSError, ValueError, zlib.error):
        return "broken content encoding"
    if len(body) > max_bytes:
        return "too large"
    return Response(url.strip("<>"), date, http.get("Content-Type") or "", body, dict(record.headers))


def _decompress(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """At most `max_bytes` of the decoded content; crawls often keep the header of an encoding already decoded."""
    if encoding in ("gzip", "x-gzip") and body.startswith(b"\x1f\x8b"):
        return zlib.decompressobj(31).decompress(body, max_bytes)
    if encoding == "deflate":
        for bits in (15, -15):  # with zlib's header (the standard) and without (many servers)
            try:
                return zlib.decompressobj(bits).decompress(body, max_bytes)
            except zlib.error:
                continue
    if encoding == "br":
        from fastwarc.stream_io import BrotliReader

        decompressed: bytes = BrotliReader(io.BytesIO(body)).read(max_bytes)
        return decompressed
    return body


def make_record(
    url: str, date: str, content_type: str, body: bytes, identity: uuid.UUID, extra_headers: Mapping[str, str]
) -> bytes:
    """One WARC 1.1 response record as its own gzip member, so that a reader can seek.

    The same arguments give the same bytes: zlib writes no time stamp.
    """
    http = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    headers = {
        "WARC-Type": "response",
        "WARC-Record-ID": f"<urn:uuid:{identity}>",
        "WARC-Date": date,
        "WARC-Target-URI": url,
        **extra_headers,
        "Content-Type": "application/http; msgtype=response",
        "Content-Length": str(len(http) + len(body)),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    compressor = zlib.compressobj(6, zlib.DEFLATED, 31)
    data = f"WARC/1.1\r\n{lines}\r\n".encode() + http + body + b"\r\n\r\n"
    return compressor.compress(data) + compressor.flush()
