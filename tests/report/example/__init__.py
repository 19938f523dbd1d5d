"""A small run's results as other stages write them, with numbers chosen so that the verdicts are known."""

from pathlib import Path

from stages.report.evidence import MEMBERS
from tests.report.example import ablations, curation, paper, posttraining, pretraining, safety, scaling
from tests.report.example.values import save_json

CHAPTERS = (curation, scaling, pretraining, posttraining, safety, paper, ablations)
VERDICTS: dict[str, str] = {id: verdict for chapter in CHAPTERS for id, verdict in chapter.VERDICTS.items()}
"""Claim -> verdict that follows from the numbers, in the ledger's order."""


def write_run(root: Path) -> dict[str, Path]:
    """Writes the files under `root`; returns the report's inputs."""
    metrics, curves, data = root / "metrics", root / "curves", root / "data"
    written = curation.metrics() | scaling.metrics() | pretraining.metrics() | posttraining.metrics(data / "answers")
    for name, value in (written | safety.metrics() | paper.metrics()).items():
        save_json(metrics / f"{name}.json", value)
    save_json(data / "herd.json", scaling.herd())
    pretraining.write_curves(curves)
    safety.write_answers(data / "safety")
    safety.write_contamination(data / "contamination")
    ablations.write_records(root / "ablations")
    return {
        "metrics": metrics,
        "curves": curves,
        "herd": data / "herd.json",
        "answers": data / "answers" / "last",
        "answers-1": data / "answers" / "round-1",
        "answers-2": data / "answers" / "round-2",
        **{f"safety-{member}": data / "safety" / member for member in MEMBERS},
        "contamination": data / "contamination",
        "ablations": root / "ablations",
    }
