from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from stages.interface import StageError
from stages.safety import study

HEADER = "participant,arm,skill,stage,score\n"


def simulate(effect: float, seed: int, people: int = 31, within: bool = False) -> list[study.StudyRecord]:
    """A study with a known effect: two stages, two skills, spread 1 between people and 0.5 between stages."""
    generator = np.random.default_rng(seed)
    talent = generator.normal(size=2 * people)
    rows: list[study.StudyRecord] = []
    for place, arm in enumerate(study.ARMS):
        for number in range(people):
            who = number if within else place * people + number
            for stage in ("recon", "exploit"):
                score = talent[who] + effect * place + generator.normal(scale=0.5)
                rows.append(
                    {
                        "participant": f"p{who}",
                        "arm": arm,
                        "skill": ("novice", "expert")[number % 2],
                        "stage": stage,
                        "score": score,
                    }
                )
    return rows


@pytest.fixture
def fewer_permutations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "PERMUTATIONS", 400)


@pytest.mark.usefixtures("fewer_permutations")
@pytest.mark.parametrize("within", [False, True])
def test_estimate_is_unbiased_and_its_interval_covers(within: bool) -> None:
    found = [study.estimate_effect(simulate(0.4, seed, within=within), seed)["difference"] for seed in range(100)]
    assert abs(np.mean([one["value"] for one in found]) - 0.4) < 0.09
    assert sum(one["low"] <= 0.4 <= one["high"] for one in found) >= 90


@pytest.mark.usefixtures("fewer_permutations")
@pytest.mark.parametrize("within", [False, True])
def test_p_value_is_uniform_without_an_effect(within: bool) -> None:
    values = [study.estimate_effect(simulate(0.0, seed, within=within), seed)["p_value"] for seed in range(200)]
    assert stats.kstest(values, "uniform").pvalue > 0.01


@pytest.mark.usefixtures("fewer_permutations")
def test_minimum_detectable_effect_is_detected_with_its_power() -> None:
    size = np.mean(
        [study.estimate_effect(simulate(0.0, seed), seed)["minimum_detectable_effect"] for seed in range(50)]
    )
    detected = [
        study.estimate_effect(simulate(float(size), seed), seed)["difference"]["low"] > 0 for seed in range(200)
    ]
    assert 0.72 <= np.mean(detected) <= 0.88


def test_agrees_with_scipy_and_splits_by_skill_and_stage() -> None:
    rows = simulate(0.4, 3)
    result = study.analyse(rows, 1)
    scores: dict[str, dict[str, list[float]]] = {arm: {} for arm in study.ARMS}
    for row in rows:
        scores[row["arm"]].setdefault(row["participant"], []).append(row["score"])
    people = {arm: [np.mean(of) for of in found.values()] for arm, found in scores.items()}
    reference = stats.ttest_ind(people["assisted"], people["control"], equal_var=False)
    interval = reference.confidence_interval()
    assert result["p_value"] == pytest.approx(reference.pvalue, abs=0.015)
    assert result["difference"]["low"] == pytest.approx(interval.low)
    assert result["difference"]["high"] == pytest.approx(interval.high)
    assert result["design"] == "between" and result["participants"] == {"control": 31, "assisted": 31}
    assert result["by_skill"].keys() == {"novice", "expert"} and result["by_stage"].keys() == {"recon", "exploit"}
    assert study.analyse(rows, 1) == result


def test_constant_scores_raise_no_error() -> None:
    rows = [{**row, "score": 1.0} for row in simulate(0.0, 1, people=4)]
    result = study.estimate_effect(rows, 1)
    assert result["difference"] == {"value": 0.0, "low": 0.0, "high": 0.0, "n": 8} and result["p_value"] == 1.0


def test_study_is_read_from_csv(tmp_path: Path) -> None:
    path = tmp_path / "study.csv"
    rows = simulate(0.5, 1)
    path.write_text(HEADER + "".join(",".join(str(row[column]) for column in study.COLUMNS) + "\n" for row in rows))
    assert study.analyse(study.read_study(path), 1) == study.analyse(rows, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("participant,arm,skill,score\n", "column stage missing"),
        (HEADER + "a,control,low,one,0.5\nb,control,low,one,good\n", "line 3: score 'good' is not a number"),
        (HEADER + "a,control,low,one,nan\n", "line 2"),
        (HEADER + "a,placebo,low,one,1\n", "arm 'placebo' is unknown"),
        (HEADER + "a,control,low,one,1\nb,assisted,low,one,1\n", "at least two participants"),
        (HEADER + "a,control,x,s,1\nb,control,x,s,1\na,assisted,x,s,1\nc,assisted,x,s,1\n", "some in both"),
    ],
)
def test_invalid_studies_are_refused_with_a_reason(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "study.csv"
    path.write_text(text)
    with pytest.raises(StageError, match=message):
        study.analyse(study.read_study(path), 1)
