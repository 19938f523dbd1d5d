"""Benchmarks the de-duplication stage from Parquet to Parquet: speed against datatrove, recall of planted
near-duplicates, and cost for ten times as many documents.

python -m bench.dedup_stage [--large]     # --large also takes 100,000 and 200,000 documents
"""

import argparse
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from bench import PEERS, corpus
from bench.corpus import Corpus
from bench.timing import table
from flows.execution.context import StageContext
from flows.parameters import Cluster
from flows.tracking.events import EventLog
from stages.curation import dedup
from stages.curation.dedup import Config, Dedup
from stages.curation.deduplication import minhash, shingles
from stages.interface import Metrics

THRESHOLD, SHINGLE, SEED = 0.8, 5, 1
DOCUMENTS_PER_FILE = 5_000
Rows = Iterator[tuple[str, str, str, str]]


class StageRun(NamedTuple):
    """One run of the stage: seconds, and peak memory of its process and of one worker, in MB."""

    seconds: float
    driver: float
    worker: float
    metrics: Metrics


def run_stage(directory: Path, workers: int, memory_mb: int) -> StageRun:
    """Runs the stage on directory/in in this new process with `workers` worker processes."""
    options = Dedup.model_validate(
        {
            "memory_mb": memory_mb,
            "minhash": {"shingle": SHINGLE, "permutations": 128, "threshold": THRESHOLD, "recall_weight": 0.95},
            "lines": {"most": 6, "bucket_documents": 30_000_000, "characters": 50},
        }
    )
    os.environ["HERD_BARS"] = "off"
    out = directory / "out"
    out.mkdir()
    context = StageContext("dedup", {}, directory, directory, EventLog(directory, "dedup"), Cluster(workers=workers))
    # Loads libraries and starts workers before the clock starts, as for datatrove.
    cut = shingles.make_shingles(["a text"], SHINGLE)
    minhash.signatures(cut.hashes(), cut.offsets, minhash.permutations(2, SEED))
    minhash.bands(THRESHOLD, 128, 0.5)
    context.map("start", dedup._hashes, [[]] * workers, kind="process")
    start = time.perf_counter()
    metrics = dedup.run(Config(SEED, options), {"documents": directory / "in"}, {"documents": out}, context)
    context.close()
    seconds = time.perf_counter() - start
    worker = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return StageRun(seconds, peak_memory_mb(), worker, metrics)


def peak_memory_mb() -> float:
    """Peak memory of this process, in MB; getrusage also counts that of the parent process."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def run(directory: Path, workers: int, memory_mb: int) -> StageRun:
    """`run_stage` in a new process, so that its memory is measured alone."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(run_stage, directory, workers, memory_mb).result()


def against_datatrove(count: int) -> Rows:
    if not (PEERS / "datatrove").exists():
        yield "whole de-duplication against datatrove", "", "", "not installed: make peers"
        return
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        corpus.store(corpus.corpus(count, SEED), directory / "in", 4)
        ours = run(directory, 1, 100)
        for tokenizer, title, bar in (("eng", "as it comes", " (20)"), ("words", "with a plain tokenizer", "")):
            seconds = datatrove(directory, tokenizer)
            yield (
                f"whole de-duplication, documents/s; datatrove {title}",
                f"{count / ours.seconds:,.0f}",
                f"{count / seconds:,.0f}",
                f"{seconds / ours.seconds:.1f}{bar}",
            )


def datatrove(directory: Path, tokenizer: str) -> float:
    """Seconds of datatrove on the same documents, in one process."""
    environment = os.environ | {"PYTHONPATH": f"{PEERS}:{Path.cwd()}", "OMP_NUM_THREADS": "1"}
    words = [
        sys.executable,
        "-m",
        "bench.datatrove_peer",
        *map(str, (directory / "in", directory / tokenizer, tokenizer)),
    ]
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"datatrove failed:\n{done.stderr[-2000:]}")
    seconds: float = json.loads(done.stdout.splitlines()[-1])["seconds"]
    return seconds


def word_ngrams(text: str) -> set[tuple[str, ...]]:
    """The word n-grams of a text, without code of the stage that is checked."""
    words = text.split()
    return set(zip(*(words[start:] for start in range(SHINGLE)), strict=False))


def jaccard(made: Corpus, first: int, second: int) -> float:
    a, b = word_ngrams(made.texts[first]), word_ngrams(made.texts[second])
    return len(a & b) / len(a | b)


def quality_of(made: Corpus, directory: Path) -> dict[str, float]:
    """Recall of planted pairs (at most one of each may be kept), and precision of removals."""
    numbers = {corpus.name(number): number for number in range(len(made.texts))}
    clusters: dict[str, list[dict[str, Any]]] = {}
    for row in pq.read_table(directory / "out" / "clusters.parquet").to_pylist():
        clusters.setdefault(row["cluster"], []).append(row | {"number": numbers[row["url"]]})
    removed = {row["number"] for rows in clusters.values() for row in rows if not row["kept"]}
    similar = [pair for pair in made.planted if jaccard(made, *pair) >= THRESHOLD]
    hits = sum(a in removed or b in removed for a, b in similar)
    to_kept = 0
    for rows in clusters.values():
        kept = next(row["number"] for row in rows if row["kept"])
        to_kept += sum(jaccard(made, row["number"], kept) >= THRESHOLD for row in rows if not row["kept"])
    return {"similar": len(similar), "recall": hits / len(similar), "precision": to_kept / len(removed)}


def cost(counts: list[int], memory_mb: int) -> Rows:
    """Quality and cost by the number of documents, at the same memory limit."""
    runs: dict[int, StageRun] = {}
    for count in [100, *counts]:
        with tempfile.TemporaryDirectory() as name:
            directory = Path(name)
            made = corpus.corpus(count, SEED + 1)
            corpus.store(made, directory / "in", -(-count // DOCUMENTS_PER_FILE))
            runs[count] = run(directory, len(os.sched_getaffinity(0)), memory_mb)
            if count == 100:  # memory before there is much work
                continue
            quality = quality_of(made, directory)
        one, least = runs[count], runs[100]
        yield (
            f"{count:,} documents: recall of {quality['similar']:,.0f} planted pairs",
            f"{quality['recall']:.4f}",
            "",
            "(0.97)",
        )
        yield "  removed documents similar to the one that stays", f"{quality['precision']:.4f}", "", "(0.99)"
        times = f"{one.seconds / runs[counts[0]].seconds:.1f} times those of {counts[0]:,}"
        yield "  seconds", f"{one.seconds:.1f}", "", times + (" (12)" if count == 10 * counts[0] else "")
        yield (
            f"  peak memory of a worker at memory_mb: {memory_mb}, MB",
            f"{one.worker:.0f}",
            "",
            f"{one.worker - least.worker:+.0f} to one with nothing to do",
        )
        more = one.driver - least.driver
        yield (
            "  peak memory of the stage's own process, MB",
            f"{one.driver:.0f}",
            "",
            f"{more:+.0f}: {more / count * 1e6:,.0f} bytes per document",
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.dedup_stage", description=__doc__.split("\n")[0])
    parser.add_argument("--large", action="store_true", help="also 100,000 and 200,000 documents")
    large = parser.parse_args().large
    rows = [*against_datatrove(20_000)]
    rows += cost([20_000, 100_000, 200_000] if large else [20_000], 1)
    table(rows)


if __name__ == "__main__":
    main()
