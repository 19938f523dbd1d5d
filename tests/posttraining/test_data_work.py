"""Preferences, rejection sampling, pruning and prompts."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from stages.model.files import load_model
from stages.posttraining import preferences, prompts, rejection
from stages.posttraining.data import Demonstration, Preference, read_records
from stages.posttraining.preferences import compare, select_strong
from stages.posttraining.pruning import Pruning, embed, prune
from stages.posttraining.rejection import select_best
from stages.posttraining.respond import Responder, Sampling
from stages.tasks import HELPFUL_TASKS
from stages.tasks.example import Example
from tests.fixtures import World, contents, examples, settings
from tests.recorder import Recorder

EXAMPLE = Example("arithmetic", "easy", "1 + 2", "3", {"result": 3, "steps": []})
SAMPLING = Sampling(max_new_tokens=4, batch=64)


@pytest.mark.parametrize(
    ("best", "worst", "strength"),
    [(1.0, 0.0, 4), (1.0, 0.2, 4), (1.0, 0.25, 3), (1.0, 0.5, 2), (1.0, 0.6, 2), (1.0, 0.75, 1), (1.0, 0.9, 1)],
)
def test_four_levels_of_preference(best: float, worst: float, strength: int) -> None:
    found = compare(EXAMPLE, ["so-so", "good", "bad"], [(best + worst) / 2, best, worst], 2)
    assert found == Preference(EXAMPLE, "good", "bad", None, strength, 2)


def test_an_answer_that_is_not_good_is_edited() -> None:
    found = compare(EXAMPLE, ["bad", "better"], [0.1, 0.4], 1)
    assert found == Preference(EXAMPLE, "better", "bad", "3", 4, 1)


def test_of_equally_wrong_answers_one_is_compared_with_the_annotators() -> None:
    assert compare(EXAMPLE, ["x", "y"], [0.1, 0.1], 1) == Preference(EXAMPLE, "3", "x", None, 4, 1)
    assert compare(EXAMPLE, ["3", "3."], [1.0, 1.0], 1) is None
    assert compare(EXAMPLE, ["", "3"], [0.0, 1.0], 1) is None


def test_only_strong_preferences_are_trained_on() -> None:
    rows = [Preference(EXAMPLE, "a", "b", None, strength, 1) for strength in (1, 2, 3, 4)]
    assert [row.strength for row in select_strong(rows)] == [3, 4]


def test_the_best_rewarded_answer_is_chosen_among_those_that_pass() -> None:
    items = [EXAMPLE, EXAMPLE, EXAMPLE, Example("howto", "easy", "p", "a", {})]
    rewards = np.array([[3.0, 2.0, 1.0], [1.0, -5.0, -4.0], [1.0, 2.0, 3.0], [1.0, 5.0, 2.0]])
    is_right = np.array([[False, True, True], [False, True, True], [False] * 3, [False] * 3])
    assert select_best(items, rewards, is_right, ["arithmetic"]) == [(0, 1), (1, 2), (3, 1)]
    assert select_best(items, rewards, is_right, []) == [(0, 0), (1, 0), (2, 2), (3, 1)]
    assert select_best(items, rewards, is_right, ["arithmetic", "howto"]) == [(0, 1), (1, 2)]


def test_pruning_on_a_worked_example() -> None:
    tasks = ["arithmetic"] * 5 + ["howto"] * 2
    rows = [Demonstration(Example(task, "easy", str(n), "a", {}), "r", "annotator") for n, task in enumerate(tasks)]
    angles = np.array([0.0, 0.01, 1.0, 2.0, 3.0, 0.0, 0.02])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    rewards = [0.5, 0.6, 0.1, 0.9, 0.4, 0.2, 0.3]

    def pruned(difficulty: list[float], quantile: float = 0.2, similarity: float = 0.99) -> tuple[list[int], list[int]]:
        options = Pruning(quality_quantile=quantile, similarity=similarity)
        kept, removed = prune(rows, rewards, difficulty, vectors, options)
        assert sum(removed.values()) + len(kept) == 7
        return kept, list(removed.values())

    # 2 is the worst of its topic; of 0 and 1, alike, and 5 and 6, alike, the better one stays.
    easy = [0.0] * 7
    assert pruned(easy) == ([1, 3, 4, 6], [2, 1])
    # 0 is much harder than 1: it now comes first, and 1 is its duplicate.
    assert pruned([0.9, 0, 0, 0, 0, 0, 0]) == ([0, 3, 4, 6], [2, 1])
    assert pruned(easy, quantile=0.0) == ([1, 2, 3, 4, 6], [0, 2])
    assert pruned(easy, quantile=0.0, similarity=1.0) == ([0, 1, 2, 3, 4, 5, 6], [0, 0])


def test_embeddings_tell_dialogs_apart_and_do_not_depend_on_the_batch(world: World) -> None:
    model, chat = load_model(world.model), world.chat
    texts = ["the cat sat on a mat", "the cat sat on a mat", "der Hund läuft", "3"]
    rows = [Demonstration(EXAMPLE, text, "annotator") for text in texts]
    vectors = embed(model, chat, rows)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    similar = vectors @ vectors.T
    assert similar[0, 1] == pytest.approx(1, abs=1e-5) and similar[0, 2] < 0.9 and similar[0, 3] < 0.9
    assert np.allclose(vectors, embed(model, chat, rows, batch_size=1), atol=1e-4)
    assert embed(model, chat, []).shape == (0, 32)


def test_prompts_of_the_rounds_are_disjoint_from_each_other_and_lapses_are_as_asked(tmp_path: Path) -> None:
    section = prompts.Prompts(demonstrations=30, sampled=6, compared=6, lapses=0.3)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        prompts.run(prompts.Config(1, 2, section), {}, {"prompts": tmp_path / name}, Recorder(tmp_path))
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    annotated = [read_records(tmp_path / "a" / f"demonstrations-{number}.jsonl", Demonstration) for number in (1, 2)]
    assert all(
        Counter(d.example.task for d in rows) == dict.fromkeys([*HELPFUL_TASKS, "safety"], 30) for rows in annotated
    )
    demonstrations = [d for rows in annotated for d in rows]
    assert {d.example.level for d in demonstrations if d.example.task == "safety"} == {"borderline"}
    prompts_of = [{d.example.prompt for d in rows if d.example.task == "lookup"} for rows in annotated]
    assert not prompts_of[0] & prompts_of[1]
    changed = [d for d in demonstrations if d.response != d.example.answer]
    others = [d for d in demonstrations if d.example.task != "code"]
    assert len(changed) / len(others) == pytest.approx(0.3, abs=0.12)
    assert all(d.example.answer in d.response and d.example.task != "code" for d in changed)
    files = {
        name: read_records(tmp_path / "a" / f"{name}.jsonl", Example)
        for name in ("sampled-1", "sampled-2", "compared-1", "compared-2")
    }
    assert all(len(rows) == 6 * len(HELPFUL_TASKS) for rows in files.values())
    assert files["sampled-1"] != files["sampled-2"] and files["compared-1"] != files["compared-2"]
    sampled, compared = ({e.prompt for e in files[f"{kind}-1"]} for kind in ("sampled", "compared"))
    assert not sampled & compared


def prompt_files(directory: Path) -> Path:
    section = prompts.Prompts(demonstrations=2, sampled=2, compared=2, lapses=0.5)
    prompts.run(prompts.Config(1, 1, section), {}, {"prompts": directory}, Recorder(directory))
    return directory


def answering(monkeypatch: pytest.MonkeyPatch, answers: list[str | None]) -> None:
    """Every model gives these answers to each prompt; None is the right one."""

    def respond(self: Responder, asked: list[Example], sampling: Sampling, **_: object) -> list[list[str]]:
        return [[e.answer if answer is None else answer for answer in answers] for e in asked]

    monkeypatch.setattr(Responder, "respond", respond)


def test_preferences_compare_the_best_with_the_worst(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, ["zzz zzz", None, "zzz zzz"])
    inputs = {"prompts": prompt_files(tmp_path), "policy": world.model, "earlier": tmp_path}
    config = preferences.Config(1, SAMPLING, preferences.PreferenceSampling(temperature=1.0, answers=3))
    (tmp_path / "preferences").mkdir()
    metrics = preferences.run(config, inputs, {"preferences": tmp_path / "preferences"}, Recorder(tmp_path, round="1"))
    rows = read_records(tmp_path / "preferences" / "preferences.jsonl", Preference)
    assert len(rows) == metrics["preferences"] == metrics["prompts"] == 2 * len(HELPFUL_TASKS)
    assert all((row.chosen, row.rejected, row.edited) == (row.example.answer, "zzz zzz", None) for row in rows)
    assert sum(metrics["by_strength"].values()) == len(rows) and metrics["edited"] == 0
    # The next round adds to what there was.
    more = {**inputs, "earlier": tmp_path / "preferences"}
    (tmp_path / "more").mkdir()
    metrics = preferences.run(config, more, {"preferences": tmp_path / "more"}, Recorder(tmp_path, round="1"))
    assert metrics["all_rounds"] == 2 * len(rows)
    assert read_records(tmp_path / "more" / "all.jsonl", Preference) == rows * 2


@pytest.mark.parametrize("answers", [["zzz zzz", None], ["zzz zzz", "zzz zzz"]])
def test_rejection_sampling_keeps_right_answers_cleans_and_accounts_for_all(
    answers: list[str | None], world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, answers)
    monkeypatch.setattr(rejection, "VERIFIED_TASKS", HELPFUL_TASKS)
    inputs = {"prompts": prompt_files(tmp_path), "policy": world.model, "reward": world.model}
    section = rejection.Rejection(answers=2, temperature=1.0, apologies=0.0)
    config = rejection.Config(1, settings(), SAMPLING, section, Pruning(quality_quantile=0.0, similarity=1.0))
    (tmp_path / "made").mkdir()
    metrics = rejection.run(config, inputs, {"demonstrations": tmp_path / "made"}, Recorder(tmp_path, round="1"))
    asked = 2 * len(HELPFUL_TASKS)
    rows = read_records(tmp_path / "made" / "demonstrations.jsonl", Demonstration)
    sampled = [row for row in rows if row.source == "rejection sampling"]
    right = asked if None in answers else 0
    assert metrics["chosen"] == right and metrics["accuracy_of_any_answer"]["value"] == right / asked
    assert metrics["accuracy_of_one_answer"]["value"] == 0
    assert metrics["kept"] + sum(metrics["removed"].values()) == right
    assert len(sampled) == metrics["kept"] and len(rows) == metrics["demonstrations"]
    # Cleaning may take a full stop off, never the answer.
    assert all(row.response.rstrip(".") in row.example.answer for row in sampled)
    assert metrics["tone_before"]["exclamation"] + metrics["tone_before"]["emoji"] > 0
    assert metrics["tone_after"] == {"emoji": 0, "exclamation": 0, "apology": 0}
    removed = read_records(tmp_path / "made" / "removed.jsonl", Demonstration)
    assert len(removed) == right - metrics["kept"]


def test_a_responder_answers_each_prompt_as_often_as_asked_and_alike_each_time(world: World) -> None:
    responder = Responder.load(world.model)
    items = examples(5)
    answers = responder.respond(items, SAMPLING, temperature=1.0, num_return_sequences=3, seed=4)
    assert [len(given) for given in answers] == [3] * 5
    assert answers == responder.respond(items, SAMPLING, temperature=1.0, num_return_sequences=3, seed=4)
    assert answers != responder.respond(items, SAMPLING, temperature=1.0, num_return_sequences=3, seed=5)
    # A base model sees worked examples and stops at the end of the line; a chat model sees the chat format.
    assert all(b"\n" not in answer.encode() for given in answers for answer in given)
    base = responder.tokenize_prompts(items, 1)[0]
    responder.is_chat = True
    assert len(base) > len(responder.tokenize_prompts(items, 1)[0]) and base[0] == world.chat.begin_of_text
    json.dumps(answers)
