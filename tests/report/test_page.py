"""The report's page."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

from stages.report import charts
from stages.report.evidence import MEMBERS, Evidence
from stages.report.figures import posttraining
from tests.report import example
from tests.report.conftest import make_report
from tests.report.example.values import save_json


def test_page_is_self_contained(full_run) -> None:
    text, claims, _, _ = full_run
    for attribute in re.findall(r'(?:src|href|data|action)="([^"]*)"', text):
        assert attribute.startswith("#"), attribute
    assert not re.search(r"url\((?!['\"]?#)|@import|<script|<link", text)
    assert len(text.encode()) < 3_000_000
    for claim in claims:
        assert f'id="{claim["id"]}"' in text


def test_page_is_valid_html(full_run) -> None:
    text, _, _, _ = full_run
    checker = HTMLChecker()
    checker.feed(text)
    assert checker.open == []
    assert len(checker.ids) == len(set(checker.ids))
    for target in re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)|for="([^"]+)"', text):
        assert "".join(target) in checker.ids


def test_page_has_every_chart_and_escapes_answers(full_run) -> None:
    text, _, _, _ = full_run
    assert "Not measured by this run" not in text
    assert text.count('role="img"') == len(charts.CHARTS) == 25
    assert "&lt;question&gt;" in text and "<question>" not in text


def test_page_compares_the_405b_plan_with_this_run(full_run) -> None:
    text, claims, _, _ = full_run
    row = re.search(r"<tr><td>parameters</td>.*?</tr>", text, flags=re.S)
    assert row and "405,845,000,192" in row[0] and "603.0K" in row[0]
    assert "2.43" in text and "0.69" in text  # seconds that writing a checkpoint of 405B takes at 2 and at 7 TB/s
    days = next(claim for claim in claims if claim["id"] == "infra-03")
    assert {other["value"] for other in days["secondary"]} >= {66.2, 71.2, 71.3}
    assert days["secondary"][0]["verdict"] == "exact"


def test_report_is_deterministic(full_run, tmp_path: Path) -> None:
    text, claims, metrics, inputs = full_run
    assert make_report(inputs, tmp_path / "again") == (text, claims, metrics)


def test_unmeasured_claims_are_not_run(full_run, tmp_path: Path) -> None:
    root = tmp_path / "part"
    inputs = example.write_run(root)
    for member in MEMBERS:
        (root / "metrics" / member / "safety.json").unlink()
        del inputs[f"safety-{member}"]
        path = root / "metrics" / member / "annealing.json"
        metrics = json.loads(path.read_text())
        del metrics["against_control"]
        path.write_text(json.dumps(metrics))
    del inputs["answers-1"]
    text, claims, counts = make_report(inputs, root / "out")
    by_id = {claim["id"]: claim for claim in claims}
    assert {name for name, claim in by_id.items() if claim["verdict"] == "not run"} - {*example.NOT_RUN} == {
        "post-01",
        "safe-01",
        "safe-02",
        "safe-04",
        "safe-05",
        "safe-06",
        "safe-07",
        "safe-08",
    }
    assert by_id["safe-01"]["value"] is None and "metrics/flagship/safety.json" in by_id["safe-01"]["detail"]
    assert by_id["post-02"]["verdict"] == example.VERDICTS["post-02"]
    assert by_id["train-01"]["verdict"] == "cannot be measured here"  # nothing to compare with at equal tokens
    assert counts["verdicts"]["not run"] == 8 + len(example.NOT_RUN)
    assert "Not measured by this run" in text


def test_rounds_of_an_earlier_run_are_ignored(tmp_path: Path) -> None:
    inputs = example.write_run(tmp_path)
    stale = json.loads((tmp_path / "metrics" / "round-2" / "reward.json").read_text())
    save_json(tmp_path / "metrics" / "round-3" / "reward.json", stale)
    drawn = posttraining.draw_reward_accuracy(Evidence(inputs, 2))
    assert "round 2, all tasks" in drawn and "round 3" not in drawn


def test_stage_does_not_import_torch() -> None:
    code = "import sys, stages.report.page; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


class HTMLChecker(HTMLParser):
    """Collects open elements and ids."""

    VOID = ("meta", "br", "input", "link")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value for name, value in attrs if name == "id" and value]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value for name, value in attrs if name == "id" and value]

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> at {self.getpos()}"
