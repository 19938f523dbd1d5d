"""Multiple choice: what the model is asked, and that its likelihoods are those of one answer at a time."""

from pathlib import Path

import numpy as np
import pytest
import torch

from stages.evaluation import multiple_choice
from stages.model.llama import Llama
from stages.scaling.questions import Questions, answer_nll, chance_accuracy, make_questions, score_answers
from stages.tasks import HELPFUL_TASKS, generate
from stages.tokenizer import bpe
from stages.tokenizer.chat import ChatFormat
from tests.fixtures import World, settings, shape, sharp
from tests.recorder import Recorder

TEST = Questions(prompts=4, shots=1, choices=3)


def test_each_prompt_has_its_answer_and_others_of_its_kind(world: World) -> None:
    chat = ChatFormat(bpe.load(world.tokenizer))
    asked = make_questions(TEST, world.tokenizer, seed=1)
    assert [question.task for question in asked] == [task for task in HELPFUL_TASKS for _ in range(4)]
    for task in HELPFUL_TASKS:
        pool = generate(task, "test", 64, 1)
        mine = [question for question in asked if question.task == task]
        for question, example in zip(mine, pool[:4], strict=True):
            texts = [chat.tokenizer.decode(list(answer)) for answer in question.answers]
            assert texts[0] == f" {example.answer}" and question.characters[0] == len(example.answer)
            assert len(set(texts)) == 3
            assert {text[1:] for text in texts} <= {other.answer for other in pool if other.level == example.level}
            prompt = chat.tokenizer.decode(list(question.prompt))
            assert prompt.endswith(f"Q: {example.prompt} A:") and prompt.count("Q: ") == 2
    assert chance_accuracy(asked) == pytest.approx(1 / 3)
    assert make_questions(TEST, world.tokenizer, seed=1) == asked


def test_likelihoods_are_those_of_one_answer_at_a_time(world: World) -> None:
    model = sharp(Llama(shape()).init_weights(3))
    asked = make_questions(TEST, world.tokenizer, seed=1)
    together = answer_nll(model, asked, settings(), tokens=3_000)
    for question, nats in list(zip(asked, together, strict=True))[::5]:
        for answer, characters, result in zip(question.answers, question.characters, nats, strict=True):
            with torch.inference_mode():
                logits = model(torch.tensor([[*question.prompt, *answer]]))[0].log_softmax(-1)
            first = len(question.prompt)
            alone = -sum(float(logits[first + place - 1, token]) for place, token in enumerate(answer))
            assert result == pytest.approx(alone / characters, rel=1e-4)


def test_right_is_the_likeliest() -> None:
    nats, right = score_answers([np.array([1.0, 2.0]), np.array([3.0, 2.5, 4.0]), np.array([0.5])])
    assert nats.tolist() == [1.0, 3.0, 0.5] and right.tolist() == [1.0, 0.0, 1.0]


def test_the_stage_measures_models_as_the_sweep_does(world: World, tmp_path: Path) -> None:
    config = multiple_choice.Config(1, settings(), TEST)
    metrics = multiple_choice.run(config, {"flagship-base": world.model}, {}, Recorder(tmp_path))
    nats, right = score_answers(
        answer_nll(Llama(shape()).init_weights(1), make_questions(TEST, world.tokenizer, 1), settings())
    )
    result = metrics["flagship-base"]
    assert result["nats"]["value"] == pytest.approx(nats.mean(), rel=1e-6)
    assert result["accuracy"]["value"] == right.mean() and result["accuracy"]["n"] == 4 * len(HELPFUL_TASKS)
    assert np.mean([row["nats"] for row in result["tasks"].values()]) == pytest.approx(nats.mean(), rel=1e-6)
