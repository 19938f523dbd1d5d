"""The report's inputs: metrics, curves and answers that other stages wrote; and arithmetic on intervals."""

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from stages import statistics
from stages.interface import Paths, StageError

MEMBERS = ("small", "medium", "flagship")
CURATION_STEPS = {
    ("extract", "url"): "URL filter",
    ("extract", "blocklist"): "domain blocklist",
    ("extract", "extraction"): "text extraction",
    ("pii", "document"): "PII in document",
    ("pii", "host"): "PII hosts",
    ("dedup", "url"): "URL dedup",
    ("dedup", "document"): "document dedup",
    ("dedup", "line"): "line dedup",
    ("heuristics", "rules"): "heuristic rules",
    ("heuristics", "divergence"): "outlier documents (KL)",
    ("classify", "quality"): "quality classifier",
    ("classify", "judge"): "judge classifier",
    ("classify", "ranking"): "quality rank by language",
    ("topics", "topic"): "topic down-sampling",
    ("decontaminate", "contaminated"): "decontamination",
}
"""The curation steps that remove documents or lines, in order: (stage, step) -> title."""
Interval = dict[str, float]
"""value, low and high (95% interval), n."""
Answer = dict[str, Any]
"""A record of an answers.parquet."""


class NotMeasured(Exception):
    """The run did not measure a number; the message names it."""


@dataclass(frozen=True)
class Evidence:
    """A run's results by name. `inputs`: see `stages.report.page.run`."""

    inputs: Paths
    last_round: int
    target_mix: Mapping[str, float] = field(default_factory=dict)
    """Bucket -> share of the training tokens."""

    @property
    def rounds(self) -> list[int]:
        """Numbers of the post-training rounds. An earlier run may have left files of further rounds."""
        return list(range(1, self.last_round + 1))

    def metric(self, name: str, *keys: str) -> Any:
        """The value under `keys` in metrics/<name>.json; raises NotMeasured if there is none."""
        value = self._metrics(name)
        for key in keys:
            if not isinstance(value, Mapping) or value.get(key) is None:
                raise NotMeasured(f"metrics/{name}.json has no {'.'.join(keys)}")
            value = value[key]
        return value

    def find_metric(self, name: str, *keys: str) -> Any:
        """Like `metric`, but returns None if there is none."""
        try:
            return self.metric(name, *keys)
        except NotMeasured:
            return None

    @cached_property
    def herd(self) -> dict[str, Any]:
        """data/herd.json: members and fit."""
        return _read_json(self.inputs["herd"])

    def curve(self, name: str) -> dict[str, np.ndarray]:
        """The columns of curves/<name>.csv; empty if there is no such file."""
        path = self.inputs["curves"] / f"{name}.csv"
        if not path.is_file():
            return {}
        with path.open(encoding="utf-8", newline="") as file:
            steps = list(csv.DictReader(file))
        return {column: np.array([float(step[column]) for step in steps]) for column in steps[0]} if steps else {}

    @cached_property
    def answers(self) -> dict[str, list[Answer]]:
        """Answers to the test prompts by model: base, rounds ("sft-1", "dpo-1" ...) and members ("small-own" ...)."""
        by_model: dict[str, list[Answer]] = {}
        # If there is one round, its directory is the input of two names.
        directories = {str(path): name for name, path in sorted(self.inputs.items()) if name.startswith("answers")}
        for name in directories.values():
            for answer in self.read_records(name, "answers.parquet"):
                by_model.setdefault(answer["model"], []).append(answer)
        return by_model

    def read_records(self, name: str, file: str) -> list[dict[str, Any]]:
        """The records of a Parquet file of input `name`; none if the run has no such input."""
        if name not in self.inputs:
            return []
        records: list[dict[str, Any]] = pq.read_table(self.inputs[name] / file).to_pylist()
        return records

    @cached_property
    def contamination(self) -> dict[tuple[str, str], float]:
        """(task, prompt) -> share of the prompt's tokens that are in the training corpus; only prompts with a share."""
        records = self.read_records("contamination", "contamination.parquet")
        return {(one["task"], one["prompt"]): one["overlap"] for one in records if one["overlap"] is not None}

    def clean_accuracy(self, model: str) -> Interval | None:
        """Accuracy on the test prompts that the training corpus does not contain, over problems; None if unknown."""
        threshold = self.find_metric("decontaminate", "threshold")
        clean = [
            answer
            for answer in self.answers.get(model, [])
            if threshold and self.contamination.get((answer["task"], answer["prompt"]), threshold) < threshold
        ]
        clusters = [(answer["task"], answer["cluster"]) for answer in clean]
        return statistics.clustered_proportion([answer["is_correct"] for answer in clean], clusters) if clean else None

    def ablation(self, name: str) -> dict[str, Any]:
        """The last result of the claim's ablation; raises NotMeasured if it was never run."""
        path = self.inputs["ablations"] / f"{name}.json" if "ablations" in self.inputs else None
        if path is None or not path.is_file():
            raise NotMeasured(f"not in the default run; `dvc repro ablations/dvc.yaml:{name}` measures it")
        result: dict[str, Any] = _read_json(path)
        return result

    def paired_difference(self, before: str, after: str) -> Interval:
        """Accuracy of `after` minus accuracy of `before` on the same prompts, with the interval over problems."""
        pairs = self.answer_pairs(before, after)
        first, last = ([answer["is_correct"] for answer in answers] for answers in zip(*pairs, strict=True))
        clusters = [(answer["task"], answer["cluster"]) for _, answer in pairs]
        return statistics.paired_difference(first, last, clusters)

    def answer_pairs(self, before: str, after: str) -> list[tuple[Answer, Answer]]:
        """Both models' answers to each prompt. Raises NotMeasured without answers, StageError if the prompts differ."""
        for model in (before, after):
            if model not in self.answers:
                raise NotMeasured(f"no answers of {model}")
        first, second = self.answers[before], self.answers[after]
        if [answer["prompt"] for answer in first] != [answer["prompt"] for answer in second]:
            raise StageError(f"{before} and {after} answered different prompts; run `dvc repro` to answer them again")
        return list(zip(first, second, strict=True))

    @cached_property
    def _cache(self) -> dict[str, Any]:
        return {}

    def _metrics(self, name: str) -> Any:
        if name not in self._cache:
            path = self.inputs["metrics"] / f"{name}.json"
            self._cache[name] = _read_json(path) if path.is_file() else None
        if self._cache[name] is None:
            raise NotMeasured(f"this run did not write metrics/{name}.json")
        return self._cache[name]


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise StageError(f"{path}: not valid JSON ({error}); run the stage that writes it again") from None


