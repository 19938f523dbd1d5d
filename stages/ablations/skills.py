"""What a base model of an ablation can do: accuracy on the held-out prompts of all tasks (5.1)."""

from pathlib import Path

from stages.interface import Section
from stages.model.llama import Llama
from stages.posttraining.respond import Responder, Sampling
from stages.tasks import held_out, verify
from stages.tokenizer import bpe
from stages.tokenizer.chat import ChatFormat


class Skills(Section):
    """The test of an ablation's models."""

    evaluation: held_out.Evaluation
    sampling: Sampling


def accuracy(model: Llama, tokenizer: Path, skills: Skills, seed: int) -> float:
    """Percent of the prompts answered right; the same prompts for every model."""
    examples = held_out.examples(skills.evaluation, seed)
    responder = Responder(model.eval(), ChatFormat(bpe.load(tokenizer)), False)
    answers = [given[0] for given in responder.respond(examples, skills.sampling, seed=seed)]
    return 100.0 * sum(verify(examples, answers)) / len(examples)
