"""The same bytes from one process, several processes and Dask, also when workers die."""

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import pytest
from distributed import LocalCluster

from flows.execution import executors
from flows.execution.context import StageContext
from flows.parameters import Cluster
from flows.tracking.events import EventLog
from stages.curation import acquire, dedup, documents, extract, heuristics, pii
from stages.curation.acquire import SourcedPage
from stages.curation.dedup import Dedup
from stages.curation.extract import Extract
from stages.curation.heuristics import Heuristics
from stages.curation.pages.sources import Page
from stages.curation.pii import Pii
from stages.interface import R, StageError, T, WorkerKind
from stages.tasks.pages import pages
from tests.curation.samples import PROSE, contents, document, fresh, section, store
from tests.flows.workers import die_once
from tests.recorder import Recorder


def in_process(item: int) -> tuple[int, int]:
    return item, os.getpid()


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """A Dask cluster of two worker processes that somebody has started."""
    with LocalCluster(2, threads_per_worker=1, dashboard_address=None, silence_logs=40) as cluster:
        yield cluster.scheduler_address


def test_dask_workers_do_a_fan_out_and_a_dead_one_is_replaced(scheduler: str, tmp_path: Path) -> None:
    cluster = Cluster(workers=2, runner="dask", address=scheduler)
    context = StageContext("mini", {}, tmp_path, tmp_path, EventLog(tmp_path, "mini"), cluster)
    found = context.map("where", in_process, range(20), kind="process")
    assert [item for item, _ in found] == list(range(20))
    assert os.getpid() not in {pid for _, pid in found}
    (pid,) = context.map("die", die_once, [str(tmp_path / "died")], kind="process")
    assert pid != os.getpid()


def test_a_scheduler_that_does_not_answer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "CONNECT_TIMEOUT", 0.5)
    cluster = Cluster(runner="dask", address="tcp://127.0.0.1:9")
    context = StageContext("mini", {}, tmp_path, tmp_path, EventLog(tmp_path, "mini"), cluster)
    with pytest.raises(StageError, match=r"cluster\.address: no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        context.map("where", in_process, [1], kind="process")


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
        acquire._write_record(files, SourcedPage(Page(*page), "news"))
        if number % 4 == 0:
            acquire._write_record(
                files, SourcedPage(Page(f"https://mirror.example/{number}", *page[1:]), "news", page.url)
            )
    for file in files:
        file.close()
    return directory


def curate(directory: Path, pages: Path, cluster: Cluster) -> Path:
    """All steps before classification."""
    steps = {name: directory / name for name in STEPS}
    for path in steps.values():
        path.mkdir(parents=True)
    context = StageContext("curation", {}, directory, directory, EventLog(directory, "curation"), cluster)
    extract.run(
        extract.Config(Extract(**section("extract"))), {"warc": pages}, {"documents": steps["extracted"]}, context
    )
    pii.run(
        pii.Config(Pii(**section("pii"))), {"documents": steps["extracted"]}, {"documents": steps["masked"]}, context
    )
    options = Dedup(**{**section("dedup"), "lines": {**section("dedup")["lines"], "bucket_documents": 1000}})
    dedup.run(dedup.Config(1, options), {"documents": steps["masked"]}, {"documents": steps["deduplicated"]}, context)
    heuristics.run(
        heuristics.Config(Heuristics(**section("heuristics"))),
        {"documents": steps["deduplicated"]},
        {"documents": steps["filtered"]},
        context,
    )
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


KILLED = {"bands", "remove"}


class Deadly(StageContext):
    """Kills the worker that has the second item of some fan-outs, when it has done it, once each."""

    def map(self, name: str, function: Callable[[T], R], items: Iterable[T], kind: WorkerKind = "thread") -> list[R]:
        work = list(enumerate(items))
        if name in KILLED:
            return super().map(name, partial(done_then_killed, function, self.scratch / f"killed {name}"), work, kind)
        return super().map(name, function, (item for _, item in work), kind)


def done_then_killed(function: Callable[[T], R], mark: Path, item: tuple[int, T]) -> R:
    number, work = item
    result = function(work)
    if number == 1 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return result


@pytest.mark.parametrize("who", ["two processes", "dask"])
def test_workers_killed_in_the_middle_of_dedup_change_nothing(
    who: str, clusters: dict[str, Cluster], tmp_path: Path
) -> None:
    vary = [PROSE.replace("river", f"river {n // 3}").replace("town", f"town {n // 3}") for n in range(24)]
    rows = [document(f"Menu\n{body} {n % 3}", f"https://{n}.example/") for n, body in enumerate(vary)]
    source = store(tmp_path / "in", rows, 4)
    options = Dedup(**{**section("dedup"), "lines": {**section("dedup")["lines"], "bucket_documents": 1000}})
    killed = fresh(tmp_path / "killed")
    cluster = clusters.get(who) or Cluster(workers=2)
    found = []
    for context in (Recorder(tmp_path), Deadly("dedup", {}, killed, killed, EventLog(killed, "dedup"), cluster)):
        out = fresh(tmp_path / type(context).__name__)
        metrics = dedup.run(dedup.Config(1, options), {"documents": source}, {"documents": out}, context)
        found.append((metrics, contents(out)))
    context.close()
    assert found[0] == found[1]
    assert {path.name for path in killed.glob("killed *")} == {f"killed {name}" for name in KILLED}
    assert found[0][0]["minhash"]["removed"] == 16 and found[0][0]["lines"]["distinct"] == 1
