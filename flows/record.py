"""Keeps what an ablation found as a record in ablations/results, where the ledger reads it; ends each command of
ablations/dvc.yaml.

    python -m flows.record ablations/runs/arch-02.json

A run's own file holds no date, so that the same run gives the same bytes; the record adds when it was made, at which
scale and commit, and a digest of its configuration. Records are committed: an ablation is no part of the default run.
"""

import argparse
import datetime
import hashlib
import json
from pathlib import Path
from typing import Any

from flows import project
from flows.execution import artifact
from flows.execution.artifact import canonical_json
from flows.parameters import Parameters
from flows.tracking import events

RESULTS = project.ROOT / "ablations" / "results"


def record(run: Path, results: Path, scale: str, date: str, commit: str | None) -> Path:
    """Writes the record of a run, named after its claim; returns its path."""
    found: dict[str, Any] = json.loads(run.read_text(encoding="utf-8"))
    configuration = hashlib.sha256(canonical_json(found["configuration"]).encode()).hexdigest()[:12]
    made = {"scale": scale, "date": date, "commit": commit, "configuration": configuration}
    path = results / run.name
    artifact.write_json(path, found | {"claim": run.stem, "made": made})
    return path


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m flows.record", description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path, help="the metrics of an ablation's stage; its name is the claim's")
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    path = record(parser.parse_args().run, RESULTS, Parameters(project.ROOT).scale, today, events.commit())
    print(f"recorded in {path.relative_to(project.ROOT)}")


if __name__ == "__main__":
    main()
