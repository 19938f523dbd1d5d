"""Sends dialogs to a model, and records its replies for people to read."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields

import pyarrow as pa

from stages.posttraining.respond import Responder, Sampling
from stages.tokenizer.chat import Message, make_messages

Dialog = Sequence[Message]
Responders = Mapping[str, Responder]
"""The models under test by name, "before" and "after" safety tuning."""


@dataclass(frozen=True)
class Transcript:
    """One prompt, the model's response and the judge's verdict on it."""

    test: str
    model: str
    case: str
    """The hazard, strategy, weakness or arm it belongs to."""
    cluster: str
    """The prompt's problem without its phrasing; the participant of a study."""
    prompt: str
    response: str
    verdict: str
    """The judge's verdict in one or two words."""
    score: float
    """1.0 if the tested failure happened, else 0.0; graded in the tests that say so."""


def to_table(transcripts: Sequence[Transcript]) -> pa.Table:
    """A table with a row per transcript, in order."""
    types = {"score": pa.float64()}
    schema = pa.schema([(field.name, types.get(field.name, pa.string())) for field in fields(Transcript)])
    return pa.Table.from_pylist([asdict(transcript) for transcript in transcripts], schema)


def reply(
    responder: Responder, dialogs: Sequence[Dialog], sampling: Sampling, *, temperature: float = 0.0, seed: int = 0
) -> list[str]:
    """Generates the model's next message in each dialog; a base model gets the dialog in plain text."""
    if responder.is_chat:
        prompts = [responder.chat.encode_prompt(dialog) for dialog in dialogs]
    else:
        prompts = [responder.tokenize_plain(format_plain(dialog)) for dialog in dialogs]
    return responder.complete(prompts, sampling, temperature=temperature, seed=seed)


def reply_to_prompts(responder: Responder, prompts: Sequence[str], sampling: Sampling) -> list[str]:
    """Generates the most likely reply to each prompt."""
    return reply(responder, [make_messages(prompt) for prompt in prompts], sampling)


def format_plain(dialog: Dialog) -> str:
    """A dialog as web pages write it, on one line: "Q: ... A: ...", up to where the next answer begins."""
    prefixes = {"system": "", "user": "Q: ", "assistant": "A: ", "ipython": ""}
    return " ".join([*(f"{prefixes[message.role]}{message.content}" for message in dialog), "A:"])


def format_dialog(dialog: Dialog) -> str:
    """A dialog for a table cell: the text of a single message, or several messages with their roles."""
    if len(dialog) == 1:
        return dialog[0].content
    return " / ".join(f"{message.role}: {message.content}" for message in dialog)
