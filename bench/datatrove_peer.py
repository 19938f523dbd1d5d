"""De-duplicates an artifact of documents as datatrove's example does, and prints how long it took.

python -m bench.datatrove_peer <documents> <empty directory> <language, or `words`>
    # with .herd/peers first in PYTHONPATH
"""

import json
import re
import sys
import time
from pathlib import Path

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.readers import ParquetReader
from datatrove.pipeline.writers.parquet import ParquetWriter
from datatrove.utils.word_tokenizers import WordTokenizer, load_word_tokenizer
from loguru import logger

WORD = re.compile(r"\w+")


class Words(WordTokenizer):
    """A minimal tokenizer: runs of letters and digits."""

    def word_tokenize(self, text: str) -> list[str]:
        return WORD.findall(text)

    def sent_tokenize(self, text: str) -> list[str]:
        raise NotImplementedError

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        raise NotImplementedError


def adapt(reader: ParquetReader, row: dict, path: str, number: int) -> dict:
    """datatrove gives the column `media` another meaning."""
    kept = {name: row[name] for name in ("url", "date", "language")}
    return {"text": row["text"], "id": row["id"], "metadata": kept}


def deduplicate(source: str, work: str, tokenizer: str | WordTokenizer) -> float:
    """Seconds of the four steps, one process, from documents to documents."""
    config, tasks = MinhashConfig(n_grams=5), len(list(Path(source).glob("documents-*.parquet")))

    def reader() -> ParquetReader:
        return ParquetReader(source, glob_pattern="documents-*.parquet", adapter=adapt)

    load_word_tokenizer(tokenizer).word_tokenize("a word")  # loaded before the clock starts
    start = time.perf_counter()
    for number, (pipeline, count) in enumerate(
        [
            ([reader(), MinhashDedupSignature(f"{work}/signatures", config, language=tokenizer)], tasks),
            ([MinhashDedupBuckets(f"{work}/signatures", f"{work}/buckets", config=config)], config.num_buckets),
            ([MinhashDedupCluster(f"{work}/buckets", f"{work}/remove", config=config)], 1),
            ([reader(), MinhashDedupFilter(f"{work}/remove"), ParquetWriter(f"{work}/kept")], tasks),
        ]
    ):
        LocalPipelineExecutor(pipeline, tasks=count, workers=1, logging_dir=f"{work}/logs-{number}").run()
    return time.perf_counter() - start


def main() -> None:
    source, work, tokenizer = sys.argv[1:]
    logger.disable("datatrove")
    seconds = deduplicate(source, work, Words() if tokenizer == "words" else tokenizer)
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main()
