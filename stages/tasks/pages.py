"""Web pages that show the tasks, and the prompt in the web's form for a base model.

Every text line (paragraph, list item, table row) holds several items in random combination: line-level deduplication
then keeps them, and the navigation and footer, which repeat, are what it takes away.
"""

import random
from collections.abc import Iterator, Sequence
from html import escape
from typing import NamedTuple

from stages.interface import StageError
from stages.tasks import SKILLS
from stages.tasks.example import Example, owns
from stages.tasks.lookup import filler, hide

PAGE_CHARACTERS = (2_000, 3_000)

# Share of the forms a page takes.
FORMS = {"questions": 0.55, "statements": 0.15, "table": 0.1, "list": 0.1, "forum": 0.1}
# Share of needle paragraphs on lookup pages, and their length range in tokens.
NEEDLE_SHARE, NEEDLE_TOKENS = 0.3, (40, 160)

_SITES = {
    "arithmetic": ("sums-for-school.example", "mental-maths.example", "numbers-daily.example"),
    "code": ("python-snippets.example", "ask-coders.example", "one-line-functions.example"),
    "translation": ("five-languages.example", "word-trainer.example", "travel-phrases.example"),
    "lookup": ("memory-games.example", "find-the-number.example", "reading-practice.example"),
    "facts": ("capital-quiz.example", "world-geography.example", "countries-notes.example"),
    "format": ("word-play.example", "letters-and-words.example", "spelling-club.example"),
    "howto": ("everyday-guides.example", "how-do-i.example", "home-and-hobby.example"),
    "mails": ("letter-corner.example", "friendly-mails.example", "write-to-me.example"),
    "risky_code": ("code-tips.example", "quick-scripts.example", "ask-a-developer.example"),
    "safety": ("ask-anything.example", "curious-answers.example", "tips-and-tricks.example"),
}
_TOPICS = {
    "arithmetic": ("adding and subtracting", "small sums", "mental arithmetic"),
    "code": ("short Python functions", "Python one-liners", "functions for beginners"),
    "translation": ("words in five languages", "everyday vocabulary", "first phrases"),
    "lookup": ("finding the right value", "reading with attention", "memory practice"),
    "facts": ("capitals and continents", "countries of the world", "geography"),
    "format": ("words and letters", "spelling and sorting", "word games"),
    "howto": ("everyday tasks", "home and hobby", "simple guides"),
    "mails": ("short emails", "letters to friends", "invitations"),
    "risky_code": ("short scripts", "snippets for web servers", "handy functions"),
    "safety": ("questions that sound odd", "hobbies and home", "small everyday tricks"),
}
CODE = ("code", "risky_code")
"""Tasks whose answers are shown as listings."""
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
    """The answer as web pages give it: the same text as `example.answer`, so that one verifier serves both."""
    return example.answer


def web_prompt(example: Example, shots: Sequence[Example]) -> str:
    """A few-shot prompt in the pages' question form; the answer goes on from its end up to " Q:" or a line break."""
    return " ".join([*(_question(shot) for shot in shots), f"Q: {example.prompt} A:"])


def pages(task: str, count: int, seed: int) -> Iterator[Page]:
    """`count` HTML pages of 2-3 KB of text with problems of the split "web"; the same arguments give the same bytes.

    Raises StageError for an unknown task.
    """
    if task not in SKILLS:
        raise StageError(f"unknown task {task!r}: choose one of {', '.join(SKILLS)}")
    generator = random.Random(f"pages/{task}/{seed}")
    for number in range(count):
        yield _page(generator, task, f"{seed}-{number:05d}")


def _items(generator: random.Random, task: str) -> Iterator[Example]:
    """Endless problems of the web; those of small spaces repeat, as they do on a real web."""
    skill = SKILLS[task]
    while True:
        if task == "lookup" and generator.random() < NEEDLE_SHARE:
            yield hide(generator, generator.randint(*NEEDLE_TOKENS), generator.random())
            continue
        level = skill.LEVELS[generator.random() < skill.WEB_SHARE]
        draft = skill.draw(generator, level, "web")
        if owns("web", draft, task):
            yield draft.example


