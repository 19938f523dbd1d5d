"""The claims ledger of a run with known verdicts."""

import json
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stages.report import claims
from stages.report.evidence import Evidence
from stages.report.ledger import adjust_verdicts, build_ledger, summarise_family
from tests.report import example
from tests.report.example.values import interval, save_json


def test_ledger_of_a_full_run(full_run) -> None:
    _, claims, metrics, _ = full_run
    assert {claim["id"]: claim["verdict"] for claim in claims} == example.VERDICTS
    assert metrics["verdicts"]["not run"] == len(example.NOT_RUN)
    for claim in claims:
        assert {"id", "section", "statement", "paper", "value", "low", "high", "verdict", "n", "unit"} <= claim.keys()
        assert {"generalises_over", "clusters", "judge_error", "control", "p", "adjusted_verdict"} <= claim.keys()
        assert claim["verdict"] == "not run" or claim["low"] <= claim["value"] <= claim["high"]
    by_id = {claim["id"]: claim for claim in claims}
    assert by_id["data-07"]["value"] == pytest.approx(0.1)  # 50.1 of 50
    assert by_id["scal-04"]["value"] == pytest.approx(100 * (2.24 / 2.26 - 1), abs=1e-6)
    assert by_id["safe-01"]["value"] == pytest.approx(-50) and by_id["safe-01"]["quantity"].startswith("small")
    assert by_id["safe-02"]["value"] == pytest.approx(50 - 30)
    assert by_id["safe-08"]["value"] == pytest.approx(30)  # any strategy, less as many rephrasings
    assert by_id["safe-01"]["clusters"] == {"n": 75, "of": "deeds"} and by_id["safe-01"]["judge_error"]["n"] == 300


def test_value_inside_a_wide_prediction_interval_does_not_contradict(tmp_path: Path) -> None:
    inputs = example.write_run(tmp_path)
    herd = json.loads(inputs["herd"].read_text())
    predicted = herd["members"]["flagship"]["loss"]
    predicted |= {"value": 1.9, "low": 1.0, "high": 2.8}  # reached: 2.24
    inputs["herd"].write_text(json.dumps(herd))
    assert verdict_of("scal-04", inputs) == "not shown at this scale"
    predicted |= {"low": 1.8, "high": 2.0}
    inputs["herd"].write_text(json.dumps(herd))
    assert verdict_of("scal-04", inputs) == "contradicted"


def test_study_without_variance_shows_nothing(tmp_path: Path) -> None:
    inputs = example.write_run(tmp_path)
    path = tmp_path / "metrics" / "flagship" / "safety.json"
    metrics = json.loads(path.read_text())
    flat = {"difference": interval(0.0, 0.0, 64), "minimum_detectable_effect": 0.0, "p_value": 1.0}
    metrics["uplift"] |= flat
    path.write_text(json.dumps(metrics))
    assert verdict_of("safe-07", inputs) == "not shown at this scale"


def test_ablation_has_its_provenance_or_is_not_run(tmp_path: Path) -> None:
    inputs = example.write_run(tmp_path)
    (tmp_path / "ablations" / "arch-03.json").unlink()
    by_id = {claim["id"]: claim for claim in build_ledger(Evidence(inputs, 2))}
    provenance = "2026-01-31 at scale toy, commit 01234567, configuration fedcba987654; 10 runs, 5 seeds"
    assert provenance in by_id["arch-02"]["detail"]
    assert by_id["arch-03"]["verdict"] == "not run"
    assert "dvc repro ablations/dvc.yaml:arch-03" in by_id["arch-03"]["detail"]


def record(id: str, p: float, p_contradicted: float, verdict: str) -> dict[str, Any]:
    return {"id": id, "p": p, "p_contradicted": p_contradicted, "verdict": verdict, "secondary": []}


def test_holm_adjusts_the_family_of_tested_claims() -> None:
    claims = [
        record("a", 0.001, 0.999, "shown"),
        record("b", 0.02, 0.98, "shown in this run"),
        record("c", 0.4, 0.6, "not shown at this scale"),
        record("d", 1.0, 0.001, "contradicted"),
        record("e", 1e-9, 1.0, "cannot be measured here"),  # not tested: it takes no part
        {"id": "f", "p": None, "p_contradicted": None, "verdict": "exact", "secondary": []},
    ]
    adjusted = {claim["id"]: (claim["adjusted_p"], claim["adjusted_verdict"]) for claim in adjust_verdicts(claims)}
    assert adjusted == {
        "a": (pytest.approx(0.004), "shown"),
        "b": (pytest.approx(0.06), "not shown at this scale"),
        "c": (pytest.approx(0.8), "not shown at this scale"),
        "d": (pytest.approx(0.004), "contradicted"),
        "e": (None, "cannot be measured here"),
        "f": (None, "exact"),
    }
    assert summarise_family(claims) == {"tested": 4, "shown_by_chance": 0.1}


