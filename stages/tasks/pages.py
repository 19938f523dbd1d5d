"""Web pages that show the tasks, and the prompt in the same form for a base model.

Every text line (paragraph, list item, table row) holds several examples in random combination, so line de-duplication
keeps it. Navigation and footer repeat, and line de-duplication removes them.
"""

import random
from collections.abc import Iterator, Sequence
from html import escape
from typing import NamedTuple

from stages.tasks import find_task
from stages.tasks.definitions.lookup import draw_needle, filler_sentence
from stages.tasks.example import Example, is_in_split
from stages.tasks.task import Task

PAGE_CHARACTERS = (2_000, 3_000)

# Share of pages with each layout.
LAYOUTS = {"questions": 0.55, "statements": 0.15, "table": 0.1, "list": 0.1, "forum": 0.1}
# Share of needle paragraphs on lookup pages, and their range of lengths in tokens.
NEEDLE_SHARE, NEEDLE_TOKENS = 0.3, (40, 160)

_NAVIGATION = ("Home", "About us", "Archive", "Contact", "Sign in")
_FOOTER = ("All rights reserved.", "Terms of use and privacy notice apply to this site.", "Follow us for more.")
_USERS = ("marta", "jon88", "old_owl", "pixel", "teacher_k", "lukas", "river", "sunny", "coder42", "maple")


class Page(NamedTuple):
    """One response of a crawl: address, ISO 8601 date, content type, and the bytes of the body."""

    url: str
    date: str
    content_type: str
    body: bytes


def web_answer(example: Example) -> str:
    """The answer on a web page: the same text as `example.answer`, so that one verifier grades both."""
    return example.answer


def web_prompt(example: Example, shots: Sequence[Example]) -> str:
    """A few-shot prompt in the form of the pages. The answer continues it up to " Q:" or a line break."""
    return " ".join([*map(_question_and_answer, shots), f"Q: {example.prompt} A:"])


def pages(task: str, count: int, seed: int) -> Iterator[Page]:
    """`count` HTML pages of 2-3 KB of text with problems of the split "web". The same arguments give the same bytes.

    Raises StageError for an unknown task.
    """
    module = find_task(task)
    generator = random.Random(f"pages/{task}/{seed}")
    for number in range(count):
        yield _page(generator, module, f"{seed}-{number:05d}")


def _draw_examples(generator: random.Random, task: Task) -> Iterator[Example]:
    """Endless problems of the web; problems of small spaces repeat, as on the real web."""
    info = task.INFO
    while True:
        if info.name == "lookup" and generator.random() < NEEDLE_SHARE:
            yield draw_needle(generator, generator.randint(*NEEDLE_TOKENS), generator.random())
            continue
        level = info.levels[generator.random() < info.hard_share]
        candidate = task.draw(generator, level, "web")
        if is_in_split("web", candidate, info.name):
            yield candidate.example


def _page(generator: random.Random, task: Task, serial: str) -> Page:
    layout = generator.choices(tuple(LAYOUTS), tuple(LAYOUTS.values()))[0]
    examples = _draw_examples(generator, task)
    title = f"{generator.choice(task.INFO.topics).capitalize()}, part {serial}"
    min_characters = generator.randint(*PAGE_CHARACTERS)
    blocks, num_characters = [f"<p>{escape(_introduction(generator, task))}</p>"], 0
    while num_characters < min_characters:
        group = _draw_group(generator, examples)
        block = _RENDER[layout](generator, task, group)
        blocks.append(block)
        num_characters += sum(len(example.prompt) + len(example.answer) + 7 for example in group)
    body = "\n".join(blocks)
    if layout == "table":
        body = f"{blocks[0]}\n<table>\n" + "\n".join(blocks[1:]) + "\n</table>"
    elif layout == "list":
        body = f"{blocks[0]}\n<ul>\n" + "\n".join(blocks[1:]) + "\n</ul>"
    site = generator.choice(task.INFO.sites)
    year, month, day = generator.randint(2016, 2023), generator.randint(1, 12), generator.randint(1, 28)
    date = f"{year}-{month:02d}-{day:02d}T{generator.randrange(24):02d}:{generator.randrange(60):02d}:00Z"
    slug = title.lower().replace(",", "").replace(" ", "-")
    html = _TEMPLATE.format(
        title=escape(title),
        site=site,
        navigation="".join(f'<li><a href="/{name.lower().replace(" ", "-")}">{name}</a></li>' for name in _NAVIGATION),
        body=body,
        footer="".join(f"<p>{line}</p>" for line in _FOOTER),
    )
    return Page(f"https://www.{site}/{year}/{month:02d}/{slug}", date, "text/html; charset=utf-8", html.encode())


