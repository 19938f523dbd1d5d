"""A tiny ladder and its questions."""

from stages.ablations.skills import Skills
from stages.posttraining.respond import Sampling
from stages.tasks.held_out import Evaluation
from tests.ablations.test_trial import SHAPE

SKILLS = Skills(evaluation=Evaluation(prompts=2), sampling=Sampling(max_new_tokens=4, batch=64))
LADDER = [SHAPE.model_copy(update={"hidden_size": size, "ffn_size": 2 * size}) for size in (8, 16, 24, 32)]
