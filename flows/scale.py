"""Choose the scale: write it, and its number of post-training rounds, into params.yaml.

Examples:
    herd scale smoke

DVC expands the rounds into stages, and cannot take their number from a file that the scale names; so they stand in
params.yaml. `check` refuses a params.yaml whose rounds are not those of its scale.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from flows import command
from flows.parameters import ParameterError, Parameters
from flows.project import ROOT


def rounds(count: int) -> dict[str, dict[str, str]]:
    """The rounds of post-training (4): which policy each starts from, and whose preference data it adds to."""
    first = {"1": {"policy": "models/flagship/base", "earlier": "data/prompts"}}
    later = {
        str(number): {
            "policy": f"models/flagship/round-{number - 1}/dpo",
            "earlier": f"data/round-{number - 1}/preferences",
        }
        for number in range(2, count + 1)
    }
    return first | later


def check(parameters: Parameters) -> None:
    """Raises ParameterError unless the rounds in params.yaml are as many as the scale wants."""
    count = _rounds_wanted(parameters.resolved, parameters.scale_file)
    wanted = {"rounds": rounds(count), "last_round": str(count)}
    for key, value in wanted.items():
        if parameters.resolved.get(key) != value:
            raise ParameterError(
                f"params.yaml: {key}: does not fit {parameters.scale_file}, where posttraining.rounds is {count}; "
                f"run `python -m flows.scale {parameters.scale}`"
            )


def choose(root: Path, scale: str) -> bool:
    """Writes `scale` and its rounds into params.yaml, and nothing else; says whether that changed anything."""
    path = root / "params.yaml"
    file = root / "scales" / f"{scale}.yaml"
    if not file.exists():
        known = ", ".join(sorted(path.stem for path in file.parent.glob("*.yaml")))
        raise ParameterError(f"{scale!r} is not a scale; there are {known}")
    count = _rounds_wanted(yaml.safe_load(file.read_text(encoding="utf-8")), f"scales/{scale}.yaml")
    wanted = {"scale": scale, "rounds": rounds(count), "last_round": str(count)}
    old = text = path.read_text(encoding="utf-8")
    for key, value in wanted.items():
        if (yaml.safe_load(text) or {}).get(key) != value:
            text = _replace(text, key, value)
    if text != old:
        path.write_text(text, encoding="utf-8")
    return text != old


def _rounds_wanted(tree: dict[str, Any], where: str) -> int:
    count = (tree.get("posttraining") or {}).get("rounds")
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise ParameterError(f"{where}: posttraining.rounds: expected a whole number of at least 1 (got {count!r})")
    return count


def _replace(text: str, key: str, value: Any) -> str:
    """`text` with another value of a top-level key. Only the value's own characters change: a YAML library that writes
    the whole file anew would also move comments and line breaks."""
    document = yaml.compose(text, yaml.SafeLoader)
    pairs = document.value if isinstance(document, yaml.MappingNode) else []
    node = next((node for name, node in pairs if name.value == key), None)
    if node is None:
        raise ParameterError(f"params.yaml: {key}: is missing")
    start, end = node.start_mark.index, _end(node)
    if isinstance(node, yaml.MappingNode) and not node.flow_style:
        start -= node.start_mark.column
    elif isinstance(value, dict):
        return text[:start] + "\n" + "\n".join(_lines(value)) + text[end:]
    return text[:start] + ("\n".join(_lines(value)) if isinstance(value, dict) else _scalar(value)) + text[end:]


def _end(node: yaml.Node) -> int:
    """Where the characters of a node end; a block's own mark stands after the comments that follow it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return node.end_mark.index


def _lines(rounds: dict[str, dict[str, str]]) -> Iterator[str]:
    for number, entry in rounds.items():
        yield f'  "{number}": {{{", ".join(f"{key}: {value}" for key, value in entry.items())}}}'


def _scalar(value: str) -> str:
    """A string that stays one: "2" needs its quotes, smoke does not."""
    return value if isinstance(yaml.safe_load(value), str) else f'"{value}"'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("scale", help="a file of scales/, for example smoke")


def main(options: argparse.Namespace) -> None:
    changed = choose(ROOT, options.scale)
    print(f"scale: {options.scale}{'' if changed else ' (unchanged)'}")


if __name__ == "__main__":
    command.execute(sys.modules[__name__])