def point(value: float, n: int = 1) -> Interval:
    """An exact value as an interval of zero width."""
    return {"value": value, "low": value, "high": value, "n": n}


def rescale(interval: Mapping[str, float], factor: float) -> Interval:
    """The interval in another unit."""
    return {key: value if key in ("n", "clusters") else factor * value for key, value in interval.items()}


def to_percent(interval: Mapping[str, float]) -> Interval:
    """A share in percent, or a difference of shares in percentage points."""
    return rescale(interval, 100.0)


def subtract(first: Mapping[str, float], second: Mapping[str, float]) -> Interval:
    """first - second of independent measurements: half-widths add in squares. Too wide if they are correlated."""
    value = first["value"] - second["value"]
    down = ((first["value"] - first["low"]) ** 2 + (second["high"] - second["value"]) ** 2) ** 0.5
    up = ((first["high"] - first["value"]) ** 2 + (second["value"] - second["low"]) ** 2) ** 0.5
    counts = {key: min(first[key], second[key]) for key in ("n", "clusters") if key in first and key in second}
    return {"value": value, "low": value - down, "high": value + up} | counts


def format_interval(interval: Mapping[str, float], digits: int = 1, unit: str = "") -> str:
    """For example "12.3% (10.1 to 14.5)"."""
    value, low, high = (f"{interval[key]:.{digits}f}" for key in ("value", "low", "high"))
    return f"{value}{unit} ({low} to {high})"
