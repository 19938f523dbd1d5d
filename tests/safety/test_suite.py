import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from stages.posttraining.respond import Sampling
from stages.safety.suite import Config, Suite, run
from tests.recorder import Recorder
from tests.safety.models import save_untrained_model

SIZES = {
    "harmful": 4,
    "borderline": 4,
    "weights": [0.0, 0.5, 1.0, 1.25],
    "attacked": 2,
    "attempts": 2,
    "injections": 6,
    "functions": 4,
    "persons": 2,
    "persuasive": 3,
    "participants": 4,
    "items": 1,
    "temperature": 1.0,
}
CONFIG = Config(1, Sampling(max_new_tokens=3, batch=64), Suite(**SIZES))  # type: ignore[arg-type]


def test_suite_runs_every_test_and_is_reproducible(tmp_path: Path) -> None:
    inputs = {
        "before": save_untrained_model(tmp_path / "before", 1, chat=True, scale=9.0),
        "after": save_untrained_model(tmp_path / "after", 2, chat=True, scale=9.0),
        "novice": save_untrained_model(tmp_path / "novice", 3, chat=False, scale=9.0),
    }
    results = []
    for number in (1, 2):
        folder = tmp_path / f"answers-{number}"
        folder.mkdir()
        recorder = Recorder(tmp_path)
        metrics = run(CONFIG, inputs, {"answers": folder}, recorder)
        results.append((json.dumps(metrics, allow_nan=False), (folder / "answers.parquet").read_bytes()))
        assert len(recorder.tables["safety before and after"]) == 13
    assert results[0] == results[1]
    assert metrics.keys() == {"judges", "violations", "red_team", "injection", "insecure_code", "phishing", "uplift"}
    assert [point["weight"] for point in metrics["violations"]["trade_off"]] == SIZES["weights"]
    answers = pq.read_table(tmp_path / "answers-1" / "answers.parquet")
    assert answers.column_names == ["test", "model", "case", "cluster", "prompt", "response", "verdict", "score"]
    assert set(answers["test"].to_pylist()) == {
        "violations",
        "red team",
        "prompt injection",
        "insecure code",
        "phishing",
        "uplift",
    }
    assert set(answers["model"].to_pylist()) == {"before", "after", "control", "assisted", "oracle"}
    assert any(answers["response"].to_pylist())


def test_invalid_parameters_are_refused() -> None:
    for key, value in (("persuasive", 5), ("weights", [1.0]), ("temperature", 0.0), ("harmful", 1), ("prompts", 3)):
        with pytest.raises(ValidationError):
            Suite(**SIZES | {key: value})  # type: ignore[arg-type]
