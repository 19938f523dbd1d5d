"""Metrics and curves of pretraining (3.4)."""

import math
import random
from pathlib import Path
from typing import Any

from stages.report.evidence import MEMBERS
from tests.report.example.values import interval

VERDICTS = {"train-01": "shown in this run", "train-02": "contradicted", "train-03": "not shown at this scale"}


def metrics() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for place, member in enumerate(MEMBERS):
        loss = 2.6 - 0.18 * place
        found[f"{member}/annealing"] = {
            "change": interval(-0.05, 0.01, 192),
            "against_control": interval(-0.04, 0.01, 192),
            "average_minus_last": interval(0.002, 0.001, 192),
            "averaged_checkpoints": 8,
            "loss_before": interval(loss + 0.05, 0.08, 192),
            "validation_loss": interval(loss, 0.08, 192),
            "validation_loss_by_bucket": {
                bucket: interval(loss + off, 0.06, 48)
                for bucket, off in (("general", 0.1), ("math", -0.9), ("code", 0.2), ("multilingual", 0.5))
            },
        }
        needles = [
            {"length": length, "depth": depth, "n": 12, "accuracy": 1.0 if length < 512 else 0.5 + 0.5 * depth}
            for length in (256, 384, 512)
            for depth in (0.0, 0.25, 0.5, 0.75, 1.0)
        ]
        found[f"{member}/long_context"] = {
            "needles": needles,
            "gates_passed": 1,
            "lengths": 2,
            "context_length": 512,
            "short_loss_change": interval(-0.004, 0.004, 192),
            "gate": [
                {"length": 384, "segment": 1, "loss_change": interval(-0.002, 0.004), "needles": 1.0, "passed": True},
                {"length": 512, "segment": 1, "loss_change": interval(-0.004, 0.004), "needles": 0.75, "passed": False},
            ],
        }
    return found


def write_curves(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    generator = random.Random(0)
    for place, member in enumerate(MEMBERS):
        for phase, steps, high, low in (
            ("initial", 400, 7.5, 2.66),
            ("long", 30, 2.66, 2.65),
            ("anneal", 60, 2.4, 2.3),
        ):
            lines = ["step,tokens,lr,loss,grad_norm"]
            for step in range(1, steps + 1):
                loss = low - 0.18 * place + (high - low) * math.exp(-8 * step / steps) + generator.gauss(0, 0.08)
                share = step / steps
                learning_rate = {
                    "initial": 0.3 + 0.35 * (1 + math.cos(math.pi * share)),
                    "long": 0.3,
                    "anneal": 0.3 * (1 - share),
                }
                lines.append(f"{step},{step * 15_000},{learning_rate[phase] * 4e-3:.6g},{loss:.5f},0.5")
            (directory / f"{member}-{phase}.csv").write_text("\n".join(lines) + "\n")
