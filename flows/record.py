"""Keep the result of an ablation as a record in ablations/results; ends each command of ablations/dvc.yaml.

Examples:
    herd record ablations/runs/arch-02.json

The file of a run has no date, so the same run gives the same bytes. The record adds the run's date, scale and commit
and a hash of its configuration. Records are committed: no ablation is part of the default DAG.
"""

import argparse
import datetime
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from flows import command, project
from flows.execution import artifact
from flows.execution.artifact import canonical_json
from flows.parameters import Parameters
from flows.tracking import events

RESULTS = project.ROOT / "ablations" / "results"


def write_record(run: Path, results: Path, scale: str, date: str, commit: str | None) -> Path:
    """Writes the record of a run, named after its claim; returns its path."""
    metrics: dict[str, Any] = json.loads(run.read_text(encoding="utf-8"))
    configuration = hashlib.sha256(canonical_json(metrics["configuration"]).encode()).hexdigest()[:12]
    origin = {"scale": scale, "date": date, "commit": commit, "configuration": configuration}
    path = results / run.name
    artifact.write_json(path, metrics | {"claim": run.stem, "made": origin})
    return path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, help="the metrics of an ablation's stage, named after the claim")


def main(options: argparse.Namespace) -> None:
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    path = write_record(options.run, RESULTS, Parameters(project.ROOT).scale, today, events.git_commit())
    print(f"recorded in {path.relative_to(project.ROOT)}")


if __name__ == "__main__":
    command.execute(sys.modules[__name__])
