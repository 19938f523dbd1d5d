"""Analyses uplift studies (5.4.5): does an assistant help people with what they could not do alone?

Takes the records of a study with people or with models (`stages.safety.uplift`); run on a CSV file it prints JSON:

    python -m stages.safety.study study.csv     # columns: participant, arm, skill, stage, score
"""

import csv
import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from stages.interface import StageError

ARMS = ("control", "assisted")
COLUMNS = ("participant", "arm", "skill", "stage", "score")
POWER = 0.8
PERMUTATIONS = 10_000

StudyRecord = Mapping[str, Any]
"""participant, arm, skill, stage, score: one participant's score in one stage of the scenario."""


def analyse(records: Iterable[StudyRecord], seed: int) -> dict[str, Any]:
    """The effect of assistance, overall, by skill and by stage.

    A participant's outcome is the mean score over stages. If every participant is in one arm, the arms are compared by
    Welch's t and a permutation of the arms; if everyone is in both, by paired differences and sign flips.
    Raises StageError for an arm of fewer than two participants, a mixed design or an unknown arm.
    """
    records = list(records)
    groups = {
        f"by_{column}": {
            value: estimate_effect([record for record in records if record[column] == value], seed)
            for value in sorted({record[column] for record in records})
        }
        for column in ("skill", "stage")
    }
    return {**estimate_effect(records, seed), **groups}


def estimate_effect(records: Sequence[StudyRecord], seed: int) -> dict[str, Any]:
    """difference (assisted - control) with its 95% interval, p_value by permutation, and minimum_detectable_effect: the
    smallest true effect that a study of this size and spread would find significant with 80% power."""
    scores: dict[str, dict[str, list[float]]] = {arm: {} for arm in ARMS}
    for record in records:
        arm = record["arm"]
        if arm not in scores:
            raise StageError(f"uplift study: arm {arm!r} is unknown; it must be one of {', '.join(ARMS)}")
        scores[arm].setdefault(record["participant"], []).append(float(record["score"]))
    outcomes = {arm: {who: float(np.mean(of)) for who, of in sorted(people.items())} for arm, people in scores.items()}
    control, assisted = (np.array(list(outcomes[arm].values())) for arm in ARMS)
    if min(len(control), len(assisted)) < 2:
        raise StageError("uplift study: each arm needs at least two participants, also within each skill and stage")
    generator = np.random.default_rng(seed)
    in_both = outcomes["control"].keys() & outcomes["assisted"].keys()
    if in_both and (len(in_both) != len(control) or len(in_both) != len(assisted)):
        raise StageError("uplift study: some participants are in one arm, some in both; let all be in one or in both")
    degrees_of_freedom: float
    if in_both:
        differences = assisted - control
        value, degrees_of_freedom = float(differences.mean()), len(differences) - 1
        error = float(differences.std(ddof=1)) / math.sqrt(len(differences))
        null = (generator.choice([-1.0, 1.0], (PERMUTATIONS, len(differences))) * differences).mean(1)
    else:
        value = float(assisted.mean() - control.mean())
        error, degrees_of_freedom = welch(control, assisted)
        pooled = np.tile(np.concatenate([control, assisted]), (PERMUTATIONS, 1))
        shuffled = generator.permuted(pooled, axis=1)
        null = shuffled[:, len(control) :].mean(1) - shuffled[:, : len(control)].mean(1)
    critical = float(stats.t.ppf(0.975, degrees_of_freedom))
    return {
        "design": "within" if in_both else "between",
        "participants": {"control": len(control), "assisted": len(assisted)},
        "mean": {"control": float(control.mean()), "assisted": float(assisted.mean())},
        "difference": {
            "value": value,
            "low": value - critical * error,
            "high": value + critical * error,
            "n": len(in_both) or len(control) + len(assisted),
        },
        "p_value": float(((np.abs(null) >= abs(value) - 1e-12).sum() + 1) / (PERMUTATIONS + 1)),
        "minimum_detectable_effect": (critical + float(stats.t.ppf(POWER, degrees_of_freedom))) * error,
    }


def welch(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Standard error of the difference of two means, and Welch's degrees of freedom."""
    variances = [float(x.var(ddof=1)) / len(x) for x in (a, b)]
    error = math.sqrt(sum(variances))
    if error == 0.0:
        return 0.0, float(len(a) + len(b) - 2)
    return error, sum(variances) ** 2 / sum(v**2 / (len(x) - 1) for v, x in zip(variances, (a, b), strict=True))


def read_study(path: Path) -> list[StudyRecord]:
    """Reads the records of a study's CSV file; StageError for a missing column or a score that is no number."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
        if missing:
            raise StageError(f"{path}: column {', '.join(missing)} missing; a study has {', '.join(COLUMNS)}")
        records: list[StudyRecord] = []
        for record in reader:
            try:
                score = float(record["score"])
            except (TypeError, ValueError):
                score = math.nan
            if not math.isfinite(score):
                raise StageError(f"{path}, line {reader.line_num}: score {record['score']!r} is not a number")
            records.append({column: record[column] for column in COLUMNS} | {"score": score})
    return records


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m stages.safety.study STUDY.csv")
    try:
        print(json.dumps(analyse(read_study(Path(sys.argv[1])), seed=0), indent=1))
    except (StageError, OSError) as error:
        sys.exit(str(error))