def _draw_group(generator: random.Random, examples: Iterator[Example]) -> list[Example]:
    """The examples of one text line: three to six, fewer if they are long."""
    group = [next(examples)]
    target = generator.randint(3, 6)
    while len(group) < target and sum(len(example.prompt) + len(example.answer) for example in group) < 450:
        group.append(next(examples))
    return group


def _introduction(generator: random.Random, task: Task) -> str:
    verb = generator.choice(("collected", "wrote", "chose", "checked", "put together"))
    who = generator.choice(("children", "students", "teachers", "parents", "beginners", "our readers", "everybody"))
    when = generator.choice(("this week", "this month", "last summer", "in the last days", "over the years"))
    why = generator.choice(("to practise", "to learn from", "to read", "to share with friends", "to try at home"))
    topic = generator.choice(task.INFO.topics)
    return f"Here is what we {verb} {when} about {topic} for {who} {why}. {filler_sentence(generator)}"


def _question_and_answer(example: Example) -> str:
    return f"Q: {example.prompt} A: {web_answer(example)}"


def _questions(generator: random.Random, task: Task, group: list[Example]) -> str:
    return f"<p>{escape(' '.join(map(_question_and_answer, group)))}</p>"


def _statements(generator: random.Random, task: Task, group: list[Example]) -> str:
    if task.INFO.is_code:
        prompts = " ".join(example.prompt for example in group)
        return f"<p>{escape(prompts)}</p>\n<pre><code>{escape(_code_listing(group))}</code></pre>"
    return f"<p>{escape(' '.join(task.statement(example) for example in group))}</p>"


def _table_row(generator: random.Random, task: Task, group: list[Example]) -> str:
    cells = "".join(f"<td>{escape(example.prompt)}</td><td>{escape(web_answer(example))}</td>" for example in group)
    return f"<tr>{cells}</tr>"


def _list_item(generator: random.Random, task: Task, group: list[Example]) -> str:
    return f"<li>{escape(' '.join(f'{example.prompt} {web_answer(example)}' for example in group))}</li>"


def _forum_posts(generator: random.Random, task: Task, group: list[Example]) -> str:
    asker, helper = generator.sample(_USERS, 2)
    prompts = " ".join(example.prompt for example in group)
    if task.INFO.is_code:
        answer = f"<pre><code>{escape(_code_listing(group))}</code></pre>"
    else:  # each answer follows its question: a model learns nothing from an answer far from its question
        answer = f"<p>{escape(' '.join(map(_question_and_answer, group)))}</p>"
    filler = escape(filler_sentence(generator))
    return (
        f'<div class="post"><span class="user">{asker}</span><p>{escape(prompts)} {filler}</p></div>\n'
        f'<div class="post"><span class="user">{helper}</span>{answer}</div>'
    )


def _code_listing(group: list[Example]) -> str:
    """Code with each instruction as a comment above its function."""
    return "\n".join(f"# {example.prompt}\n{example.answer}" for example in group)


_RENDER = {
    "questions": _questions,
    "statements": _statements,
    "table": _table_row,
    "list": _list_item,
    "forum": _forum_posts,
}

_TEMPLATE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>{title} | {site}</title></head>
<body>
<header><nav><ul>{navigation}</ul></nav></header>
<main><article>
<h1>{title}</h1>
{body}
</article></main>
<footer>{footer}</footer>
</body>
</html>
"""
