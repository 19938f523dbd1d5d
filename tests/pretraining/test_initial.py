import csv
import json
import math
import shutil
from pathlib import Path

import pytest
from pydantic import ValidationError

from stages.interface import Metrics
from stages.model.files import context_length, load_model
from stages.pretraining import initial
from stages.pretraining.phase import Validation
from stages.training.loader import TokenShards
from tests.fixtures import LEARNING_RATE, MIX, PRETRAINING, World, change, settings, shape
from tests.recorder import Recorder

RAMP = [initial.Ramp(share=0.25, length=16, batch_tokens=64), initial.Ramp(share=0.75, length=32, batch_tokens=128)]
SETTINGS = initial.Initial(warmup_share=0.2, floor=0.1, ramp=RAMP)
CONFIG = initial.Config(1, MIX, settings(), LEARNING_RATE, PRETRAINING, SETTINGS)


def run(world: World, directory: Path) -> Metrics:
    outputs = {"model": directory / "model", "curve": directory / "curve.csv"}
    return initial.run(CONFIG, world.pretraining_inputs, outputs, Recorder(directory, member="flagship"))


def test_the_phase_spends_its_tokens_along_the_ramp(world: World, tmp_path: Path) -> None:
    metrics = run(world, tmp_path)
    budget = 4_000 * PRETRAINING.initial
    assert metrics["tokens"] == sum(metrics["tokens_by_bucket"].values()) == pytest.approx(budget, abs=128)
    with (tmp_path / "curve.csv").open() as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    sizes = [b["tokens"] - a["tokens"] for a, b in zip([{"tokens": 0.0}, *rows], rows, strict=False)]
    small = round(budget * 0.25 / 64)
    assert sizes == [64.0] * small + [128.0] * (len(rows) - small) and len(rows) == metrics["steps"]
    rates = [row["lr"] for row in rows]
    peak = LEARNING_RATE.at(shape().parameters)
    top = rates.index(max(rates))
    assert max(rates) == pytest.approx(peak) == pytest.approx(metrics["peak_learning_rate"])
    assert rates[: top + 1] == sorted(rates[: top + 1]) and rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] < 0.15 * peak
    assert metrics["validation_loss"]["value"] < math.log(300) - 0.5
    assert context_length(tmp_path / "model") == 32 and metrics["parameters"] == shape().parameters


def test_a_bucket_outside_the_mix_need_not_be_there(world: World, tmp_path: Path) -> None:
    for path in world.tokens.glob("*-code.bin"):
        assert path.stat().st_size
    tokens = shutil.copytree(world.tokens, tmp_path / "tokens")
    index = json.loads((tokens / "tokens.json").read_text())
    for part, counts in index["counts"].items():
        (tokens / f"{part}-code.bin").unlink()
        counts["code"] = 0
    (tokens / "tokens.json").write_text(json.dumps(index))
    shares = {"general": 0.6, "math": 0.3, "code": 0.0, "multilingual": 0.1}
    result = Validation(TokenShards(tokens), shares, PRETRAINING, settings(), 1).by_bucket(load_model(world.model))
    assert set(result) == {"general", "math", "multilingual"}


def test_the_loss_it_reports_is_that_of_the_model_it_leaves(world: World, tmp_path: Path) -> None:
    metrics = run(world, tmp_path)
    held_out = Validation(world.shards, MIX.shares(), PRETRAINING, settings(), 1)
    losses = held_out.losses(load_model(tmp_path / "model"))
    assert metrics["validation_loss"]["value"] == pytest.approx(float(losses.mean()))
    assert metrics["validation_loss"]["n"] == len(losses) == PRETRAINING.validation_windows
    json.dumps(metrics, allow_nan=False)


def test_shares_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"sum to 0\.75"):
        change(SETTINGS, ramp=[RAMP[1].model_dump()])
    with pytest.raises(ValidationError, match=r"sum to 1\.25"):
        change(PRETRAINING, initial=0.75)
    with pytest.raises(ValidationError, match=r"sum to 1\.1"):
        change(MIX, code=0.27)
