"""DPO against SFT (4.1.4): the gain of DPO in every round, from the models of the ablation of rounds."""

import json
from dataclasses import dataclass

from stages.ablations.effects import PERCENTAGE_POINTS, make_metrics, over_seeds, values_of
from stages.interface import Context, Metrics, Paths


@dataclass(frozen=True)
class Config:
    """Reads no parameter."""


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """rounds (the metrics of `stages.ablations.rounds`). The effect is the gain in the last round."""
    measured = json.loads(inputs["rounds"].read_text())
    effects = [
        over_seeds(
            f"accuracy after DPO minus after SFT, round {number}",
            PERCENTAGE_POINTS,
            values_of(measured["runs"], "rounds", f"dpo-{number}")
            - values_of(measured["runs"], "rounds", f"sft-{number}"),
        )
        for number in range(1, measured["configuration"]["rounds"] + 1)
    ]
    return make_metrics(measured["runs"], effects[-1], effects[:-1], measured["configuration"])
