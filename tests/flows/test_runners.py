"""Whoever does the fan-out of curation, and however many files the pages lie in: the same bytes, the same text."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import LocalCluster

from flows.context import StageContext
from flows.crew import Cluster
from flows.events import EventLog
from stages.curation import acquire, dedup, documents, extract, heuristics, pii
from stages.curation.acquire import Record
from stages.curation.dedup import Dedup
from stages.curation.extract import Extract
from stages.curation.heuristics import Heuristics
from stages.curation.pii import Pii
from stages.curation.sources import Page
from stages.tasks.pages import pages
from tests.curation.samples import contents, section

STEPS = ("extracted", "masked", "deduplicated", "filtered")
WORKERS = {"one process": 1, "four processes": 4}


@pytest.fixture(scope="module")
def clusters() -> Iterator[dict[str, Cluster]]:
    with LocalCluster(2, threads_per_worker=1, dashboard_address=None, silence_logs=40) as scheduler:
        dask = Cluster(workers=2, runner="dask", address=scheduler.scheduler_address)
        yield {name: Cluster(workers=count) for name, count in WORKERS.items()} | {"dask": dask}


def warc(directory: Path, shards: int) -> Path:
    """Forty generated pages and a copy of every fourth, in so many files."""
    directory.mkdir(parents=True)
    files = [(directory / f"pages-{shard:05d}.warc.gz").open("wb") for shard in range(shards)]
    for number, page in enumerate(page for task in ("howto", "facts") for page in pages(task, 20, 1)):
        acquire._append(files, Record(Page(*page), "news"))
        if number % 4 == 0:
            acquire._append(files, Record(Page(f"https://mirror.example/{number}", *page[1:]), "news", page.url))
    for file in files:
        file.close()
    return directory


def curate(directory: Path, pages: Path, cluster: Cluster) -> Path:
    """All steps before classification."""
    steps = {name: directory / name for name in STEPS}
    for path in steps.values():
        path.mkdir(parents=True)
    context = StageContext("curation", {}, directory, directory, EventLog(directory, "curation"), cluster)
    extract.run(extract.Config(Extract(**section("extract"))), {"warc": pages}, {"documents": steps["extracted"]},
                context)  # fmt: skip
    pii.run(pii.Config(Pii(**section("pii"))), {"documents": steps["extracted"]}, {"documents": steps["masked"]},
            context)  # fmt: skip
    options = Dedup(**{**section("dedup"), "lines": {**section("dedup")["lines"], "bucket_documents": 1000}})
    dedup.run(dedup.Config(1, options), {"documents": steps["masked"]}, {"documents": steps["deduplicated"]},
              context)  # fmt: skip
    heuristics.run(heuristics.Config(Heuristics(**section("heuristics"))), {"documents": steps["deduplicated"]},
                   {"documents": steps["filtered"]}, context)  # fmt: skip
    context.close()
    return directory


def everything(directory: Path) -> dict[str, dict[str, bytes]]:
    return {name: contents(directory / name) for name in STEPS}


def test_the_same_bytes_from_one_process_four_and_a_dask_cluster(clusters: dict[str, Cluster], tmp_path: Path) -> None:
    raw = warc(tmp_path / "raw", 4)
    made = {name: everything(curate(tmp_path / name, raw, cluster)) for name, cluster in clusters.items()}
    assert made["one process"] == made["four processes"] == made["dask"]
    assert len(made["dask"]["filtered"]) == 5  # four files and what was removed


def test_the_same_documents_from_any_number_of_files(clusters: dict[str, Cluster], tmp_path: Path) -> None:
    found = []
    for shards in (1, 3, 7):
        done = curate(tmp_path / f"{shards}", warc(tmp_path / f"raw-{shards}", shards), clusters["one process"])
        kept = documents.read_all(done / "filtered")
        removed = (done / "deduplicated" / "removed.parquet").read_bytes()
        members = (done / "deduplicated" / "clusters.parquet").read_bytes()
        found.append((kept, removed, members))
    assert found[0] == found[1] == found[2]
    originals = [document["planted_from"] or document["url"] for document in found[0][0]]
    assert len(originals) == len(set(originals)) >= 30  # each page once, the page or its copy
