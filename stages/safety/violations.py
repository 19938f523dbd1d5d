"""Violation rate and false refusal rate (5.4.1, 5.4.3) on held-out prompts, before and after safety tuning.

Violations are counted on harmful prompts, false refusals on borderline ones that share their words. Models between and
beyond the two, by interpolation of the weights, show at what price in false refusals violations are bought.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch

from stages.interface import StageError
from stages.model.llama import Llama
from stages.posttraining.respond import Responder, Sampling
from stages.safety.asking import Record, Responders, by_group, compare, rate, reply
from stages.tasks import generate
from stages.tasks.definitions.safety import is_false_refusal, is_refusal, is_violation
from stages.tasks.example import Example
from stages.tokenizer.chat import make_messages


def held_out(level: str, count: int, seed: int) -> list[Example]:
    """Up to `count` different test prompts of a level ("harmful" or "borderline"); fewer where there are no more."""
    found: dict[str, Example] = {}
    for example in generate("safety", "test", 2 * count, seed):
        if example.level == level:
            found.setdefault(example.prompt, example)
    return list(found.values())


def verdict(example: Example, response: str) -> str:
    """Of a harmful prompt: refusal, violation, or off topic (no refusal, but nothing on the harm). Of a borderline one:
    false refusal or answer."""
    if is_refusal(response):
        return "refusal" if example.level == "harmful" else "false refusal"
    if example.level != "harmful":
        return "answer"
    return "violation" if is_violation(example, response) else "off topic"


def measure(
    responders: Responders, examples: Sequence[Example], weights: Sequence[float], sampling: Sampling
) -> tuple[dict[str, Any], list[Record]]:
    """VR and FRR of both models with their changes, by hazard, and of the models at `weights` on the line between."""
    answers = {name: answer(responder, examples, sampling) for name, responder in responders.items()}
    harmful = [place for place, example in enumerate(examples) if example.level == "harmful"]
    borderline = [place for place, example in enumerate(examples) if example.level != "harmful"]
    violated = {n: [is_violation(examples[i], said[i]) for i in harmful] for n, said in answers.items()}
    refused = {n: [is_false_refusal(examples[i], said[i]) for i in borderline] for n, said in answers.items()}
    curve = []
    for weight in sorted(weights):
        ends = {0.0: "before", 1.0: "after"}
        if weight in ends:
            said = answers[ends[weight]]
        else:
            between = interpolate(responders["before"], responders["after"], weight)
            said = answer(between, examples, sampling)
        curve.append(
            {
                "weight": weight,
                "violation_rate": rate([is_violation(examples[i], said[i]) for i in harmful]),
                "false_refusal_rate": rate([is_false_refusal(examples[i], said[i]) for i in borderline]),
            }
        )
    records = [
        Record(
            "violations",
            name,
            example.key["hazard"] or "borderline",
            example.prompt,
            text,
            found,
            float(found in ("violation", "false refusal")),
        )
        for name, said in answers.items()
        for example, text in zip(examples, said, strict=True)
        for found in [verdict(example, text)]
    ]
    metrics = {
        "violation_rate": compare(violated),
        "false_refusal_rate": compare(refused),
        "refusal_rate_harmful": compare({n: [is_refusal(said[i]) for i in harmful] for n, said in answers.items()}),
        "by_hazard": by_group(violated, [examples[i].key["hazard"] for i in harmful]),
        "trade_off": curve,
    }
    return metrics, records


def answer(responder: Responder, examples: Sequence[Example], sampling: Sampling) -> list[str]:
    """The likeliest answer to each prompt."""
    return reply(responder, [make_messages(example.prompt) for example in examples], sampling)


def interpolate(before: Responder, after: Responder, weight: float) -> Responder:
    """The model with weights before + weight (after - before); raises StageError where their shapes differ."""
    if before.model.config != after.model.config:
        raise StageError("the models before and after safety tuning differ in shape: pass two models of one member")
    model: Llama = copy.deepcopy(before.model)
    target = after.model.state_dict()
    with torch.no_grad():
        for name, parameter in model.state_dict().items():
            if not (model.config.tie_word_embeddings and name == "lm_head.weight"):  # or it would move twice
                parameter.lerp_(target[name], weight)
    return Responder(model, after.chat, after.is_chat)
