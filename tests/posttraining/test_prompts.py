"""Prompts of the rounds."""

from collections import Counter
from pathlib import Path

import pytest

from stages.posttraining import prompts
from stages.posttraining.data import Demonstration, read_records
from stages.tasks import HELPFUL_TASKS
from stages.tasks.example import Example
from tests.fixtures import contents
from tests.recorder import Recorder


def test_prompts_of_rounds_are_disjoint_and_lapses_have_their_rate(tmp_path: Path) -> None:
    section = prompts.Prompts(demonstrations=30, sampled=6, compared=6, lapses=0.3)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        prompts.run(prompts.Config(1, 2, section), {}, {"prompts": tmp_path / name}, Recorder(tmp_path))
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    demonstrations = read_records(tmp_path / "a" / "demonstrations.jsonl", Demonstration)
    assert Counter(d.example.task for d in demonstrations) == dict.fromkeys([*HELPFUL_TASKS, "safety"], 30)
    assert {d.example.level for d in demonstrations if d.example.task == "safety"} == {"borderline"}
    changed = [d for d in demonstrations if d.response != d.example.answer]
    others = [d for d in demonstrations if d.example.task != "code"]
    assert len(changed) / len(others) == pytest.approx(0.3, abs=0.12)
    assert all(d.example.answer in d.response and d.example.task != "code" for d in changed)
    files = {
        name: read_records(tmp_path / "a" / f"{name}.jsonl", Example)
        for name in ("sampled-1", "sampled-2", "compared-1", "compared-2")
    }
    assert all(len(rows) == 6 * len(HELPFUL_TASKS) for rows in files.values())
    sets = [{d.example.prompt for d in demonstrations}, *({e.prompt for e in rows} for rows in files.values())]
    assert all(len(rows) == len(prompts) for rows, prompts in zip(files.values(), sets[1:], strict=True))
    assert len(set().union(*sets)) == sum(map(len, sets)), "two sets share a prompt"


def test_scarce_prompts_are_divided_equally() -> None:
    gold, *rounds = prompts.draw_disjoint("sft", [40, 400, 400], seed=1)
    texts = [[e.prompt for e in examples if e.task == "facts"] for examples in (gold, *rounds)]
    distinct = len({prompt for each in texts for prompt in each})
    assert distinct == sum(map(len, texts)) < 840
    assert [len(each) / distinct for each in texts] == pytest.approx(
        [40 / distinct, *[0.5 - 20 / distinct] * 2], abs=0.01
    )
    assert Counter(e.task for e in gold)["lookup"] == Counter(e.task for e in gold)["facts"] == 40
