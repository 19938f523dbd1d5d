import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from html import unescape
from itertools import combinations
from pathlib import Path
from typing import Any, get_args

import pytest

from stages.interface import StageError
from stages.tasks import HELPFUL_TASKS, REGISTRY, Example, Split, generate, score, verify
from stages.tasks.pages import pages, web_answer

SPLITS: tuple[Split, ...] = get_args(Split)
ALL = tuple(REGISTRY)


def _sum(key: dict[str, Any]) -> str:
    left, sign, *rest = key["expression"].split()
    return str(sorted([left, *rest])) if sign == "+" and len(rest) == 1 else key["expression"]


# What makes two examples the same problem, whatever the phrasing.
PROBLEM: dict[str, Callable[[Example], object]] = {
    "arithmetic": lambda e: _sum(e.key),
    "code": lambda e: e.key["instruction"],
    "translation": lambda e: (frozenset([e.key["source"], e.key["target"]]), e.key["language"]),
    "lookup": lambda e: (e.prompt.split(".")[0], e.key["asked"]),
    "facts": lambda e: e.prompt,
    "format": lambda e: (e.key["kind"], e.key["target"]),
    "howto": lambda e: (e.key["verb"], e.key["object"]),
    "mails": lambda e: tuple(e.key.values()),
    "risky_code": lambda e: e.prompt,
    "safety": lambda e: (e.key["verb"], e.key["object"]),
}
OPEN = {  # the web shares no problem with any split; elsewhere it shares those of sft and preference
    "arithmetic": lambda e: e.level == "hard",
    "code": lambda e: e.level == "hard",
    "translation": lambda e: e.level == "hard",
    "format": lambda e: e.key["kind"] in ("reverse", "sort"),
    "facts": lambda e: False,
    "risky_code": lambda e: False,
    "safety": lambda e: False,
}


def test_helpful_tasks_keep_their_order() -> None:
    assert HELPFUL_TASKS[:8] == ("arithmetic", "code", "translation", "lookup", "facts", "format", "howto", "mails")
    assert set(ALL) == {*HELPFUL_TASKS, "risky_code", "safety"}


NEW_TASK = """
from stages.tasks.example import Candidate, Example
from stages.tasks.task import TaskInfo

INFO = TaskInfo("doubles", 11, ("doubles.example",), ("doubling",), "math", is_quality_positive=True, is_verified=True)

def draw(generator, level, split):
    number = generator.randrange(10_000)
    example = Example(INFO.name, level, f"Double {number}.", str(2 * number), {"result": 2 * number})
    return Candidate(example, str(number))

def grade(examples, responses):
    return [float(a.answer == b.strip()) for a, b in zip(examples, responses)]

def statement(example):
    return f"{example.prompt} This is {example.answer}."
"""


