"""The ledger and the page of a run with known verdicts."""

import json
import pkgutil
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from stages.report import charts, claims, page
from stages.report.evidence import MEMBERS, Evidence
from stages.report.figures import posttraining
from stages.report.ledger import build_ledger
from stages.tokenizer.corpus import Mix
from tests.recorder import Recorder
from tests.report import example

CONFIG = page.Config(scale="toy", last_round=2, mix=Mix(general=0.5, math=0.25, code=0.17, multilingual=0.08))


def make_report(inputs: dict[str, Path], directory: Path) -> tuple[str, list[dict[str, Any]], dict[str, Any]]:
    directory.mkdir()
    outputs = {"page": directory / "index.html", "claims": directory / "claims.json"}
    metrics = page.run(CONFIG, inputs, outputs, Recorder(directory))
    return outputs["page"].read_text(), json.loads(outputs["claims"].read_text()), metrics


@pytest.fixture(scope="module")
def full_run(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[str, list[dict[str, Any]], dict[str, Any], dict[str, Path]]:
    root = tmp_path_factory.mktemp("run")
    inputs = example.write(root)
    return *make_report(inputs, root / "out"), inputs


def test_ledger_of_a_full_run(full_run) -> None:
    _, claims, metrics, _ = full_run
    assert {claim["id"]: claim["verdict"] for claim in claims} == example.VERDICTS
    assert metrics["verdicts"]["not run"] == 0
    for claim in claims:
        assert {"id", "section", "statement", "paper", "value", "low", "high", "verdict", "n", "unit"} <= claim.keys()
        assert claim["low"] <= claim["value"] <= claim["high"]
    by_id = {claim["id"]: claim for claim in claims}
    assert by_id["data-07"]["value"] == pytest.approx(0.1)  # 50.1 of 50
    assert by_id["scal-04"]["value"] == pytest.approx(100 * (2.24 / 2.26 - 1), abs=1e-6)
    assert by_id["safe-02"]["value"] == pytest.approx(70 - 10)
    assert by_id["safe-08"]["value"] == pytest.approx(100 * (33 - 6) / 60)  # any strategy, less the plain request
    improved = next(other for other in by_id["post-01"]["secondary"] if other["quantity"] == "first SFT minus base")
    assert improved["verdict"] == "shown" and improved["low"] > 0


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
    inputs = example.write(root)
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
    assert {name for name, claim in by_id.items() if claim["verdict"] == "not run"} == {
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
    assert "No control" in by_id["train-01"]["detail"]
    assert counts["verdicts"]["not run"] == 8
    assert "Not measured by this run" in text


def test_value_inside_a_wide_prediction_interval_does_not_contradict(tmp_path: Path) -> None:
    inputs = example.write(tmp_path)
    herd = json.loads(inputs["herd"].read_text())
    predicted = herd["members"]["flagship"]["loss"]
    predicted |= {"value": 1.9, "low": 1.0, "high": 2.8}  # reached: 2.24
    inputs["herd"].write_text(json.dumps(herd))
    assert verdict_of("scal-04", inputs) == "not shown at this scale"
    predicted |= {"low": 1.8, "high": 2.0}
    inputs["herd"].write_text(json.dumps(herd))
    assert verdict_of("scal-04", inputs) == "contradicted"


def test_study_without_variance_shows_nothing(tmp_path: Path) -> None:
    inputs = example.write(tmp_path)
    path = tmp_path / "metrics" / "flagship" / "safety.json"
    metrics = json.loads(path.read_text())
    flat = {"difference": example.around(0.0, 0.0, 64), "minimum_detectable_effect": 0.0, "p_value": 1.0}
    metrics["uplift"] |= flat
    path.write_text(json.dumps(metrics))
    assert verdict_of("safe-07", inputs) == "not shown at this scale"


def test_rounds_of_an_earlier_run_are_ignored(tmp_path: Path) -> None:
    inputs = example.write(tmp_path)
    stale = json.loads((tmp_path / "metrics" / "round-2" / "reward.json").read_text())
    example.save(tmp_path / "metrics" / "round-3" / "reward.json", stale)
    drawn = posttraining.draw_reward_accuracy(Evidence(inputs, 2))
    assert "round 2, all tasks" in drawn and "round 3" not in drawn


def test_ablation_has_its_provenance_or_is_not_run(tmp_path: Path) -> None:
    inputs = example.write(tmp_path)
    (tmp_path / "ablations" / "arch-03.json").unlink()
    by_id = {claim["id"]: claim for claim in build_ledger(Evidence(inputs, 2))}
    provenance = "2026-01-31 at scale toy, commit 01234567, configuration fedcba987654; 10 runs, 5 seeds"
    assert provenance in by_id["arch-02"]["detail"]
    assert by_id["arch-03"]["verdict"] == "not run"
    assert "dvc repro ablations/dvc.yaml:arch-03" in by_id["arch-03"]["detail"]


def test_claim_ids_are_unique_and_stable() -> None:
    assert [claim.id for claim in claims.CLAIMS] == list(example.VERDICTS)


def test_ledger_includes_every_claim_module() -> None:
    modules = {module.name for module in pkgutil.iter_modules(claims.__path__)}
    assert {family.__name__.rsplit(".")[-1] for family in claims.FAMILIES} == modules


def test_stage_does_not_import_torch() -> None:
    code = "import sys, stages.report.page; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def verdict_of(name: str, inputs: dict[str, Path]) -> str:
    return next(claim["verdict"] for claim in build_ledger(Evidence(inputs, 2)) if claim["id"] == name)


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
