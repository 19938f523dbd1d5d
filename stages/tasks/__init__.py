"""Generated tasks that a program can verify: web pages, post-training prompts and test prompts from disjoint problems.

    examples = generate("arithmetic", "test", 100, seed=1)
    verify(examples, [e.answer for e in examples])  # [True, True, ...]

Each task is one module in `definitions`, found by its `INFO`. `pages.py` renders the web pages.
"""

import importlib
import pkgutil
import random
from collections.abc import Sequence
from typing import cast

from stages.interface import StageError
from stages.tasks import definitions
from stages.tasks.example import Example, Split, is_in_split
from stages.tasks.task import Task


def load_tasks() -> dict[str, Task]:
    """Imports all modules in `definitions`: task name -> module, in the order of `INFO.order`."""
    found = pkgutil.iter_modules(definitions.__path__, f"{definitions.__name__}.")
    tasks = [cast(Task, importlib.import_module(module.name)) for module in found]
    return {task.INFO.name: task for task in sorted(tasks, key=lambda task: task.INFO.order)}


REGISTRY: dict[str, Task] = load_tasks()
HELPFUL_TASKS: tuple[str, ...] = tuple(name for name, task in REGISTRY.items() if task.INFO.is_helpful)
VERIFIED_TASKS: tuple[str, ...] = tuple(name for name, task in REGISTRY.items() if task.INFO.is_verified)

_NUM_DRAWS_BEFORE_REPEATS, _MAX_DRAWS = 2_000, 20_000


def find_task(name: str) -> Task:
    """The task of that name. Raises StageError for an unknown one."""
    if name not in REGISTRY:
        raise StageError(f"unknown task {name!r}: choose one of {', '.join(REGISTRY)}")
    return REGISTRY[name]


def source_name(task: str) -> str:
    """The source of a task's web pages in the corpus."""
    return f"generated-{task}"


def generate(task: str, split: Split, count: int, seed: int) -> list[Example]:
    """`count` examples of a split, levels alternating. The same arguments give the same list, smaller counts its start.

    A hash of a problem's canonical form decides which split it belongs to, for every seed; `example.SHARES` says how.
    No prompt of "test" is on the web; of facts the web has the answer in other words.
    Prompts repeat within a level only when the split's distinct prompts are nearly used up.

    Raises StageError for an unknown task.
    """
    module = find_task(task)
    generator = random.Random(f"{task}/{split}/{seed}")
    examples: list[Example] = []
    levels = module.INFO.levels
    seen: dict[str, set[str]] = {level: set() for level in levels}
    for index in range(count):
        level = levels[index % 2]
        for attempt in range(_MAX_DRAWS):
            candidate = module.draw(generator, level, split)
            if attempt == _NUM_DRAWS_BEFORE_REPEATS:
                seen[level].clear()  # starts a new pass, so that repeats are spread over all prompts
            if candidate.example.prompt not in seen[level] and is_in_split(split, candidate, task):
                break
        else:
            raise StageError(f"task {task}, level {level}: no problem of split {split!r} in {_MAX_DRAWS} draws")
        seen[level].add(candidate.example.prompt)
        examples.append(candidate.example)
    return examples


def score(examples: Sequence[Example], responses: Sequence[str]) -> list[float]:
    """Credit in [0, 1] per response, in order; 1.0 exactly if it is right. Code runs in one child per batch."""
    if len(responses) != len(examples):
        raise ValueError(f"{len(examples)} examples but {len(responses)} responses")
    scores = [0.0] * len(examples)
    for task in sorted({example.task for example in examples}):
        indices = [i for i, example in enumerate(examples) if example.task == task]
        grades = REGISTRY[task].grade([examples[i] for i in indices], [responses[i] for i in indices])
        for i, grade in zip(indices, grades, strict=True):
            scores[i] = grade
    return scores


def verify(examples: Sequence[Example], responses: Sequence[str]) -> list[bool]:
    """Whether each response is right, in order. Code runs in one child per batch."""
    return [credit == 1.0 for credit in score(examples, responses)]
