"""The numbers the paper prints, computed again from what it says they come from (paper 1, 3.2, 3.3).

Where they do not agree with each other the difference is measured, not smoothed over: which one is meant is a reader's
decision, and the claims ledger shows all of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from stages.distributed.layout import DIMENSIONS, Layout, Recompute
from stages.infrastructure.reliability import (
    INTERRUPTIONS,
    MINUTES,
    UNEXPECTED,
    Reliability,
    best_interval,
    effective,
    simulate,
)
from stages.infrastructure.sharded_memory import rank_memory
from stages.infrastructure.storage import stalls
from stages.interface import Context, Metrics, Paths
from stages.model.llama import LlamaConfig
from stages.scaling.flops import tokens_for, training_flops
from stages.statistics import middle

SHAPES = {"8B": (4096, 32, 32, 8, 14336), "70B": (8192, 80, 64, 8, 28672), "405B": (16384, 126, 128, 8, 53248)}
"""Width, layers, heads, key-value heads and FFN width of Table 3 (an early version printed other FFN widths)."""
VOCABULARY = 128_256
"""Of the released models; the paper (3.2) says 128K."""
BUDGET, PRINTED_PARAMETERS, PRINTED_TOKENS = 3.8e25, 402e9, 16.55e12
"""3.2.1: the flagship's budget and the compute-optimal model and tokens printed for it."""
TRAINED_TOKENS = 15.6e12
"""3.4: tokens of the flagship."""
LAWS = {"text": (0.53, 0.29), "legend of figure 3": (0.537, 0.299)}
"""Exponent and factor of the optimal tokens, D = A C^alpha."""
DAYS, GPUS, TFLOPS = 54.0, 16_384, 400e12
"""3.3.4 and Table 4: days of the snapshot, GPUs, FLOP/s of each."""
PEAK = 989e12
"""Dense bfloat16 FLOP/s of an H100."""
STORAGE = {"sustained": 2e12, "peak": 7e12}
"""3.3.1: bytes per second that the storage takes."""
CHECKPOINT_PER_GPU = (1e6, 4e9)
"""3.3.1: bytes of a checkpoint per GPU, from and to."""
GPU_MEMORY = 80e9
"""Bytes of an H100 (3.3.1)."""
VIRTUAL_STAGES = 8
"""Runs of layers on each pipeline rank: 126 layers and one less at either end are 128 runs of one on 16 ranks."""
TABLE_4 = (
    {"gpus": 8192, "tp": 8, "cp": 1, "pp": 16, "dp": 64, "length": 8192, "sequences": 32, "tflops": 430, "mfu": 43},
    {"gpus": 16384, "tp": 8, "cp": 1, "pp": 16, "dp": 128, "length": 8192, "sequences": 16, "tflops": 400, "mfu": 41},
    {"gpus": 16384, "tp": 8, "cp": 16, "pp": 16, "dp": 8, "length": 131072, "sequences": 16, "tflops": 380, "mfu": 38},
)
"""Table 4; `sequences` is the batch per data-parallel rank. The last row's DP is printed as 4 in some copies: only 8
gives 16,384 GPUs."""


@dataclass(frozen=True)
class Config:
    seed: Annotated[int, "seed"]
    reliability: Annotated[Reliability, "reliability"]


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """No inputs, no outputs: the metrics are all there is."""
    layouts = [again(row) | {"memory": memory(row)} for row in TABLE_4]
    context.table("layouts", [{key: value for key, value in row.items() if key != "memory"} for row in layouts])
    return {
        "parameters": {name: model(name).parameters for name in SHAPES},
        "body_parameters": {name: model(name).body_parameters for name in SHAPES},
        "scaling": scaling(),
        "training": training(),
        "layouts": layouts,
        "interruptions": interruptions(),
        "reliability": reliability(config.reliability, config.seed),
        "checkpoint": stalls(config.reliability, STORAGE),
    }


def model(name: str) -> LlamaConfig:
    """The configuration of one of the paper's models."""
    width, layers, heads, key_value_heads, ffn = SHAPES[name]
    return LlamaConfig(VOCABULARY, width, layers, heads, key_value_heads, ffn, tie_word_embeddings=False)


def scaling() -> dict[str, Any]:
    """What the printed power laws say of the flagship's budget, and what would have to be printed (3.2.1)."""
    tokens = {name: factor * BUDGET**alpha for name, (alpha, factor) in LAWS.items()}
    _, factor = LAWS["legend of figure 3"]
    return {
        "tokens": tokens,
        "exponent_for_printed_tokens": float(np.log(PRINTED_TOKENS / factor) / np.log(BUDGET)),
        "flops_of_printed_optimum": training_flops(int(PRINTED_PARAMETERS), PRINTED_TOKENS),
        "parameters_for_printed_tokens": BUDGET / 6 / PRINTED_TOKENS,
        "flops_of_the_flagship": training_flops(model("405B").parameters, TRAINED_TOKENS),
    }


