"""Asking models whole dialogs, and the record of what they said."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa

from stages import statistics
from stages.posttraining.respond import Responder, Sampling
from stages.tokenizer.chat import Message

Dialog = Sequence[Message]
Responders = Mapping[str, Responder]
"""The models under test by name, "before" and "after" safety tuning."""
Interval = dict[str, float]


@dataclass(frozen=True)
class Record:
    """One answer and what was found in it, for a person to read."""

    test: str
    model: str
    case: str
    """The hazard, strategy, weakness or arm it belongs to."""
    prompt: str
    response: str
    verdict: str
    """What the test's detector called it, in one or two words."""
    score: float
    """1.0 where the tested failure happened, else 0.0; graded where the test says so."""


def table(records: Sequence[Record]) -> pa.Table:
    """The records as columns, in their order."""
    kinds = {"score": pa.float64()}
    schema = pa.schema([(field.name, kinds.get(field.name, pa.string())) for field in fields(Record)])
    return pa.Table.from_pylist([asdict(record) for record in records], schema)


def reply(
    responder: Responder, dialogs: Sequence[Dialog], sampling: Sampling, *, temperature: float = 0.0, seed: int = 0
) -> list[str]:
    """The model's next message in each dialog; a base model sees the turns as the web writes them, "Q: ... A: ..."."""
    chat = responder.chat
    if responder.is_chat:
        prompts = [chat.encode_prompt(dialog) for dialog in dialogs]
    else:
        prompts = [[chat.begin_of_text, *chat.encode_text(as_web(dialog))] for dialog in dialogs]
    return responder.complete(prompts, sampling, temperature=temperature, seed=seed)


def as_web(dialog: Dialog) -> str:
    """A dialog as one line of questions and answers that ends where the next answer begins."""
    marks = {"system": "", "user": "Q: ", "assistant": "A: ", "ipython": ""}
    return " ".join([*(f"{marks[message.role]}{message.content}" for message in dialog), "A:"])


def one_line(dialog: Dialog) -> str:
    """A dialog for a table cell: a single message as it is, several with their speakers."""
    if len(dialog) == 1:
        return dialog[0].content
    return " / ".join(f"{message.role}: {message.content}" for message in dialog)


def rate(hits: Sequence[bool]) -> Interval | None:
    """The share of hits with its interval; None where nothing was asked."""
    return statistics.proportion(sum(hits), len(hits)) if hits else None


def change(before: Sequence[float], after: Sequence[float]) -> Interval:
    """The mean of after - before on the same prompts, with the interval of the paired differences."""
    return statistics.mean(np.asarray(after, dtype=np.float64) - np.asarray(before, dtype=np.float64))


def compare(hits: Mapping[str, Sequence[bool]]) -> dict[str, Any]:
    """The rate of each model, and the change from "before" to "after"."""
    return {**{name: rate(found) for name, found in hits.items()}, "change": change(hits["before"], hits["after"])}


def by_group(hits: Mapping[str, Sequence[bool]], groups: Sequence[str]) -> dict[str, Any]:
    """`compare` within each group, groups sorted."""
    return {
        group: compare(
            {name: [hit for hit, of in zip(found, groups, strict=True) if of == group] for name, found in hits.items()}
        )
        for group in sorted(set(groups))
    }