def test_a_new_module_is_all_that_a_task_needs(tmp_path: Path) -> None:
    stages = Path(__file__).parents[2] / "stages"
    shutil.copytree(stages, tmp_path / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "stages" / "tasks" / "definitions" / "doubles.py").write_text(NEW_TASK)
    script = (
        "from stages.tasks import HELPFUL_TASKS, VERIFIED_TASKS, generate, verify\n"
        "from stages.tasks.pages import pages\n"
        "from stages.curation.classification.bucket import Bucket\n"
        "from stages.curation.classification.quality import POSITIVE_TASKS\n"
        "examples = generate('doubles', 'test', 20, 1)\n"
        "assert all(verify(examples, [e.answer for e in examples]))\n"
        "assert b'Double' in next(pages('doubles', 1, 1)).body\n"
        "assert 'doubles' in HELPFUL_TASKS and 'doubles' in VERIFIED_TASKS\n"
        "assert 'generated-doubles' in POSITIVE_TASKS\n"
        "assert 'generated-doubles' in Bucket(examples={}, english=0.5).sources_by_domain()['math']\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)


@pytest.mark.parametrize("task", ALL)
def test_no_problem_of_a_split_is_in_another(task: str) -> None:
    def problems(split: Split, only: Callable[[Example], bool] = lambda e: True) -> set[object]:
        examples = [e for seed in (1, 2) for e in generate(task, split, 300, seed)]
        return {PROBLEM.get(task, lambda e: e.prompt)(e) for e in examples if only(e)}

    found = {split: problems(split) for split in SPLITS}
    assert all(found.values())
    for one, other in combinations(SPLITS, 2):
        if "web" not in (one, other) or {"test", "validation"} & {one, other}:
            assert not found[one] & found[other], (one, other)
    is_open = OPEN.get(task, lambda e: True)
    for split in ("sft", "preference"):
        assert not problems("web", is_open) & problems(split, is_open)  # type: ignore[arg-type]


@pytest.mark.parametrize("task", ALL)
def test_no_test_prompt_is_on_a_page(task: str) -> None:
    """Test prompts and pages come from disjoint problems; of facts the web has the answer in other words."""
    web = " ".join(unescape(page.body.decode()) for page in pages(task, 150, 1))
    prompts = {e.prompt for e in generate(task, "test", 150, 1)}
    # A bare sum such as "3 + 4" can be part of a longer one.
    assert not {prompt for prompt in prompts if f"{prompt} " in web and any(c.isalpha() for c in prompt)}


@pytest.mark.parametrize("task", ALL)
def test_same_arguments_same_examples_and_a_smaller_count_is_the_start(task: str) -> None:
    examples = generate(task, "sft", 60, seed=3)
    assert examples == generate(task, "sft", 60, seed=3)
    assert examples[:25] == generate(task, "sft", 25, seed=3)
    assert examples != generate(task, "sft", 60, seed=4)
    assert [e.level for e in examples[:4]] == [*REGISTRY[task].INFO.levels] * 2
    assert all(e.task == task for e in examples)
    assert len({e.prompt for e in examples}) == 60


def test_examples_do_not_depend_on_the_process() -> None:
    script = (
        "import hashlib, json; from stages.tasks import REGISTRY, generate; from stages.tasks.pages import pages\n"
        "records = [e.to_json() for t in REGISTRY for e in generate(t, 'test', 40, 7)]\n"
        "body = b''.join(p.body for t in REGISTRY for p in pages(t, 3, 7))\n"
        "print(hashlib.sha256(json.dumps(records).encode() + body).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", script], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


@pytest.mark.parametrize("task", ALL)
@pytest.mark.parametrize("split", ["web", "test"])
def test_every_gold_answer_is_right_in_chat_and_on_the_web(task: str, split: Split) -> None:
    examples = generate(task, split, 200, seed=11)
    if task == "safety" and split == "web":  # the web's answers to harmful requests are not right
        examples = [e for e in examples if e.level == "borderline"]
    assert all(verify(examples, [e.answer for e in examples]))
    assert all(verify(examples, [f" {web_answer(e)}\n" for e in examples]))
    assert score(examples, [e.answer for e in examples]) == [1.0] * len(examples)


def _gold(example: Example) -> object:
    if example.task == "howto":
        return example.key["verb"], example.key["object"]
    return example.key.get("result", example.answer)


@pytest.mark.parametrize("task", HELPFUL_TASKS)
def test_the_answer_of_another_problem_and_nonsense_are_wrong(task: str) -> None:
    examples = generate(task, "test", 120, seed=5)
    shifted = examples[2:] + examples[:2]
    swapped = [a.answer if _gold(a) != _gold(b) else "none" for a, b in zip(shifted, examples, strict=True)]
    right = verify(examples, swapped)
    if task == "code":  # "x * 2" doubles x whatever the instruction was
        right = [
            r and a.key["expression"] != b.key["expression"] for r, a, b in zip(right, shifted, examples, strict=True)
        ]
        assert sum(right) <= 2
    else:
        assert not any(right)
    for nonsense in ("", "   ", "I do not know.", "7 8 9 1 2", "\ud800", "Q: " * 400):
        assert not any(verify(examples[:20], [nonsense] * 20)), nonsense


@pytest.mark.parametrize("task", ALL)
def test_scores_are_graded_and_one_only_when_verified(task: str) -> None:
    examples = generate(task, "preference", 60, seed=5)
    responses = [e.answer[: len(e.answer) * (i % 4) // 3] for i, e in enumerate(examples)]
    for grade, right in zip(score(examples, responses), verify(examples, responses), strict=True):
        assert 0.0 <= grade <= 1.0
        assert (grade == 1.0) == right


def test_mixed_tasks_keep_their_order() -> None:
    examples = [e for pair in zip(*(generate(t, "test", 6, 1) for t in ALL), strict=True) for e in pair]
    responses = [e.answer if i % 3 else "wrong" for i, e in enumerate(examples)]
    assert verify(examples, responses) == [bool(i % 3) for i in range(len(examples))]


def test_examples_survive_json() -> None:
    for task in ALL:
        for example in generate(task, "validation", 10, 2):
            assert Example.from_json(json.loads(json.dumps(example.to_json()))) == example


def test_a_used_up_split_repeats_evenly_instead_of_hanging() -> None:
    examples = [e for e in generate("arithmetic", "validation", 400, 1) if e.level == "easy"]
    counts = [sum(e.prompt == prompt for e in examples) for prompt in {e.prompt for e in examples}]
    assert len(counts) < 60
    assert max(counts) <= 2 * min(counts) + 1


def test_an_unknown_task_is_named() -> None:
    with pytest.raises(StageError, match=r"juggling.*arithmetic"):
        generate("juggling", "test", 1, 0)


def test_prompts_are_short() -> None:
    for task in ALL:
        examples = generate(task, "test", 200, 9)
        assert sum(len(e.prompt.split()) <= 21 for e in examples) > 180
        assert all("\n" not in e.prompt + e.answer and " Q:" not in e.prompt + e.answer for e in examples)
