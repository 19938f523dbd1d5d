"""Records of the ablations (3.1, 3.2, 3.4), in the format of flows.record."""

from pathlib import Path

from tests.report.example.values import interval, save_json

ABLATIONS = {
    "data-04": (interval(0.03, 0.01, 5), "shown"),
    "data-05": (interval(0.01, 0.02, 5), "not shown at this scale"),
    "data-06": (interval(-0.1, 0.05, 5), "contradicted"),
    "data-08": (interval(0.9, 0.05, 3), "shown"),
    "data-09": (interval(4.0, 2.0, 5), "shown"),
    "data-10": (interval(1.0, 3.0, 5), "not shown at this scale"),
    "data-11": (interval(0.2, 0.1, 5), "shown"),
    "arch-02": (interval(0.2, 0.3, 5), "shown"),
    "arch-03": (interval(1.2, 0.5, 5), "shown"),
    "arch-04": (interval(1.4, 0.1, 5), "shown"),
    "arch-06": (interval(0.5, 1.5, 5), "not shown at this scale"),
    "scal-06": (interval(0.1, 0.02, 5), "shown"),
}
"""Claim -> effect with its interval over seeds, and the verdict that follows."""
VERDICTS = {id: verdict for id, (_, verdict) in ABLATIONS.items()}


def write_records(directory: Path) -> None:
    made = {"date": "2026-01-31", "scale": "toy", "commit": "0123456789abcdef", "configuration": "fedcba987654"}
    runs = [{"variant": variant, "seed": seed, "loss": 3.0} for seed in range(5) for variant in ("with", "without")]
    other = {"quantity": "loss, with minus without", "unit": "nats per token", **interval(0.01, 0.02, 5)}
    for id, (effect, _) in ABLATIONS.items():
        record = {
            "claim": id,
            "effect": {"quantity": "with minus without", "unit": "units"} | effect,
            "secondary": [other],
            "runs": runs,
            "configuration": {},
            "made": made,
        }
        save_json(directory / f"{id}.json", record)
