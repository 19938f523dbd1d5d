"""`herd evaluate` measures what the stage `evaluate` measures."""

import json
from pathlib import Path

import pytest

from flows import evaluate, project
from flows.command import run
from flows.parameters import Parameters
from stages.evaluation import tasks
from stages.model.files import save_model
from stages.model.llama import Llama
from stages.tasks.held_out import Evaluation
from tests.fixtures import World, shape, world
from tests.recorder import Recorder

__all__ = ["world"]


@pytest.fixture
def model(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(project, "restart_with_environment", lambda: None)
    save_model(Llama(shape()).init_weights(1), tmp_path / "model", world.tokenizer, 512, chat=True)
    return tmp_path / "model"


def test_accuracies_are_those_of_the_stage(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = Parameters(project.ROOT).load_config(tasks.Config)
    config = tasks.Config(config.seed, config.sampling, Evaluation(prompts=2))
    metrics = tasks.run(config, {"small": model}, {"answers": tmp_path}, Recorder(tmp_path))["small"]
    assert run(evaluate, ["--model", str(model), "-n", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == metrics["tasks"] | {"all": metrics["all"]}
    name = next(iter(metrics["tasks"]))
    assert run(evaluate, ["--model", str(model), "-n", "2", "--task", name]) == 0
    heading, *rows = capsys.readouterr().out.splitlines()
    assert heading.split() == ["task", "accuracy,", "%", "95%", "interval"]
    assert [row.split()[0] for row in rows] == [name, "all"]


def test_a_task_that_does_not_exist_is_named(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(evaluate, ["--model", str(model), "--task", "chess"]) == 1
    assert capsys.readouterr().err.startswith("herd evaluate: --task chess: the tasks are ")
