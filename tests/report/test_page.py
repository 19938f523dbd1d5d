"""The ledger and the page, on results with known verdicts."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from stages.report import figures_posttraining, page
from stages.report.claims import CLAIMS, ledger
from stages.report.evidence import MEMBERS, Evidence
from stages.tokenizer.corpus import Mix
from tests.recorder import Recorder
from tests.report import example

CONFIG = page.Config(scale="toy", last_round="2", mix=Mix(general=0.5, math=0.25, code=0.17, multilingual=0.08))
EXPECTED = {
    "data-01": "shown",
    "data-02": "exact",
    "data-03": "shown",
    "data-07": "exact",
    "arch-05": "shown",
    "scal-01": "shown",
    "scal-02": "shown",
    "scal-03": "shown",
    "scal-04": "shown",
    "scal-05": "shown",
    "train-01": "shown",
    "train-02": "contradicted",
    "train-03": "not shown at this scale",
    "post-01": "shown",
    "post-02": "not shown at this scale",
    "post-03": "shown",
    "post-15": "shown",
    "safe-01": "shown",
    "safe-02": "shown",
    "safe-04": "shown",
    "safe-05": "shown",
    "safe-06": "not shown at this scale",
    "safe-07": "shown",
    "safe-08": "shown",
    "safe-11": "shown",
    "arch-01": "exact",
    "scal-07": "contradicted",
    "infra-01": "exact",
    "infra-02": "shown",
    "infra-03": "exact",
    "infra-04": "exact",
    "data-04": "shown",
    "data-05": "not shown at this scale",
    "data-06": "contradicted",
    "data-08": "shown",
    "data-09": "shown",
    "data-10": "not shown at this scale",
    "data-11": "shown",
    "arch-02": "shown",
    "arch-03": "shown",
    "arch-04": "shown",
    "arch-06": "not shown at this scale",
    "scal-06": "shown",
}


def make(inputs: dict[str, Path], directory: Path) -> tuple[str, list[dict[str, Any]], dict[str, Any]]:
    directory.mkdir()
    outputs = {"page": directory / "index.html", "claims": directory / "claims.json"}
    metrics = page.run(CONFIG, inputs, outputs, Recorder(directory))
    return outputs["page"].read_text(), json.loads(outputs["claims"].read_text()), metrics


@pytest.fixture(scope="module")
def whole(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[str, list[dict[str, Any]], dict[str, Any], dict[str, Path]]:
    root = tmp_path_factory.mktemp("whole")
    inputs = example.write(root)
    return *make(inputs, root / "out"), inputs


def test_ledger_of_a_whole_run(whole) -> None:
    _, claims, metrics, _ = whole
    assert {claim["id"]: claim["verdict"] for claim in claims} == EXPECTED
    assert metrics["verdicts"]["not run"] == 0
    for claim in claims:
        assert {"id", "section", "statement", "paper", "ours", "low", "high", "verdict", "n", "unit"} <= claim.keys()
        assert claim["low"] <= claim["ours"] <= claim["high"]
    by_id = {claim["id"]: claim for claim in claims}
    assert by_id["data-07"]["ours"] == pytest.approx(0.1)  # 50.1 of 50
    assert by_id["scal-04"]["ours"] == pytest.approx(100 * (2.24 / 2.26 - 1), abs=1e-6)
    assert by_id["safe-02"]["ours"] == pytest.approx(70 - 10)
    assert by_id["safe-08"]["ours"] == pytest.approx(100 * (33 - 6) / 60)  # any strategy, less the plain request
    improved = next(row for row in by_id["post-01"]["also"] if row["compared"] == "first SFT minus base")
    assert improved["verdict"] == "shown" and improved["low"] > 0


def test_the_page_stands_alone(whole) -> None:
    text, claims, _, _ = whole
    for attribute in re.findall(r'(?:src|href|data|action)="([^"]*)"', text):
        assert attribute.startswith("#"), attribute
    assert not re.search(r"url\((?!['\"]?#)|@import|<script|<link", text)
    assert len(text.encode()) < 3_000_000
    for claim in claims:
        assert f'id="{claim["id"]}"' in text


def test_the_page_is_whole_html(whole) -> None:
    text, _, _, _ = whole
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    assert len(checker.ids) == len(set(checker.ids))
    for target in re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)|for="([^"]+)"', text):
        assert "".join(target) in checker.ids


def test_every_chart_is_drawn_and_answers_are_escaped(whole) -> None:
    text, _, _, _ = whole
    assert "Not measured by this run" not in text
    assert text.count('role="img"') == 25
    assert "&lt;question&gt;" in text and "<question>" not in text


def test_the_plan_of_405b_stands_beside_this_runs(whole) -> None:
    text, claims, _, _ = whole
    row = re.search(r"<tr><td>parameters</td>.*?</tr>", text, flags=re.S)
    assert row and "405,845,000,192" in row[0] and "603.0K" in row[0]
    assert "2.43" in text and "0.69" in text  # seconds that writing a checkpoint of 405B takes at 2 and at 7 TB/s
    days = next(claim for claim in claims if claim["id"] == "infra-03")
    assert {beside["ours"] for beside in days["also"]} >= {66.2, 71.2, 71.3}
    assert days["also"][0]["verdict"] == "exact"


def test_the_same_run_gives_the_same_bytes(whole, tmp_path: Path) -> None:
    text, claims, metrics, inputs = whole
    assert make(inputs, tmp_path / "again") == (text, claims, metrics)


def test_what_was_not_measured_is_not_run(whole, tmp_path: Path) -> None:
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
    text, claims, counts = make(inputs, root / "out")
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
    assert by_id["safe-01"]["ours"] is None and "metrics/flagship/safety.json" in by_id["safe-01"]["detail"]
    assert by_id["post-02"]["verdict"] == EXPECTED["post-02"]
    assert "No control" in by_id["train-01"]["detail"]
    assert counts["verdicts"]["not run"] == 8
    assert "Not measured by this run" in text


def test_a_prediction_too_wide_to_be_refuted_is_not_contradicted(tmp_path: Path) -> None:
    inputs = example.write(tmp_path)
    herd = json.loads(inputs["herd"].read_text())
    predicted = herd["members"]["flagship"]["loss"]
    predicted |= {"value": 1.9, "low": 1.0, "high": 2.8}  # reached: 2.24
    inputs["herd"].write_text(json.dumps(herd))
    assert verdict_of("scal-04", inputs) == "not shown at this scale"
    predicted |= {"low": 1.8, "high": 2.0}
    inputs["herd"].write_text(json.dumps(herd))
    assert verdict_of("scal-04", inputs) == "contradicted"


def test_a_study_that_tells_nobody_apart_shows_nothing(tmp_path: Path) -> None:
    inputs = example.write(tmp_path)
    path = tmp_path / "metrics" / "flagship" / "safety.json"
    metrics = json.loads(path.read_text())
    flat = {"difference": example.around(0.0, 0.0, 64), "minimum_detectable_effect": 0.0, "p_value": 1.0}
    metrics["uplift"] |= flat
    path.write_text(json.dumps(metrics))
    assert verdict_of("safe-07", inputs) == "not shown at this scale"


def test_rounds_left_from_an_earlier_run_are_not_shown(tmp_path: Path) -> None:
    inputs = example.write(tmp_path)
    stale = json.loads((tmp_path / "metrics" / "round-2" / "reward.json").read_text())
    example.save(tmp_path / "metrics" / "round-3" / "reward.json", stale)
    drawn = figures_posttraining.reward_chart(Evidence(inputs, 2))
    assert "round 2, all" in drawn and "round 3" not in drawn


def test_an_ablation_says_when_it_was_made_or_that_it_was_not_run(tmp_path: Path) -> None:
    inputs = example.write(tmp_path)
    (tmp_path / "ablations" / "arch-03.json").unlink()
    rows = {claim["id"]: claim for claim in ledger(Evidence(inputs, 2))}
    assert (
        "2026-01-31 at scale toy, commit 01234567, configuration fedcba987654; 10 runs, 5 seeds"
        in (rows["arch-02"]["detail"])
    )
    assert rows["arch-03"]["verdict"] == "not run"
    assert "dvc repro ablations/dvc.yaml:arch-03" in rows["arch-03"]["detail"]


def test_claims_have_stable_unique_ids() -> None:
    assert [claim.id for claim in CLAIMS] == list(EXPECTED)


def test_the_stage_does_without_torch() -> None:
    code = "import sys, stages.report.page; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def verdict_of(name: str, inputs: dict[str, Path]) -> str:
    return next(claim["verdict"] for claim in ledger(Evidence(inputs, 2)) if claim["id"] == name)


class Checker(HTMLParser):
    """Open elements and ids."""

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