def _page(generator: random.Random, task: str, serial: str) -> Page:
    form = generator.choices(tuple(FORMS), tuple(FORMS.values()))[0]
    items = _items(generator, task)
    title = f"{generator.choice(_TOPICS[task]).capitalize()}, part {serial}"
    wanted = generator.randint(*PAGE_CHARACTERS)
    blocks, written = [f"<p>{escape(_introduction(generator, task))}</p>"], 0
    while written < wanted:
        group = _group(generator, items)
        block = _RENDER[form](generator, task, group)
        blocks.append(block)
        written += sum(len(item.prompt) + len(item.answer) + 7 for item in group)
    body = "\n".join(blocks)
    if form == "table":
        body = f"{blocks[0]}\n<table>\n" + "\n".join(blocks[1:]) + "\n</table>"
    elif form == "list":
        body = f"{blocks[0]}\n<ul>\n" + "\n".join(blocks[1:]) + "\n</ul>"
    site = generator.choice(_SITES[task])
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


def _group(generator: random.Random, items: Iterator[Example]) -> list[Example]:
    """The items of one text line: three to six, fewer when they are long."""
    group = [next(items)]
    target = generator.randint(3, 6)
    while len(group) < target and sum(len(item.prompt) + len(item.answer) for item in group) < 450:
        group.append(next(items))
    return group


def _introduction(generator: random.Random, task: str) -> str:
    verb = generator.choice(("collected", "wrote", "chose", "checked", "put together"))
    who = generator.choice(("children", "students", "teachers", "parents", "beginners", "our readers", "everybody"))
    when = generator.choice(("this week", "this month", "last summer", "in the last days", "over the years"))
    why = generator.choice(("to practise", "to learn from", "to read", "to share with friends", "to try at home"))
    topic = generator.choice(_TOPICS[task])
    return f"Here is what we {verb} {when} about {topic} for {who} {why}. {filler(generator)}"


def _question(item: Example) -> str:
    return f"Q: {item.prompt} A: {web_answer(item)}"


def _questions(generator: random.Random, task: str, group: list[Example]) -> str:
    return f"<p>{escape(' '.join(map(_question, group)))}</p>"


def _statements(generator: random.Random, task: str, group: list[Example]) -> str:
    if task in CODE:
        asked = " ".join(item.prompt for item in group)
        return f"<p>{escape(asked)}</p>\n<pre><code>{escape(_listing(group))}</code></pre>"
    return f"<p>{escape(' '.join(SKILLS[task].statement(item) for item in group))}</p>"


def _row(generator: random.Random, task: str, group: list[Example]) -> str:
    cells = "".join(f"<td>{escape(item.prompt)}</td><td>{escape(web_answer(item))}</td>" for item in group)
    return f"<tr>{cells}</tr>"


def _entry(generator: random.Random, task: str, group: list[Example]) -> str:
    return f"<li>{escape(' '.join(f'{item.prompt} {web_answer(item)}' for item in group))}</li>"


def _post(generator: random.Random, task: str, group: list[Example]) -> str:
    asker, helper = generator.sample(_USERS, 2)
    asked = " ".join(item.prompt for item in group)
    # Beside each question, since a reply far from its question teaches nothing but patience.
    replied = " ".join(map(_question, group))
    answer = f"<pre><code>{escape(_listing(group))}</code></pre>" if task in CODE else f"<p>{escape(replied)}</p>"
    return (
        f'<div class="post"><span class="user">{asker}</span><p>{escape(asked)} {escape(filler(generator))}</p></div>\n'
        f'<div class="post"><span class="user">{helper}</span>{answer}</div>'
    )


def _listing(group: list[Example]) -> str:
    """Code with each instruction as a comment above its function."""
    return "\n".join(f"# {item.prompt}\n{item.answer}" for item in group)


_RENDER = {"questions": _questions, "statements": _statements, "table": _row, "list": _entry, "forum": _post}

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
