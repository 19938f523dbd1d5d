"""Metrics of curation and the tokenizer (3.1, 3.2)."""

from typing import Any

from tests.report.example.values import interval

VERDICTS = {"data-01": "shown", "data-02": "exact", "data-03": "shown", "data-07": "exact", "arch-05": "shown"}


def metrics() -> dict[str, Any]:
    def removal(step: str, reason: str, documents: int, size: int) -> dict[str, Any]:
        return {"step": step, "reason": reason, "documents": documents, "bytes": size}

    buckets = {"general": 4_100_000, "math": 2_300_000, "code": 1_900_000, "multilingual": 1_000_000}
    drawn = {"general": 5_010_000, "math": 2_498_000, "code": 1_696_000, "multilingual": 796_000}
    return {
        "extract": {
            "documents_in": 9000,
            "documents_out": 8800,
            "bytes_in": 0,
            "bytes_out": 30_000_000,
            "funnel": [removal("blocklist", "domain", 12, 0), removal("extraction", "empty", 188, 0)],
            "languages": {"en": 7500, "de": 600, "fr": 320, "es": 280, "und": 100},
        },
        "pii": {
            "documents_in": 8800,
            "documents_out": 8780,
            "bytes_in": 30_000_000,
            "bytes_out": 29_900_000,
            "funnel": [removal("document", "density", 18, 60_000), removal("host", "high", 2, 40_000)],
            "masked": {"EMAIL": 240, "PHONE": 33},
            "hosts": 1,
        },
        "heuristics": {
            "documents_in": 8480,
            "documents_out": 8200,
            "bytes_in": 28_400_000,
            "bytes_out": 27_500_000,
            "funnel": [
                removal("rules", "too few words", 200, 100_000),
                removal("divergence", "outlier", 10, 0),
                removal("rules", "repeated lines", 70, 800_000),
            ],
        },
        "gold": {
            "ngram": 4,
            "scores": {
                "real": {
                    name: {"f1": {"value": value}, "code": {"value": value}}
                    for name, value in (("ours", 0.98), ("resiliparse", 0.94), ("trafilatura", 0.95))
                }
            },
            "ahead": {
                group: {
                    peer: {"value": 0.03, "low": 0.02, "high": 0.04, "n": 40} for peer in ("resiliparse", "trafilatura")
                }
                for group in ("real", "technical", "technical, real", "other")
            },
        },
        "dedup": {
            "documents_in": 8780,
            "documents_out": 8480,
            "bytes_in": 29_900_000,
            "bytes_out": 28_400_000,
            "funnel": [
                removal("url", "older version", 90, 300_000),
                removal("document", "near-duplicate", 210, 900_000),
                removal("line", "repeated line", 0, 300_000),
            ],
            "lines": {"distinct": 320, "occurrences": 9790},
            "minhash": {
                "bands": 14,
                "rows": 9,
                "candidate_pairs": 260,
                "verified_pairs": 230,
                "clusters": 180,
                "removed": 210,
                "removed_similar": 208,
                "planted": {"pairs": 250, "similar": 200, "found": 196, "recall": 0.98},
            },
            "removed": {
                "url": {"documents": 0.0106, "bytes": 0.0103},
                "document": {"documents": 0.025, "bytes": 0.031},
                "line": {"documents": 0.0, "bytes": 0.0103},
            },
        },
        "classify": {
            "documents_in": 8200,
            "documents_out": 7900,
            "bytes_in": 27_500_000,
            "bytes_out": 27_000_000,
            "funnel": [removal("quality", "low score", 300, 500_000)],
            "classifier": {"auc": {"general": 0.99, "math": 0.98, "code": 0.99}},
            "quality": {"auc": 0.97},
            "judge": {"auc": 0.95},
            "languages": {"en": 6800, "de": 500, "fr": 220, "es": 200, "und": 100},
        },
        "topics": {
            "documents_in": 7900,
            "documents_out": 7900,
            "bytes_in": 27_000_000,
            "bytes_out": 27_000_000,
            "funnel": [],
            "bytes": {
                "arts": {"before": 900_000, "after": 400_000},
                "other": {"before": 2_000_000, "after": 2_000_000},
            },
        },
        "decontaminate": {
            "documents_in": 7900,
            "documents_out": 7890,
            "bytes_in": 27_000_000,
            "bytes_out": 26_990_000,
            "funnel": [removal("contaminated", "test prompts", 10, 10_000)],
            "threshold": 0.5,
        },
        "encode": {
            "generated": dict.fromkeys((*buckets, "all"), 0.3),
            "tokens": {"train": buckets, "anneal": buckets, "validation": buckets},
        },
        "tokenizer": {
            "vocab_size": 2048,
            "sample_bytes": 8_000_000,
            "characters_per_token": {
                str(size): interval(value, 0.05, 250)
                for size, value in ((512, 1.9), (1024, 2.3), (2048, 2.75), (4096, 3.1))
            },
        },
        "flagship/initial": {
            "tokens_by_bucket": drawn,
            "epochs_by_bucket": {"general": 1.2, "math": 1.1, "code": 0.9, "multilingual": 0.8},
            "validation_loss": interval(2.31, 0.1, 192),
        },
    }
