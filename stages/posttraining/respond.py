"""What models answer: chat models in the chat format, base models after a few worked examples in the web's format."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from stages.interface import Section
from stages.model.files import is_chat, load_model
from stages.model.generate import generate
from stages.model.llama import Llama
from stages.tasks.example import Example
from stages.tasks.held_out import few_shot_examples
from stages.tasks.pages import web_prompt
from stages.tokenizer import bpe
from stages.tokenizer.chat import ChatFormat, ask

NEXT_QUESTION = " Q:"
"""What follows an answer on web pages."""

SHOTS = 3
"""Worked examples a base model is shown (paper 5.1 gives base models few-shot prompts)."""


class Sampling(Section):
    """How answers are drawn."""

    max_new_tokens: int = Field(gt=0)
    """Longest answer, in tokens (assumption)."""
    batch: int = Field(gt=0)
    """Prompts answered together (assumption; fits the memory)."""


@dataclass
class Responder:
    """A model with its tokenizer, ready to answer."""

    model: Llama
    chat: ChatFormat
    is_chat: bool

    @classmethod
    def load(cls, directory: Path) -> "Responder":
        """The model in `directory`; chat or base as `is_chat` says."""
        return cls(load_model(directory).eval(), ChatFormat(bpe.load(directory)), is_chat(directory))

    def prompts(self, examples: Sequence[Example], seed: int) -> list[list[int]]:
        """Tokens of each example's prompt."""
        if self.is_chat:
            return [self.chat.prompt(ask(example.prompt)) for example in examples]
        shots = few_shot_examples(examples, seed, SHOTS)
        begin = self.chat.begin_of_text
        return [[begin, *self.chat.plain(web_prompt(e, s))] for e, s in zip(examples, shots, strict=True)]

    def respond(
        self,
        examples: Sequence[Example],
        sampling: Sampling,
        *,
        temperature: float = 0.0,
        count: int = 1,
        seed: int = 0,
    ) -> list[list[str]]:
        """`count` answers to each example, in its order."""
        prompts = [tokens for tokens in self.prompts(examples, seed) for _ in range(count)]
        texts = self.complete(prompts, sampling, temperature=temperature, seed=seed)
        return [texts[first : first + count] for first in range(0, len(texts), count)]

    def complete(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        *,
        temperature: float = 0.0,
        seed: int = 0,
        stop: Sequence[int] | None = None,
    ) -> list[str]:
        """The text with which the model goes on after each prompt of tokens; `stop` replaces its usual stop tokens.

        A base model's text ends where it goes on with the next question.
        """
        ending = () if self.is_chat else self.chat.plain(NEXT_QUESTION)
        answers = generate(
            self.model,
            prompts,
            max_new_tokens=sampling.max_new_tokens,
            stop=stop or self.stop(),
            ending=ending,
            temperature=temperature,
            seed=seed,
            batch_size=sampling.batch,
        )
        texts = [self.chat.text(answer) for answer in answers]
        if not self.is_chat:
            texts = [text.split(NEXT_QUESTION)[0].removesuffix(NEXT_QUESTION.strip()).strip() for text in texts]
        return texts

    def stop(self) -> list[int]:
        """The end of a turn; for a base model also the end of the line."""
        if self.is_chat:
            return list(self.chat.stop)
        vocabulary = range(self.chat.tokenizer.get_vocab_size())
        lines = [token for token in vocabulary if "\n" in self.chat.tokenizer.decode([token])]
        return [*self.chat.stop, *lines]