def training() -> dict[str, float]:
    """What 54 days on 16,384 GPUs can train (3.3.4), and how long the whole budget takes."""
    per_day = GPUS * TFLOPS * 86_400
    return {
        "flops_in_snapshot": DAYS * per_day,
        "share_of_budget_in_snapshot": DAYS * per_day / BUDGET,
        "tokens_in_snapshot": tokens_for(DAYS * per_day, model("405B").parameters),
        "share_of_tokens_in_snapshot": tokens_for(DAYS * per_day, model("405B").parameters) / TRAINED_TOKENS,
        "days_for_budget": BUDGET / per_day,
    }


def layout(row: Mapping[str, int], recompute: Recompute) -> Layout:
    """The layout of a row of Table 4.

    The paper does not print its number of stages per pipeline rank. Here each has one layer, and the first and the last
    none: the paper takes a layer from both, and this gives the smallest bubble.
    """
    ranks = {name: row[name] for name in DIMENSIONS}
    return Layout(**ranks, virtual_stages=VIRTUAL_STAGES, shorter_ends=1, recompute=recompute)


def again(row: dict[str, int]) -> dict[str, Any]:
    """A row of Table 4 with its product of dimensions, tokens per batch and MFU computed again."""
    return row | {
        "product": layout(row, "none").ranks,
        "batch_tokens": row["dp"] * row["sequences"] * row["length"],
        "computed_mfu": 100 * row["tflops"] * 1e12 / PEAK,
    }


def memory(row: dict[str, int]) -> dict[str, Any]:
    """Bytes that a rank needs in a row of Table 4, by how much is recomputed, until it fits a GPU (3.3.2).

    Measured on the second pipeline rank, which has all its layers and waits for most micro-batches.
    """
    found: dict[str, Any] = {}
    recompute: Recompute
    for recompute in ("none", "selective", "full"):
        kinds = rank_memory(model("405B"), layout(row, recompute), row["length"], row["sequences"], stage=1)
        found[recompute] = kinds | {"total": sum(kinds.values())}
        if found[recompute]["total"] <= GPU_MEMORY:
            break
    return {"least_recompute": recompute, "fits": found[recompute]["total"] <= GPU_MEMORY, "bytes": found}


def interruptions() -> dict[str, Any]:
    """Shares of Table 5 by its counts; the paper's text says 78% hardware and 58.7% GPU, which counts do not give."""
    of_gpu = (
        "faulty GPU",
        "GPU HBM3 memory",
        "GPU SRAM memory",
        "GPU system processor",
        "silent data corruption",
        "GPU thermal interface or sensor",
    )
    hardware = sum(count for count, is_hardware in INTERRUPTIONS.values() if is_hardware)
    return {
        "unexpected": UNEXPECTED,
        "hours_between": DAYS * 24 / UNEXPECTED,
        "hardware_share": hardware / UNEXPECTED,
        "hardware_share_with_maintenance": (hardware + INTERRUPTIONS["host maintenance"][0]) / UNEXPECTED,
        "gpu_share": sum(INTERRUPTIONS[cause][0] for cause in of_gpu) / UNEXPECTED,
        "faulty_gpu_share": INTERRUPTIONS["faulty GPU"][0] / UNEXPECTED,
    }


def reliability(options: Reliability, seed: int) -> dict[str, Any]:
    """Effective training time of the simulated runs with what 95% of them reach, and how it changes with more GPUs."""
    found = simulate(options, seed)
    write, down = options.write_days, options.down_days
    interval = options.checkpoint_minutes * MINUTES

    def at(gpus: int) -> dict[str, float]:
        rate = options.rate * gpus / options.gpus
        best = best_interval(rate, write, down)
        return {
            "gpus": gpus,
            "effective": effective(rate, interval, write, down),
            "best_interval_minutes": best / MINUTES,
            "effective_at_best": effective(rate, best, write, down),
        }

    return {
        "effective_time": {"value": float(found.useful.mean()), **middle(found.useful.tolist()), "n": options.runs},
        "closed_form": effective(options.rate, interval, write, down),
        "write_seconds": write * 86_400,
        "by_gpus": [at(options.gpus * 2**power // 8) for power in range(8)],
        "lost_by_cause": {cause: float(shares.mean()) for cause, shares in found.by_cause.items()},
        "lost_by_kind": {kind: float(shares.mean()) for kind, shares in found.by_kind.items()},
    }
