"""Domains that are never used: adult, spam, phishing and malware sites (paper 3.1.1).

The list is the one datatrove ships, 4.56 million domains, read out of its archive. It is held as a sorted array of
64-bit hashes: 36 MB, shared between processes, a lookup in microseconds; 1 in 10^12 innocent hosts is hit by chance.
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
    """Path of the hashed list in the download cache, made there on first use; raises StageError without the archive."""
    archive = archives.fetch_all([PACKAGE])[PACKAGE]
    path = archive.path.with_name(f"{archive.sha256}.domains.npy")
    if not path.exists():
        try:
            packed = zipfile.ZipFile(archive.path).read(MEMBER)
            with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
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
    """The domains of `path` (see `prepare`) and a few more."""

    def __init__(self, path: Path, extra: list[str]) -> None:
        self.hashes = np.load(path, mmap_mode="r")
        self.extra = set(extra)

    def __contains__(self, host: str) -> bool:
        """Whether the host, or a domain above it, is blocked."""
        labels = host.lower().rstrip(".").split(".")
        domains = [".".join(labels[start:]) for start in range(max(1, len(labels) - 1))]
        wanted = np.fromiter((xxhash.xxh64_intdigest(domain.encode()) for domain in domains), np.uint64, len(domains))
        places = np.searchsorted(self.hashes, wanted)
        found = self.hashes[np.minimum(places, len(self.hashes) - 1)] == wanted
        return bool(found.any()) or not self.extra.isdisjoint(domains)
