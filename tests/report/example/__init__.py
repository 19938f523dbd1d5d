"""A small run's results as other stages write them, with numbers chosen so that the verdicts are known."""

from pathlib import Path

from stages.report.evidence import MEMBERS
from tests.report.example import ablations, curation, paper, posttraining, pretraining, safety, scaling
from tests.report.example.values import save_json

CHAPTERS = (curation, scaling, pretraining, posttraining, safety, paper, ablations)
NOT_RUN = (
    *("post-04", "post-05", "post-06", "post-08", "post-09", "post-10", "post-11", "post-12", "post-13", "post-14"),
    *("safe-03", "safe-09", "safe-10"),
)
"""Claims without a measurement in the default run and without a committed ablation."""
VERDICTS: dict[str, str] = {id: verdict for chapter in CHAPTERS for id, verdict in chapter.VERDICTS.items()}
VERDICTS |= dict.fromkeys(NOT_RUN, "not run")
"""Claim -> verdict that follows from the numbers."""


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
