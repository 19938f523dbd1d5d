"""Replaces entries of a YAML file and nothing else: comments and layout stay as they are.

A YAML library that writes the whole file would also move comments and line breaks.
"""

from collections.abc import Iterable

import yaml

Edit = tuple[int, int, str]
"""(start, end, text): the characters of a file from start up to end, and what replaces them."""


def parse(text: str) -> yaml.MappingNode:
    """The nodes of a file that holds a mapping; each knows its place in the text."""
    node = yaml.compose(text, yaml.SafeLoader)
    assert isinstance(node, yaml.MappingNode)
    return node


def entry(mapping: yaml.Node, key: str) -> yaml.Node | None:
    """The value of `key` in a mapping."""
    pairs = mapping.value if isinstance(mapping, yaml.MappingNode) else []
    return next((value for name, value in pairs if name.value == key), None)


def set_entry(mapping: yaml.Node, key: str, text: str, after: yaml.Node) -> Edit:
    """The edit that replaces an entry, key and value, with `text`, or adds it on a line after the value `after`."""
    value = entry(mapping, key)
    if value is None:
        return end_of(after), end_of(after), f"\n{' ' * mapping.start_mark.column}{text}"
    name = next(name for name, _ in mapping.value if name.value == key)
    return name.start_mark.index, end_of(value), text


def end_of(node: yaml.Node) -> int:
    """Where the characters of a node end; the end mark of a block comes after the comments that follow it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return end_of(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def apply(text: str, edits: Iterable[Edit]) -> str:
    """`text` after all edits."""
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text
