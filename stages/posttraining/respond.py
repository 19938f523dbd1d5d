"""Generates responses: chat models get the chat format, base models a few-shot prompt in the format of web pages."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from stages.interface import Section
from stages.model.files import context_length, is_chat, load_model
from stages.model.generate import SamplingParams, generate
from stages.model.llama import Llama
from stages.tasks.example import Example
from stages.tasks.held_out import few_shot_examples
from stages.tasks.pages import web_prompt
from stages.tokenizer import bpe
from stages.tokenizer.chat import ChatFormat, make_messages

NEXT_QUESTION = " Q:"
"""What follows an answer on a web page."""

NUM_FEW_SHOT = 3
"""Solved examples in a base model's prompt (paper 5.1: base models get few-shot prompts); fewer where the prompt would
leave the context no room for the answer."""
ANSWER_SHARE = 0.2
"""Share of the context that few-shot examples leave to the answer (assumption)."""


class Sampling(Section):
    """How responses are generated."""

    max_new_tokens: int = Field(gt=0)
    """Longest response, in tokens (assumption)."""
    batch: int = Field(gt=0)
    """Prompts per batch (assumption; fits the memory)."""


@dataclass
class Responder:
    """A model with its tokenizer and prompt format."""

    model: Llama
    chat: ChatFormat
    is_chat: bool
    context_length: int = 2048
    """Longest sequence that the model was trained on, in tokens."""

    @classmethod
    def load(cls, directory: Path) -> "Responder":
        """Loads the model in `directory`; its files say whether it is a chat model."""
        model, chat = load_model(directory).eval(), ChatFormat(bpe.load(directory))
        return cls(model, chat, is_chat(directory), context_length(directory))

    def tokenize_prompts(self, examples: Sequence[Example], seed: int) -> list[list[int]]:
        """The tokens of each example's prompt; `seed` chooses the few-shot examples of a base model."""
        if self.is_chat:
            return [self.chat.encode_prompt(make_messages(example.prompt)) for example in examples]
        few_shot = few_shot_examples(examples, seed, NUM_FEW_SHOT)
        return [self._tokenize_few_shot(example, shots) for example, shots in zip(examples, few_shot, strict=True)]

    def _tokenize_few_shot(self, example: Example, shots: Sequence[Example]) -> list[int]:
        """A prompt with as many of the solved examples as fit."""
        for count in range(len(shots), -1, -1):
            tokens = self.tokenize_plain(web_prompt(example, shots[:count]))
            if len(tokens) <= (1 - ANSWER_SHARE) * self.context_length:
                break
        return tokens

    def tokenize_plain(self, text: str) -> list[int]:
        """The tokens of a prompt in plain text, without the chat format."""
        return [self.chat.begin_of_text, *self.chat.encode_text(text)]

    def respond(
        self,
        examples: Sequence[Example],
        sampling: Sampling,
        *,
        temperature: float = 0.0,
        num_return_sequences: int = 1,
        seed: int = 0,
    ) -> list[list[str]]:
        """Generates `num_return_sequences` responses to each example, in order."""
        n = num_return_sequences
        prompts = [tokens for tokens in self.tokenize_prompts(examples, seed) for _ in range(n)]
        texts = self.complete(prompts, sampling, temperature=temperature, seed=seed)
        return [texts[first : first + n] for first in range(0, len(texts), n)]

    def complete(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        *,
        temperature: float = 0.0,
        seed: int = 0,
        stop: Sequence[int] | None = None,
    ) -> list[str]:
        """Generates the completion of each tokenized prompt; `stop` replaces the default stop tokens.

        A base model's completion is cut where the next question begins.
        """
        params = SamplingParams(
            sampling.max_new_tokens,
            stop_token_ids=stop or self.stop_tokens(),
            stop_sequence=() if self.is_chat else self.chat.encode_text(NEXT_QUESTION),
            temperature=temperature,
            seed=seed,
        )
        completions = generate(self.model, prompts, params, sampling.batch)
        texts = [self.chat.decode(tokens) for tokens in completions]
        if not self.is_chat:
            texts = [text.split(NEXT_QUESTION)[0].removesuffix(NEXT_QUESTION.strip()).strip() for text in texts]
        return texts

    def stop_tokens(self) -> list[int]:
        """The end of a turn; for a base model also every token with a line break."""
        return list(self.chat.stop_token_ids) if self.is_chat else [*self.chat.stop_token_ids, *self.newline_tokens()]

    def newline_tokens(self) -> list[int]:
        """Every token whose text contains a line break."""
        vocabulary = range(self.chat.tokenizer.get_vocab_size())
        return [token for token in vocabulary if "\n" in self.chat.tokenizer.decode([token])]


def flatten(examples: Sequence[Example], responses: Sequence[Sequence[str]]) -> tuple[list[Example], list[str]]:
    """One (example, response) for each of the responses that `Responder.respond` returned."""
    pairs = [(example, text) for example, texts in zip(examples, responses, strict=True) for text in texts]
    return [example for example, _ in pairs], [text for _, text in pairs]
