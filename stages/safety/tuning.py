"""Safety finetuning (5.4.3): SFT on adversarial, borderline and helpful prompts, then DPO on the responses that the
resulting model gets wrong. The result is the member's final chat model."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from stages.interface import Metrics, Paths, Section
from stages.model.files import context_length, save_model
from stages.posttraining.averaging import Tuning, variant_runs
from stages.posttraining.data import Demonstration, read_records
from stages.posttraining.dpo import DPO, Pair, optimise
from stages.posttraining.respond import Responder, Sampling, flatten
from stages.posttraining.sft import LOSS_SCOPE, DialogBatches, finetune
from stages.tasks import generate
from stages.tasks.definitions.safety import is_false_refusal, is_violation
from stages.tasks.example import Example
from stages.tokenizer import bpe
from stages.tokenizer.chat import ChatFormat
from stages.training.batches import TrainingRun
from stages.training.parameters import Training
from stages.training.strategy import TrainingContext


class SafetyTuning(Section):
    """The data and the two trainings."""

    prompts: int = Field(gt=0)
    """Adversarial and borderline prompts in the SFT data (assumption; the paper gives no number)."""
    helpful: float = Field(ge=0)
    """Helpful demonstrations per safety prompt (paper 5.4.3: a balance of both; the ratio is an assumption)."""
    compared: int = Field(gt=0)
    """Prompts that the SFT model answers for DPO (assumption)."""
    answers: int = Field(gt=0)
    """Responses to each of them; violations and false refusals become the rejected ones (assumption)."""
    sft: Tuning
    """The SFT step."""
    dpo: DPO
    """The DPO step; skipped if no response is wrong."""


Dialog = tuple[str, str]
"""(prompt, response)."""


@dataclass(frozen=True)
class Config:
    seed: Annotated[int, "seed"]
    training: Annotated[Training, "training"]
    sampling: Annotated[Sampling, "posttraining.sampling"]
    safety: Annotated[SafetyTuning, "safety.tuning"]


def run(config: Config, inputs: Paths, outputs: Paths, context: TrainingContext) -> Metrics:
    """policy (the last DPO model), demonstrations (helpful ones) -> model."""
    settings = config.safety
    adversarial, helpful = load_dialogs(config, inputs)
    dialogs = [*adversarial, *helpful]
    model, _ = finetune(settings.sft, config.training, config.seed, inputs, outputs, dialogs, context, "safety SFT")

    responder = Responder(model.eval(), ChatFormat(bpe.load(inputs["policy"])), is_chat=True)
    examples = generate("safety", "preference", settings.compared, config.seed)
    responses = responder.respond(
        examples, config.sampling, temperature=1.0, num_return_sequences=settings.answers, seed=config.seed
    )
    pairs = make_pairs(*flatten(examples, responses))
    if pairs:
        model, _ = optimise(
            settings.dpo, config.training, config.seed, model, responder.chat, pairs, context, "safety DPO"
        )
        save_model(model, outputs["model"], inputs["policy"], context_length(inputs["policy"]), chat=True)
    return {
        "safety_prompts": len(adversarial),
        "helpful_prompts": len(helpful),
        "wrong_answers": len(pairs),
        "answers": len(examples) * settings.answers,
    }


def load_dialogs(config: Config, inputs: Paths) -> tuple[list[Dialog], list[Dialog]]:
    """The SFT data: dialogs on safety, and helpful ones."""
    adversarial = generate("safety", "sft", config.safety.prompts, config.seed)
    helpful = read_records(inputs["demonstrations"] / "demonstrations.jsonl", Demonstration)
    count = min(len(helpful), round(config.safety.helpful * len(adversarial)))
    sampled = random.Random(config.seed).sample(helpful, count)
    return [(e.prompt, e.answer) for e in adversarial], [(d.example.prompt, d.response) for d in sampled]


def training_runs(config: Config, inputs: Paths, item: Mapping[str, str], metrics: Metrics | None) -> list[TrainingRun]:
    """The SFT step. DPO trains on responses of the SFT model, which is not kept."""
    adversarial, helpful = load_dialogs(config, inputs)
    chat = ChatFormat(bpe.load(inputs["policy"]))
    dialogs = adversarial + helpful
    batches = DialogBatches.for_variants(chat, dialogs, config.safety.sft, config.training, config.seed)
    return variant_runs(batches, config.safety.sft, "safety SFT", LOSS_SCOPE)


def make_pairs(examples: Sequence[Example], responses: Sequence[str]) -> list[Pair]:
    """(prompt, reference answer, response) for each response that is_violation or refuses falsely."""
    return [
        (example.prompt, example.answer, response)
        for example, response in zip(examples, responses, strict=True)
        if is_violation(example, response) or is_false_refusal(example, response)
    ]
