"""Sampling answers from a model."""

import json

from stages.posttraining.respond import Responder
from stages.tasks import generate
from tests.fixtures import World, examples
from tests.posttraining.examples import SAMPLING


def test_responder_returns_the_requested_number_of_reproducible_responses(world: World) -> None:
    responder = Responder.load(world.model)
    items = examples(5)
    answers = responder.respond(items, SAMPLING, temperature=1.0, num_return_sequences=3, seed=4)
    assert [len(given) for given in answers] == [3] * 5
    assert answers == responder.respond(items, SAMPLING, temperature=1.0, num_return_sequences=3, seed=4)
    assert answers != responder.respond(items, SAMPLING, temperature=1.0, num_return_sequences=3, seed=5)
    # A base model gets few-shot examples and stops at the end of the line; a chat model gets the chat format.
    assert all(b"\n" not in answer.encode() for given in answers for answer in given)
    responder.context_length = 2048  # room for the few-shot examples
    base = responder.tokenize_prompts(items, 1)[0]
    responder.is_chat = True
    assert len(base) > len(responder.tokenize_prompts(items, 1)[0]) and base[0] == world.chat.begin_of_text
    json.dumps(answers)


def test_few_shot_examples_leave_the_answer_room(world: World) -> None:
    """A base model gets as many solved examples as fit its context, and never fewer tokens than the bare question."""
    items, responder = generate("mails", "test", 12, 1), Responder.load(world.model)
    questions = {}
    for context in (64, 256, 2048):
        responder.context_length = context
        prompts = responder.tokenize_prompts(items, seed=1)
        questions[context] = [responder.chat.decode(tokens).count("Q:") for tokens in prompts]
        bare = [len(responder.tokenize_plain(f"Q: {item.prompt} A:")) for item in items]
        assert all(len(p) <= max(0.8 * context, b) for p, b in zip(prompts, bare, strict=True))
    assert set(questions[2048]) == {4} and max(questions[64]) < 4
