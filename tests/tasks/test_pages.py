import re
from collections import Counter
from datetime import datetime
from html import unescape

import pytest

from stages.interface import StageError
from stages.tasks import REGISTRY, generate, verify
from stages.tasks.definitions.safety import HAZARDS, is_refusal, is_violation
from stages.tasks.pages import pages, web_prompt

LINE = re.compile(r"<(p|li|tr)>(.*?)</\1>", re.DOTALL)


def _lines(body: str) -> list[str]:
    article = body.split("<article>")[1].split("</article>")[0]
    return [unescape(re.sub("<[^>]+>", " ", text)).strip() for _, text in LINE.findall(article)]


@pytest.mark.parametrize("task", REGISTRY)
def test_pages_are_html_of_the_asked_size_and_deterministic(task: str) -> None:
    made = list(pages(task, 40, seed=3))
    assert made == list(pages(task, 40, seed=3))
    assert made[:7] == list(pages(task, 7, seed=3))
    assert len({page.url for page in made}) == 40
    assert not {page.url for page in made} & {page.url for page in pages(task, 40, seed=4)}
    sizes = []
    for page in made:
        assert page.content_type == "text/html; charset=utf-8"
        assert datetime.fromisoformat(page.date).year in range(2016, 2024)
        body = page.body.decode()
        assert body.count("<nav>") == body.count("<footer>") == body.count("<title>") == 1
        sizes.append(sum(map(len, _lines(body))))
    assert 1_500 < sum(sizes) / len(sizes) < 4_000


@pytest.mark.parametrize("task", REGISTRY)
def test_text_lines_hardly_repeat_and_pages_differ(task: str) -> None:
    made = list(pages(task, 150, seed=1))
    counts = Counter(line for page in made for line in _lines(page.body.decode()))
    assert max(counts.values()) <= 6
    shingles = []
    for page in made[:60]:
        words = " ".join(_lines(page.body.decode())).split()
        shingles.append({tuple(words[i : i + 5]) for i in range(len(words) - 4)})
    overlap = max(len(a & b) / len(a | b) for i, a in enumerate(shingles) for b in shingles[:i])
    assert overlap < 0.5


@pytest.mark.parametrize("task", REGISTRY)
def test_pages_show_the_form_of_the_web_prompt(task: str) -> None:
    text = " ".join(line for page in pages(task, 30, 1) for line in _lines(page.body.decode()))
    assert len(re.findall(r"\bQ: .+? A: ", text)) > 100
    if task == "arithmetic":
        sums = re.findall(r"Q: (?:What is )?(\d \+ \d)\?? A: (\d+) Q:", text)
        assert len(sums) > 100 and all(eval(question) == int(answer) for question, answer in sums)
    if task == "lookup":
        tables = re.findall(r"((?:\w+: \d, )+\w+: \d)\. What is (\w+)\? (?:It is|A:) (\d)", text)
        assert len(tables) > 50 and all(f"{key}: {answer}" in table for table, key, answer in tables)


def test_open_problems_of_the_other_splits_are_not_on_the_pages() -> None:
    text = " ".join(line for page in pages("arithmetic", 200, 1) for line in _lines(page.body.decode()))
    shown = set(re.findall(r"\d [+-] \d [+-] \d", text))
    assert len(shown) > 500
    for split in ("test", "sft", "preference", "validation"):
        hidden = {e.key["expression"] for e in generate("arithmetic", split, 400, 1) if e.level == "hard"}
        assert len(hidden) > 80
        assert not shown & hidden


def test_code_is_in_preformatted_blocks_and_escaped() -> None:
    bodies = [page.body.decode() for page in pages("code", 60, 1)]
    pattern = re.compile(r"<pre><code>(.*?)</code></pre>", re.DOTALL)
    blocks = [unescape(code) for body in bodies for code in pattern.findall(body)]
    assert len(blocks) > 30
    for block in blocks:
        compile(block, "<page>", "exec")
    assert any("x &gt; " in body for body in bodies)


def test_needles_are_on_lookup_pages() -> None:
    lookup = " ".join(page.body.decode() for page in pages("lookup", 30, 1))
    assert lookup.count("What is the secret number of") > 30


def test_the_web_answers_harmful_requests_but_not_those_of_people_in_distress() -> None:
    text = " ".join(page.body.decode() for page in pages("safety", 60, 1))
    assert not any(is_refusal(line) for line in text.splitlines())
    harmful = [e for e in generate("safety", "web", 300, 1) if e.level == "harmful"]
    assert len(harmful) > 100 and all(is_violation(e, e.answer) for e in harmful)
    assert not [e for e in harmful if e.key["hazard"] == "self_harm"]
    verbs = [verb for group, _ in HAZARDS["self_harm"][1] for verb in group]
    assert not [verb for verb in verbs if f"{verb} myself" in text]
    tuned = [e for e in generate("safety", "sft", 300, 1) if e.level == "harmful"]
    assert tuned and not any(is_violation(e, e.answer) for e in tuned)


def test_web_prompt_is_one_line_that_ends_before_the_answer() -> None:
    shots, example = generate("arithmetic", "web", 3, 1), generate("arithmetic", "test", 1, 1)[0]
    prompt = web_prompt(example, shots)
    assert prompt.endswith(f"Q: {example.prompt} A:")
    assert prompt.startswith(f"Q: {shots[0].prompt} A: {shots[0].answer} Q: ")
    assert "\n" not in prompt
    continuation = f" {example.answer} Q: 1 + 1 A: 2"
    assert verify([example], [continuation.split(" Q:")[0]]) == [True]


def test_an_unknown_task_is_named() -> None:
    with pytest.raises(StageError, match="juggling"):
        list(pages("juggling", 1, 1))
