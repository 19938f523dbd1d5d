"""SFT learns its examples and refuses bad input."""

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from stages.interface import StageError
from stages.model.files import is_chat, load_model
from stages.posttraining import sft
from stages.posttraining.data import write_records
from stages.posttraining.sequences import pad, tokenize_dialog
from tests.fixtures import World, contents, examples, settings, tuning, write_posttraining
from tests.posttraining.examples import outputs
from tests.recorder import Recorder


def test_sft_memorises_twenty_examples(world: World, tmp_path: Path) -> None:
    write_posttraining(tmp_path)
    config = sft.Config(1, settings(), tuning(rates=[1e-2], steps=60, batch=20))
    inputs = {"policy": world.model, "demonstrations": tmp_path}
    metrics = sft.run(config, inputs, outputs(tmp_path), Recorder(tmp_path / "scratch"))
    lines = (tmp_path / "curve.csv").read_text().splitlines()
    column = lines[0].split(",").index("loss")
    losses = [float(line.split(",")[column]) for line in lines[1:]]
    assert len(losses) == 60 and losses[-1] < losses[0] / 2
    assert metrics["train_loss"] == pytest.approx(losses[-1], rel=1e-6) and metrics["demonstrations"] == 20
    assert is_chat(tmp_path / "model") and not is_chat(world.model)
    chat, model = world.chat, load_model(tmp_path / "model").eval()
    rows = pad([tokenize_dialog(chat, e.prompt, e.answer) for e in examples()], chat.pad)
    with torch.no_grad():
        mean = sft.response_loss(model, rows)[0].item() / rows.weight
    assert mean == pytest.approx(losses[-1], rel=0.2)


def test_empty_data_and_invalid_learning_rates_are_refused(world: World, tmp_path: Path) -> None:
    write_records(tmp_path / "demonstrations.jsonl", [])
    with pytest.raises(StageError, match="nothing to train on"):
        sft.run(
            sft.Config(1, settings(), tuning()),
            {"policy": world.model, "demonstrations": tmp_path},
            outputs(tmp_path),
            Recorder(tmp_path),
        )
    for rate in (-1e-3, 0.0, float("nan"), float("inf")):
        with pytest.raises(ValidationError, match="rates"):
            tuning(rates=[rate])


def test_repeated_run_writes_the_same_bytes(world: World, tmp_path: Path) -> None:
    write_posttraining(tmp_path)
    config = sft.Config(1, settings(precision="bf16"), tuning(rates=[1e-2, 5e-3]))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        sft.run(
            config,
            {"policy": world.model, "demonstrations": tmp_path},
            outputs(tmp_path / name),
            Recorder(tmp_path / f"{name}-scratch"),
        )
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
