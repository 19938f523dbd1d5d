"""Generated tasks that a program can verify: web pages, post-training prompts and test prompts from disjoint problems.

    examples = generate("arithmetic", "test", 100, seed=1)
    verify(examples, [e.answer for e in examples])  # [True, True, ...]

`example.py` holds the types, one module per task draws and grades, `pages.py` renders the web's pages.
"""

import random
from collections.abc import Sequence

from stages.interface import StageError
from stages.tasks import arithmetic, code, facts, formats, howto, lookup, mails, risky_code, safety, translation
from stages.tasks.example import Example, Skill, Split, owns

SKILLS: dict[str, Skill] = {
    "arithmetic": arithmetic,
    "code": code,
    "translation": translation,
    "lookup": lookup,
    "facts": facts,
    "format": formats,
    "howto": howto,
    "mails": mails,
    "risky_code": risky_code,
    "safety": safety,
}
TASKS: tuple[str, ...] = tuple(name for name in SKILLS if name not in ("safety", "risky_code"))
"""The helpful tasks, in order: those that have a right answer to every prompt."""

_REPEATS_AFTER, _GIVE_UP_AFTER = 2_000, 20_000


def generate(task: str, split: Split, count: int, seed: int) -> list[Example]:
    """`count` examples of a split, levels in turn: the same arguments give the same list, a smaller count its start.

    A problem belongs to one split by a hash of its canonical form, whatever the seed. In open spaces (hard arithmetic,
    code with constants, translated phrases, lookup, letters and lists of format, howto, mails) no split has another's
    problems. In closed spaces (easy arithmetic, words, facts, operations without a constant, single words of format,
    risky code, safety) "web" has every problem and the other four are disjoint among themselves; facts, risky code and
    operations without a constant are told apart by problem and phrasing. Prompts repeat within a level only once the
    split's distinct ones are nearly used up.

    Raises StageError for an unknown task.
    """
    if task not in SKILLS:
        raise StageError(f"unknown task {task!r}: choose one of {', '.join(SKILLS)}")
    skill = SKILLS[task]
    generator = random.Random(f"{task}/{split}/{seed}")
    examples: list[Example] = []
    seen: dict[str, set[str]] = {level: set() for level in skill.LEVELS}
    for index in range(count):
        level = skill.LEVELS[index % 2]
        for attempt in range(_GIVE_UP_AFTER):
            draft = skill.draw(generator, level, split)
            if attempt == _REPEATS_AFTER:
                seen[level].clear()  # a new pass, so that repeats spread over all prompts
            if draft.example.prompt not in seen[level] and owns(split, draft, task):
                break
        else:
            raise StageError(f"task {task}, level {level}: no problem of split {split!r} in {_GIVE_UP_AFTER} draws")
        seen[level].add(draft.example.prompt)
        examples.append(draft.example)
    return examples


def score(examples: Sequence[Example], responses: Sequence[str]) -> list[float]:
    """Credit in [0, 1] per response, order kept; 1.0 exactly when it is right. Code runs in one child for the batch."""
    grades = [0.0] * len(examples)
    if len(responses) != len(examples):
        raise ValueError(f"{len(examples)} examples but {len(responses)} responses")
    for task in sorted({example.task for example in examples}):
        where = [i for i, example in enumerate(examples) if example.task == task]
        grades_of_task = SKILLS[task].grade([examples[i] for i in where], [responses[i] for i in where])
        for i, credit in zip(where, grades_of_task, strict=True):
            grades[i] = credit
    return grades


def verify(examples: Sequence[Example], responses: Sequence[str]) -> list[bool]:
    """Whether each response is right, order kept. Code runs in one child for the batch."""
    return [credit == 1.0 for credit in score(examples, responses)]
