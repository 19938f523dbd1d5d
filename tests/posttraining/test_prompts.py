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