def change_metrics(inputs: dict[str, Path], name: str, change: Callable[[dict[str, Any]], Any]) -> None:
    path = inputs["metrics"] / f"{name}.json"
    metrics = json.loads(path.read_text())
    change(metrics)
    save_json(path, metrics)


def test_best_of_k_must_beat_one_answer_in_every_round(tmp_path: Path) -> None:
    inputs = example.write_run(tmp_path)
    worse = interval(-7.5e-2, 0.029, 1200) | {"clusters": 900}

    def hurt(metrics: dict[str, Any]) -> None:
        for each in metrics["selection"]:
            if (each["method"], each["task"], each["k"]) == ("best_reward", "all", 8):
                each["minus_one_answer"] = worse

    change_metrics(inputs, "round-2/rejection", hurt)
    claim = claim_of("post-03", inputs)
    assert claim["verdict"] == "contradicted" and claim["value"] == pytest.approx(-7.5)
    assert "Not shown in round 2" in claim["detail"]
    assert any("majority" in other["quantity"] for other in claim["secondary"])


def test_rounds_with_more_gold_data_are_not_compared(tmp_path: Path) -> None:
    inputs = example.write_run(tmp_path)
    change_metrics(inputs, "round-2/rejection", lambda metrics: metrics.update(gold=2400))
    claim = claim_of("post-01", inputs)
    assert claim["verdict"] == "cannot be measured here" and claim["control"]["value"] == 2.0


def test_violations_must_fall_for_every_member(tmp_path: Path) -> None:
    inputs = example.write_run(tmp_path)
    rise = interval(0.09, 0.07, 120) | {"clusters": 64}
    change_metrics(inputs, "small/safety", lambda metrics: metrics["violations"]["violation_rate"].update(change=rise))
    claim = claim_of("safe-01", inputs)
    assert claim["verdict"] == "contradicted" and "not certainly, for small" in claim["detail"]


@pytest.mark.parametrize(
    ("id", "change"),
    [
        ("safe-04", lambda m: m["injection"]["attack_success_rate_where_controls_pass"].update(after=None)),
        ("safe-05", lambda m: m["insecure_code"]["instruct"]["secure"].update(after=interval(0.0, 0.0, 85))),
        ("safe-07", lambda m: m["uplift"].update(oracle=interval(0.01, 0.02, 64))),
        ("safe-08", lambda m: m["red_team"].pop("tries")),
    ],
)
def test_attack_without_its_control_cannot_be_measured(
    tmp_path: Path, id: str, change: Callable[[dict[str, Any]], Any]
) -> None:
    inputs = example.write_run(tmp_path)
    assert verdict_of(id, inputs) == "shown"
    change_metrics(inputs, "flagship/safety", change)
    assert verdict_of(id, inputs) == "cannot be measured here"


def test_seeds_of_an_ablation_take_the_place_of_this_run(tmp_path: Path) -> None:
    inputs = example.write_run(tmp_path)
    path = tmp_path / "ablations" / "data-04.json"
    record = json.loads(path.read_text())
    record["effect"] |= {"value": 3.0, "low": 1.0, "high": 5.0, "n": 3}
    save_json(tmp_path / "ablations" / "post-01.json", record)
    claim = claim_of("post-01", inputs)
    assert (claim["verdict"], claim["generalises_over"], claim["n"]) == ("shown", "seeds", 3)
    assert claim["secondary"][0]["quantity"].startswith("this run: ") and "Not part of this run" in claim["detail"]


def test_prediction_and_measurement_are_both_uncertain(tmp_path: Path) -> None:
    claim = claim_of("scal-04", example.write_run(tmp_path))
    half = 100 * ((0.08 / 2.26) ** 2 + (0.08 / 2.24) ** 2) ** 0.5
    assert (claim["high"] - claim["low"]) / 2 == pytest.approx(half, rel=0.02)
    assert "power law through the minima" in claim["secondary"][0]["quantity"]


def test_claim_ids_are_unique_and_stable() -> None:
    assert [claim.id for claim in claims.CLAIMS] == sorted(example.VERDICTS, key=place_in_the_paper)


def place_in_the_paper(id: str) -> tuple[int, int]:
    chapter, number = id.split("-")
    return ("data", "arch", "scal", "infra", "train", "post", "safe").index(chapter), int(number)


def test_ledger_includes_every_claim_module() -> None:
    modules = {module.name for module in pkgutil.iter_modules(claims.__path__)}
    assert {family.__name__.rsplit(".")[-1] for family in claims.FAMILIES} == modules


def claim_of(id: str, inputs: dict[str, Path]) -> dict[str, Any]:
    return next(claim for claim in build_ledger(Evidence(inputs, 2)) if claim["id"] == id)


def verdict_of(id: str, inputs: dict[str, Path]) -> str:
    return str(claim_of(id, inputs)["verdict"])
