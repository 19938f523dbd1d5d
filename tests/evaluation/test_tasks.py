from pathlib import Path

import pyarrow.parquet as pq
import pytest

from stages import statistics
from stages.evaluation import tasks
from stages.evaluation.tasks import Config, accuracies, chance_levels
from stages.posttraining.respond import Responder, Sampling
from stages.tasks import HELPFUL_TASKS, generate, verify
from stages.tasks.example import Example
from stages.tasks.held_out import Evaluation
from tests.fixtures import World, contents
from tests.recorder import Recorder

CONFIG = Config(1, Sampling(max_new_tokens=2, batch=64), Evaluation(prompts=4))


def test_accuracies_on_a_worked_example() -> None:
    examples = [e for task in HELPFUL_TASKS for e in generate(task, "test", 4, 1)]  # easy, hard, easy, hard
    right = [place % 4 == 0 for place in range(len(examples))]
    right[1] = True
    found = accuracies(examples, right)
    n = len(examples)
    assert found["all"]["value"] == pytest.approx((n / 4 + 1) / n) and found["all"]["n"] == n
    first = HELPFUL_TASKS[0]
    assert found["tasks"][first]["value"] == 0.5 and found["tasks"][HELPFUL_TASKS[1]]["value"] == 0.25
    assert found["levels"][f"{first} easy"]["value"] == 0.5 and found["levels"][f"{first} hard"]["value"] == 0.5
    none = found["levels"][f"{HELPFUL_TASKS[1]} hard"]
    assert (none["value"], none["low"], none["n"]) == (0.0, 0.0, 2) and none["high"] > 0.6
    assert found["all"] == statistics.clustered_proportion(right, [(e.task, e.cluster) for e in examples])


def test_chance_is_what_answers_to_other_problems_earn() -> None:
    examples = [e for task in HELPFUL_TASKS for e in generate(task, "test", 40, 1)]
    of_gold = chance_levels(examples, [e.answer for e in examples])
    assert of_gold["tasks"]["howto"] == of_gold["tasks"]["mails"] == of_gold["tasks"]["format"] == 0.0
    assert 0.0 < of_gold["tasks"]["arithmetic"] < 0.2 and of_gold["tasks"]["lookup"] < 0.3
    assert of_gold["levels"].keys() == accuracies(examples, [True] * len(examples))["levels"].keys()
    always_seven = chance_levels(examples, ["7"] * len(examples))  # a model that ignores its input is at chance
    right = verify(examples, ["7"] * len(examples))
    accuracy = accuracies(examples, right)
    for task in HELPFUL_TASKS:
        assert always_seven["tasks"][task] == pytest.approx(accuracy["tasks"][task]["value"], abs=0.02)


def test_phrasings_of_one_problem_are_one_cluster() -> None:
    examples = generate("arithmetic", "test", 150, 1)
    asked_again = [(a, b) for a in examples for b in examples if a.prompt != b.prompt and a.cluster == b.cluster]
    assert asked_again and all(a.key["expression"] == b.key["expression"] for a, b in asked_again)


def test_all_models_get_the_same_prompts_and_are_graded(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def respond(self: Responder, asked: list[Example], sampling: Sampling, **_: object) -> list[list[str]]:
        return [[e.answer if place % 2 else "zzz zzz"] for place, e in enumerate(asked)]

    monkeypatch.setattr(Responder, "respond", respond)
    context = Recorder(tmp_path)
    metrics = tasks.run(CONFIG, {"sft": world.model, "dpo": world.model}, {"answers": tmp_path}, context)
    rows = pq.read_table(tmp_path / "answers.parquet").to_pylist()
    count = 4 * len(HELPFUL_TASKS)
    assert [row["model"] for row in rows] == ["sft"] * count + ["dpo"] * count
    assert [row["prompt"] for row in rows[:count]] == [row["prompt"] for row in rows[count:]]
    assert all(row["is_correct"] == (row["response"] == row["target"]) for row in rows)
    for name in ("sft", "dpo"):
        assert metrics[name]["all"]["value"] == 0.5 and metrics[name]["all"]["n"] == count
    assert [row["model"] for row in context.tables["accuracy"]] == ["sft", "dpo"]


def test_evaluation_of_an_untrained_model_is_reproducible(world: World, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        metrics = tasks.run(CONFIG, {"base": world.model}, {"answers": tmp_path / name}, Recorder(tmp_path))
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert metrics["base"]["all"]["value"] < 0.3
