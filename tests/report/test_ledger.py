"""The claims ledger of a run with known verdicts."""

import json
import pkgutil
from pathlib import Path

import pytest

from stages.report import claims
from stages.report.evidence import Evidence
from stages.report.ledger import build_ledger
from tests.report import example
from tests.report.example.values import interval


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


def test_claim_ids_are_unique_and_stable() -> None:
    assert [claim.id for claim in claims.CLAIMS] == list(example.VERDICTS)


def test_ledger_includes_every_claim_module() -> None:
    modules = {module.name for module in pkgutil.iter_modules(claims.__path__)}
    assert {family.__name__.rsplit(".")[-1] for family in claims.FAMILIES} == modules


def verdict_of(name: str, inputs: dict[str, Path]) -> str:
    return next(claim["verdict"] for claim in build_ledger(Evidence(inputs, 2)) if claim["id"] == name)
