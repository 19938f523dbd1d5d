"""Choose the scale: write it, and its number of post-training rounds, into params.yaml.

Examples:
    herd scale smoke

dvc.yaml expands `rounds` into stages. DVC cannot read their number from the scale's file, so this command writes them
into params.yaml, and `check` refuses rounds that are not those of the scale.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml

from flows import command
from flows.parameters import ParameterError, Parameters
from flows.parameters.edit import apply, parse, set_entry
from flows.project import ROOT


def build_rounds(num_rounds: int) -> dict[str, Any]:
    """The rounds of post-training (4): the last, and for each its start policy and the preferences it adds to."""
    inputs = {"1": {"policy": "models/flagship/base", "earlier": "data/prompts"}}
    for number in range(2, num_rounds + 1):
        policy, earlier = f"models/flagship/round-{number - 1}/dpo", f"data/round-{number - 1}/preferences"
        inputs[str(number)] = {"policy": policy, "earlier": earlier}
    return {"last": num_rounds, "inputs": inputs}


def check_rounds(parameters: Parameters) -> None:
    """Raises ParameterError unless the rounds in params.yaml are those of the scale."""
    if parameters.resolved.get("rounds") != _rounds_of(parameters):
        raise ParameterError(
            f"params.yaml: rounds: not those of scale {parameters.scale}; run `herd scale {parameters.scale}`"
        )


def set_scale(root: Path, scale: str) -> bool:
    """Writes `scale` and its rounds into params.yaml, and nothing else; returns whether that changed anything."""
    wanted = {"scale": scale, "rounds": _rounds_of(Parameters(root, scale))}
    path = root / "params.yaml"
    text = path.read_text(encoding="utf-8")
    current, document = yaml.safe_load(text), parse(text)
    last = document.value[-1][1]
    edits = [
        set_entry(document, key, _format_entry(key, value), after=last)
        for key, value in wanted.items()
        if current.get(key) != value
    ]
    if edits:
        path.write_text(apply(text, edits), encoding="utf-8")
    return bool(edits)


def _rounds_of(parameters: Parameters) -> dict[str, Any]:
    num_rounds = (parameters.resolved.get("posttraining") or {}).get("rounds")
    if not isinstance(num_rounds, int) or isinstance(num_rounds, bool) or num_rounds < 1:
        key = "posttraining.rounds"
        raise ParameterError(
            f"{parameters.file_of(key)}: {key}: expected an integer of at least 1 (got {num_rounds!r})"
        )
    return build_rounds(num_rounds)


def _format_entry(key: str, value: Any) -> str:
    if not isinstance(value, dict):
        return f"{key}: {value}"
    inputs = (
        f'\n    "{number}": {{policy: {of["policy"]}, earlier: {of["earlier"]}}}'
        for number, of in value["inputs"].items()
    )
    return f"{key}:\n  last: {value['last']}\n  inputs:{''.join(inputs)}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("scale", help="a file of scales/, for example smoke")


def main(options: argparse.Namespace) -> None:
    changed = set_scale(ROOT, options.scale)
    print(f"scale: {options.scale}{'' if changed else ' (unchanged)'}")


if __name__ == "__main__":
    command.execute(sys.modules[__name__])
