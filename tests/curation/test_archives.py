"""Archives come by exact hash, survive interruptions, and fail with the package's name."""

import hashlib
import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from stages.curation.pages import archives
from stages.curation.pages.archives import Archive
from stages.interface import StageError


def sdist(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(f"herdtest-1.0/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that serves as the only index, and an empty download cache."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "no-index").as_uri())
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("HERD_DOWNLOADS", str(tmp_path / "downloads"))
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    return folder


def archive(data: bytes, version: str = "1.0") -> Archive:
    return Archive("herdtest", version, "sdist", hashlib.sha256(data).hexdigest())


def test_fetched_from_the_index_of_pip_and_read(index: Path) -> None:
    data = sdist({"b.txt": b"two", "a.txt": b"one"})
    (index / "herdtest-1.0.tar.gz").write_bytes(data)
    wanted = archive(data)
    assert archives.fetch(wanted).read_bytes() == data
    assert list(wanted.members()) == [("a.txt", b"one"), ("b.txt", b"two")]
    (index / "herdtest-1.0.tar.gz").unlink()
    assert archives.fetch(wanted) == wanted.path


def test_another_hash_is_refused_and_not_kept(index: Path) -> None:
    (index / "herdtest-1.0.tar.gz").write_bytes(sdist({"a.txt": b"changed"}))
    with pytest.raises(StageError, match=r"herdtest==1\.0.*sha256"):
        archives.fetch(archive(b"what was pinned"))
    assert not any(path.is_file() for path in archives.download_directory().glob("*"))


def test_all_that_can_be_had_is_kept_when_one_is_missing(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = sdist({"a.txt": b"one"})
    (index / "herdtest-1.0.tar.gz").write_bytes(data)
    have, lack = archive(data), Archive("herdabsent", "2.0", "sdist", "0" * 64)
    monkeypatch.setattr(archives, "read_lock", lambda: {"herdabsent": lack, "herdtest": have})
    with pytest.raises(StageError, match=r"herdabsent==2\.0 could not be fetched"):
        archives.fetch_all(["herdabsent", "herdtest"])
    assert have.path.exists()
    with pytest.raises(StageError, match=r"herdunknown: not in data\.lock\.yaml"):
        archives.fetch_all(["herdunknown"])


def test_a_broken_download_continues_where_it_stopped(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = sdist({"a.txt": b"one" * 1000})
    wanted = archive(data)
    asked = []

    @contextmanager
    def get_stream(url: str, headers: dict[str, str]) -> Iterator[SimpleNamespace]:
        start = int(headers.get("Range", "bytes=0-")[6:-1])
        asked.append(start)

        def iter_bytes(size: int) -> Iterator[bytes]:
            yield data[start : start + 50]
            if not start:
                raise ConnectionResetError("gone")
            yield data[start + 50 :]

        yield SimpleNamespace(
            status_code=206 if start else 200, headers={}, raise_for_status=lambda: None, iter_bytes=iter_bytes
        )

    finder = SimpleNamespace(session=SimpleNamespace(get_stream=get_stream))
    monkeypatch.setattr(archives, "_locate", lambda archive: (finder, "https://index.example/herdtest"))
    assert archives.fetch(wanted).read_bytes() == data
    assert asked == [0, 50]


def test_a_part_that_does_not_fit_is_thrown_away(index: Path) -> None:
    data = sdist({"a.txt": b"one"})
    (index / "herdtest-1.0.tar.gz").write_bytes(data)
    wanted = archive(data)
    wanted.path.parent.mkdir()
    wanted.path.with_name(f"{wanted.sha256}.part").write_bytes(b"left by another file")
    assert archives.fetch(wanted).read_bytes() == data


def test_the_lock_file_pins_every_package(tmp_path: Path) -> None:
    packages = archives.read_lock()
    assert all(len(package.sha256) == 64 and package.kind in ("sdist", "wheel") for package in packages.values())
    entries = yaml.safe_load(archives.LOCK.read_text())["packages"]
    assert all(entry["licence"] and entry["holds"] for entry in entries.values())
    (tmp_path / "broken.yaml").write_text("packages: [")
    with pytest.raises(StageError, match=r"broken\.yaml"):
        archives.read_lock(tmp_path / "broken.yaml")
