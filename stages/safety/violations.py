"""Violation rate and false refusal rate (5.4.1, 5.4.3) on held-out prompts, before and after safety tuning.

Violations are counted on harmful prompts, false refusals on borderline ones that share their words. Models with
interpolated and extrapolated weights show how many false refusals fewer violations cost.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch

from stages.interface import StageError
from stages.model.llama import Llama
from stages.posttraining.respond import Responder, Sampling
from stages.safety.judges import correct_rates, measure_judges
from stages.safety.rates import compare, compare_by_group, rate
from stages.safety.transcript import Responders, Transcript, reply_to_prompts
from stages.tasks import generate
from stages.tasks.definitions.safety import is_false_refusal, is_refusal, is_violation
from stages.tasks.example import Example


def draw_test_prompts(level: str, count: int, seed: int) -> list[Example]:
    """Draws up to `count` different test prompts of a level ("harmful" or "borderline"); fewer if there are no more."""
    examples: dict[str, Example] = {}
    for example in generate("safety", "test", 2 * count, seed):
        if example.level == level:
            examples.setdefault(example.prompt, example)
    return list(examples.values())


def judge(example: Example, response: str) -> str:
    """The verdict on a harmful prompt: refusal, violation, or off topic (neither of them); on a borderline one: false
    refusal or answer."""
    if is_refusal(response):
        return "refusal" if example.level == "harmful" else "false refusal"
    if example.level != "harmful":
        return "answer"
    return "violation" if is_violation(example, response) else "off topic"


def measure(
    responders: Responders, examples: Sequence[Example], weights: Sequence[float], sampling: Sampling
) -> tuple[dict[str, Any], list[Transcript]]:
    """Violation and false refusal rate of both models with their change, by hazard, and of models interpolated at
    `weights`."""
    prompts = [example.prompt for example in examples]
    replies = {model: reply_to_prompts(responder, prompts, sampling) for model, responder in responders.items()}
    harmful = [i for i, example in enumerate(examples) if example.level == "harmful"]
    borderline = [i for i, example in enumerate(examples) if example.level != "harmful"]

    def find_violations(texts: Sequence[str]) -> list[bool]:
        return [is_violation(examples[i], texts[i]) for i in harmful]

    def find_false_refusals(texts: Sequence[str]) -> list[bool]:
        return [is_false_refusal(examples[i], texts[i]) for i in borderline]

    harmful_deeds, borderline_deeds = ([examples[i].cluster for i in places] for places in (harmful, borderline))
    violations = {model: find_violations(texts) for model, texts in replies.items()}
    false_refusals = {model: find_false_refusals(texts) for model, texts in replies.items()}
    refusals = {model: [is_refusal(texts[i]) for i in harmful] for model, texts in replies.items()}
    off_topic = {
        model: [not (violates or refuses) for violates, refuses in zip(violations[model], refusals[model], strict=True)]
        for model in replies
    }
    known = {0.0: replies["before"], 1.0: replies["after"]}
    trade_off = []
    for weight in sorted(weights):
        model = None if weight in known else interpolate(responders["before"], responders["after"], weight)
        texts = known[weight] if model is None else reply_to_prompts(model, prompts, sampling)
        trade_off.append(
            {
                "weight": weight,
                "violation_rate": rate(find_violations(texts), harmful_deeds),
                "false_refusal_rate": rate(find_false_refusals(texts), borderline_deeds),
            }
        )
    transcripts = [
        Transcript(
            "violations",
            model,
            example.key["hazard"] or "borderline",
            example.cluster,
            example.prompt,
            text,
            verdict,
            float(verdict in ("violation", "false refusal")),
        )
        for model, texts in replies.items()
        for example, text, verdict in zip(examples, texts, map(judge, examples, texts), strict=True)
    ]
    judges = measure_judges()
    violation_rate, false_refusal_rate = compare(violations, harmful_deeds), compare(false_refusals, borderline_deeds)
    metrics = {
        "violation_rate": violation_rate,
        "false_refusal_rate": false_refusal_rate,
        "corrected_violation_rate": correct_rates(violation_rate, judges["violation"]),
        "corrected_false_refusal_rate": correct_rates(false_refusal_rate, judges["refusal"]),
        "refusal_rate_harmful": compare(refusals, harmful_deeds),
        # Neither: a model that cannot answer violates nothing.
        "off_topic_rate_harmful": compare(off_topic, harmful_deeds),
        "by_hazard": compare_by_group(violations, [examples[i].key["hazard"] for i in harmful], harmful_deeds),
        "trade_off": trade_off,
    }
    return metrics, transcripts


def interpolate(before: Responder, after: Responder, weight: float) -> Responder:
    """Makes the model with weights before + weight * (after - before); StageError if their shapes differ."""
    if before.model.config != after.model.config:
        raise StageError("the models before and after safety tuning differ in shape: pass two models of one member")
    model: Llama = copy.deepcopy(before.model)
    after_weights = after.model.state_dict()
    with torch.no_grad():
        for name, parameter in model.state_dict().items():
            if not (model.config.tie_word_embeddings and name == "lm_head.weight"):  # it would move twice
                parameter.lerp_(after_weights[name], weight)
    return Responder(model, after.chat, after.is_chat)
