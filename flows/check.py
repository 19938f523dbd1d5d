"""Checks params.yaml and the scale's file against what the stages declare; the first stage of the DAG.

python -m flows.check
"""

import sys

from flows import scale
from flows.parameters import validate
from flows.project import ROOT
from stages.interface import StageError

VALID = ROOT / "data" / "parameters.ok"


def main() -> None:
    try:
        scale.check(validate(ROOT))
    except StageError as error:
        sys.exit(f"check: {error}")
    VALID.parent.mkdir(exist_ok=True)
    # Always the same bytes: what depends on it waits for the check but does not become stale by it.
    VALID.write_text("parameters are valid\n")


if __name__ == "__main__":
    main()
