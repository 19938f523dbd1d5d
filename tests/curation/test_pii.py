"""Personal data is masked; documents and sites full of it go."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from stages.curation import documents, pii
from stages.curation.documents import Document
from stages.curation.pii import Config, Pii
from stages.interface import Metrics, StageError
from tests.curation.samples import PROSE, contents, document, fresh, section, store
from tests.recorder import Recorder

CONTACTS = f"{PROSE} Mail a@b.example, c@d.example, e@f.example, or g@h.example."


def run(rows: list[Document], directory: Path, shards: int = 1, **rules: object) -> Metrics:
    source = store(directory / "in", rows, shards)
    config = Config(Pii.model_validate(section("pii") | rules))
    return pii.run(config, {"documents": source}, {"documents": fresh(directory / "out")}, Recorder(directory))


def pages() -> list[Document]:
    """A site of which three of five pages are lists of contacts, one with four of six that has too few, a clean one."""
    rows = [document(f"{n} {CONTACTS}", f"https://people.example/{n}") for n in range(3)]
    rows += [document(f"{n} {PROSE}", f"https://people.example/{n}") for n in range(3, 5)]
    rows += [document(f"{n} {CONTACTS if n < 2 else PROSE}", f"https://mixed.example/{n}") for n in range(6)]
    return [*rows, document(f"Ask me@home.example about it. {PROSE}", "https://good.example/1")]


def test_documents_and_sites_full_of_personal_data_go(tmp_path: Path) -> None:
    metrics = run(pages(), tmp_path)
    assert [(row["step"], row["reason"], row["documents"]) for row in metrics["funnel"]] == [
        ("document", "density", 5),
        ("host", "site high in personal data", 2),
    ]
    assert (metrics["documents_in"], metrics["documents_out"], metrics["hosts"]) == (12, 5, 1)
    assert metrics["masked"] == {"EMAIL": 1}
    kept = documents.read_all(tmp_path / "out")
    assert {row["host"] for row in kept} == {"mixed.example", "good.example"}
    assert kept[-1]["text"] == f"Ask [EMAIL] about it. {PROSE}"
    assert metrics["bytes_out"] == sum(documents.num_bytes(row["text"]) for row in kept)
    removed = pq.read_table(tmp_path / "out" / "removed.parquet").to_pylist()
    assert len(removed) == 7


def test_a_site_is_judged_over_all_files(tmp_path: Path) -> None:
    one, many = run(pages(), tmp_path / "one"), run(pages()[::-1], tmp_path / "many", shards=6)
    assert one == many
    removed = [contents(tmp_path / name / "out")["removed.parquet"] for name in ("one", "many")]
    assert removed[0] == removed[1]


def test_small_sites_are_not_judged_as_a_whole(tmp_path: Path) -> None:
    assert run(pages(), tmp_path, host_documents=6)["documents_out"] == 7


def test_nothing_left_says_which_section_to_loosen(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"loosen curation\.pii"):
        run([document(CONTACTS)], tmp_path)
