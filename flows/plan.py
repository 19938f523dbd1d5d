"""Plan pretraining on a cluster: FLOPs, memory, days, and the layouts that fit. No device is needed.

Exits with 1 if the planned layout cannot run or does not fit, and prints why.

Examples:
    herd plan --scale 405b
    herd plan --scale 405b --layout 8x1x16x128    # TP x CP x PP x DP, in every phase
    herd plan --scale toy --herd data/herd.json   # the sizes that a run has fitted
    herd plan --scale 405b --json -               # the whole plan as JSON
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flows import command
from flows.parameters import Parameters
from flows.project import ROOT
from stages.distributed.layout import DIMENSIONS
from stages.interface import StageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scale", help="a file of scales/ (default: the scale in params.yaml)")
    parser.add_argument("--herd", type=Path, metavar="PATH", help="fitted sizes of the herd (default: from the ladder)")
    parser.add_argument("--layout", metavar="TPxCPxPPxDP", help="check this layout instead of the scale's")
    parser.add_argument("--json", metavar="PATH", help="also write the plan as JSON; - prints only the JSON")


def main(options: argparse.Namespace) -> int:
    found = make_plan(options.scale, options.herd, options.layout)
    text = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
    if options.json == "-":
        sys.stdout.write(text)
    else:
        print("\n".join(format_plan(found)))
        if options.json:
            path = Path(options.json)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return 1 if found["problems"] else 0


def make_plan(scale: str | None = None, herd: Path | None = None, layout: str | None = None) -> dict[str, Any]:
    """The plan of a scale; default: the scale in params.yaml."""
    from stages.pretraining import plan as stage  # imports torch

    dimensions = None if layout is None else _dimensions(layout)
    return stage.make_plan(Parameters(ROOT, scale).load_config(stage.Config), herd, dimensions)


def _dimensions(text: str) -> dict[str, int]:
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*){3}", text):
        raise StageError(f"--layout {text}: expected TPxCPxPPxDP, for example 8x1x16x128")
    return dict(zip(DIMENSIONS, map(int, text.split("x")), strict=True))


def format_plan(found: Mapping[str, Any]) -> Iterator[str]:
    """The plan for a terminal."""
    from stages.infrastructure import plan_tables

    yield f"Plan of the flagship at scale {found['scale']}"
    yield from format_columns(found["table"])
    yield ""
    yield from format_columns(plan_tables.phase_table(found))
    if found["cluster"]["devices"] > 1:
        yield ""
        yield from format_columns(plan_tables.layout_table(found) or [{"best for": "no layout fits"}])
    for problem in found["problems"]:
        yield f"\ncannot run: {problem}"


def format_columns(rows: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """Rows of text in aligned columns, below the names of the columns."""
    names = list(rows[0])
    widths = [max(len(name), *(len(row[name]) for row in rows)) for name in names]
    for row in ({name: name for name in names}, *rows):
        yield "  ".join(row[name].ljust(width) for name, width in zip(names, widths, strict=True)).rstrip()


if __name__ == "__main__":
    command.execute(sys.modules[__name__])
