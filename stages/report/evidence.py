"""What the report is made of: the metrics, curves and answers that other stages left behind."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from stages import statistics
from stages.interface import Paths, StageError

MEMBERS = ("small", "medium", "flagship")
STEPS = {
    ("extract", "url"): "URL filter",
    ("extract", "blocklist"): "domain block list",
    ("extract", "extraction"): "text extraction",
    ("pii", "document"): "personal data",
    ("pii", "host"): "sites of personal data",
    ("dedup", "url"): "URL dedup",
    ("dedup", "document"): "document dedup",
    ("dedup", "line"): "line dedup",
    ("heuristics", "rules"): "heuristics",
    ("heuristics", "divergence"): "outlier words",
    ("classify", "quality"): "quality",
    ("classify", "judge"): "judge",
    ("classify", "ranking"): "rank in its language",
    ("topics", "topic"): "topics",
    ("decontaminate", "contaminated"): "test prompts",
}
"""The steps of curation that remove documents, (stage, step) -> title, in order."""
Interval = dict[str, float]
"""value, low, high (95%) and n."""
Answer = dict[str, Any]
"""A row of an answers.parquet."""


class Missing(Exception):
    """A number is not there because the run did not measure it; says which."""


@dataclass(frozen=True)
class Evidence:
    """A run's results by name. `inputs`: see `stages.report.page.run`."""

    inputs: Paths
    last_round: int

    @property
    def rounds(self) -> list[int]:
        """The rounds of post-training; files of more rounds may lie there from an earlier run."""
        return list(range(1, self.last_round + 1))

    def metric(self, name: str, *keys: str) -> Any:
        """The value under `keys` in metrics/<name>.json; raises Missing where there is none."""
        value = self._metrics(name)
        for key in keys:
            if not isinstance(value, Mapping) or value.get(key) is None:
                raise Missing(f"metrics/{name}.json has no {'.'.join(keys)}")
            value = value[key]
        return value

    def find(self, name: str, *keys: str) -> Any:
        """As `metric`, but None where there is none."""
        try:
            return self.metric(name, *keys)
        except Missing:
            return None

    @cached_property
    def herd(self) -> dict[str, Any]:
        """data/herd.json: members and fit."""
        return _json(self.inputs["herd"])

    def curve(self, name: str) -> dict[str, np.ndarray]:
        """The columns of curves/<name>.csv; empty where there is none."""
        path = self.inputs["curves"] / f"{name}.csv"
        if not path.is_file():
            return {}
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return {column: np.array([float(row[column]) for row in rows]) for column in rows[0]} if rows else {}

    @cached_property
    def answers(self) -> dict[str, list[Answer]]:
        """Answers to the test prompts by model: base, rounds ("sft-1", "dpo-1" ...) and members ("small-own" ...)."""
        found: dict[str, list[Answer]] = {}
        # The first round may also be the last one, under two names.
        directories = {str(path): name for name, path in sorted(self.inputs.items()) if name.startswith("answers")}
        for name in directories.values():
            for row in self.rows(name):
                found.setdefault(row["model"], []).append(row)
        return found

    def rows(self, name: str) -> list[Answer]:
        """The rows of the answers.parquet of input `name`; none where the run has no such input."""
        if name not in self.inputs:
            return []
        rows: list[Answer] = pq.read_table(self.inputs[name] / "answers.parquet").to_pylist()
        return rows

    @cached_property
    def contamination(self) -> dict[tuple[str, str], float]:
        """(task, prompt) -> share of the prompt's tokens that the training corpus holds; only prompts that can be
        judged."""
        if "contamination" not in self.inputs:
            return {}
        rows = pq.read_table(self.inputs["contamination"] / "contamination.parquet").to_pylist()
        return {(row["task"], row["prompt"]): row["overlap"] for row in rows if row["overlap"] is not None}

    def ablation(self, name: str) -> dict[str, Any]:
        """What the ablation of a claim last found; raises Missing where it was never run."""
        path = self.inputs["ablations"] / f"{name}.json" if "ablations" in self.inputs else None
        if path is None or not path.is_file():
            raise Missing(f"not in the default run; `dvc repro ablations/dvc.yaml:{name}` measures it")
        found: dict[str, Any] = _json(path)
        return found

    def paired(self, before: str, after: str) -> Interval:
        """Accuracy of `after` minus accuracy of `before` on the same prompts, with the interval of the differences."""
        pairs = self.pairs(before, after)
        return statistics.mean(np.array([float(b["right"]) - float(a["right"]) for a, b in pairs]))

    def pairs(self, before: str, after: str) -> list[tuple[Answer, Answer]]:
        """Both models' answers to each prompt; raises Missing without them, StageError for different prompts."""
        for model in (before, after):
            if model not in self.answers:
                raise Missing(f"no answers of {model}")
        first, second = self.answers[before], self.answers[after]
        if [row["prompt"] for row in first] != [row["prompt"] for row in second]:
            raise StageError(
                f"the answers of {before} and {after} are to different prompts; run `dvc repro` to make both again"
            )
        return list(zip(first, second, strict=True))

    @cached_property
    def _cache(self) -> dict[str, Any]:
        return {}

    def _metrics(self, name: str) -> Any:
        if name not in self._cache:
            path = self.inputs["metrics"] / f"{name}.json"
            self._cache[name] = _json(path) if path.is_file() else None
        if self._cache[name] is None:
            raise Missing(f"metrics/{name}.json was not made by this run")
        return self._cache[name]


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise StageError(f"{path}: not valid JSON ({error}); run the stage that makes it again") from None


def rescale(interval: Mapping[str, float], factor: float) -> Interval:
    """The interval in another unit."""
    return {key: value if key == "n" else factor * value for key, value in interval.items()}


def percent(interval: Mapping[str, float]) -> Interval:
    """A share as a percentage, a difference of shares in percentage points."""
    return rescale(interval, 100.0)


def wilson(successes: float, n: int) -> Interval:
    """A rate with Wilson's interval: unlike the paper's it has a width where all or none of few trials succeed."""
    z, p = statistics.Z, successes / n
    centre, spread = p + z * z / (2 * n), z * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
    low, high = ((centre + sign * spread) / (1 + z * z / n) for sign in (-1, 1))
    return {"value": p, "low": max(0.0, low), "high": min(1.0, high), "n": n}


def difference(first: Mapping[str, float], second: Mapping[str, float]) -> Interval:
    """first - second of independent measurements: half-widths add in squares. Conservative where they go together."""
    value = first["value"] - second["value"]
    down = ((first["value"] - first["low"]) ** 2 + (second["high"] - second["value"]) ** 2) ** 0.5
    up = ((first["high"] - first["value"]) ** 2 + (second["value"] - second["low"]) ** 2) ** 0.5
    return {"value": value, "low": value - down, "high": value + up, "n": min(first["n"], second["n"])}


def describe(interval: Mapping[str, float], digits: int = 1, unit: str = "") -> str:
    """ "12.3 % (10.1 to 14.5)" """
    value, low, high = (f"{interval[key]:.{digits}f}" for key in ("value", "low", "high"))
    return f"{value}{unit} ({low} to {high})"


def join(parts: Sequence[str]) -> str:
    return "; ".join(part for part in parts if part)
