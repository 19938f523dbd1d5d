"""The chat format (4.1.1): a header with the role, the message, a token that ends the turn.

Each message begins with a space, as in Llama 2's format: on web pages nearly every word follows one, so an answer has
the tokens that a base model knows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tokenizers import Tokenizer

Role = Literal["system", "user", "assistant", "ipython"]

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message['role'] }}<|end_header_id|>\n\n"
    " {{ message['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)


@dataclass(frozen=True)
class Message:
    role: Role
    content: str


class ChatFormat:
    """Encodes dialogs, to the same tokens as the template in tokenizer_config.json, and decodes responses."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        special = {token.content: token_id for token_id, token in tokenizer.get_added_tokens_decoder().items()}
        self.begin_of_text, self.end_of_text = special["<|begin_of_text|>"], special["<|end_of_text|>"]
        self.end_of_turn, self.pad = special["<|eot_id|>"], special["<|finetune_right_pad_id|>"]
        self._start, self._end = special["<|start_header_id|>"], special["<|end_header_id|>"]
        self.stop_token_ids = (self.end_of_turn, self.end_of_text)
        self._newlines = self.encode_text("\n\n")

    def encode_text(self, text: str) -> list[int]:
        """Plain text to tokens; a special token's name in `text` is encoded as text."""
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def encode_header(self, role: Role) -> list[int]:
        return [self._start, *self.encode_text(role), self._end, *self._newlines]

    def encode_message(self, text: str) -> list[int]:
        return self.encode_text(f" {text.strip()}")

    def encode_prompt(self, messages: Sequence[Message], answer_as: Role = "assistant") -> list[int]:
        """The dialog so far, and the header of the model's turn."""
        tokens = [self.begin_of_text]
        for message in messages:
            tokens += [*self.encode_header(message.role), *self.encode_message(message.content), self.end_of_turn]
        return tokens + self.encode_header(answer_as)

    def encode_response(self, text: str) -> list[int]:
        """A response to a prompt: the text and the token that ends the turn."""
        return [*self.encode_message(text), self.end_of_turn]

    def decode(self, tokens: Sequence[int]) -> str:
        return self.tokenizer.decode(list(tokens), skip_special_tokens=True).strip()


def make_messages(prompt: str, system: str | None = None) -> list[Message]:
    """A dialog of one user message, after an optional system message."""
    return [*([Message("system", system)] if system else []), Message("user", prompt)]
