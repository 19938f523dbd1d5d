"""The paper's printed numbers, recomputed from the quantities that it derives them from (paper 1, 3.2, 3.3).

Where the printed numbers contradict each other, all of them are reported, and the claims ledger shows the difference.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from stages.distributed.layout import DIMENSIONS, Layout, Recompute
from stages.infrastructure.reliability import (
    INTERRUPTIONS,
    MINUTES,
    NUM_INTERRUPTIONS,
    Reliability,
    best_checkpoint_interval,
    effective_time,
    simulate,
)
from stages.infrastructure.sharded_memory import measure_rank_memory
from stages.infrastructure.storage import checkpoint_stalls
from stages.interface import Context, Metrics, Paths
from stages.model.llama import LlamaConfig
from stages.scaling.flops import tokens_for, training_flops
from stages.statistics import bootstrap_estimate

SHAPES = {"8B": (4096, 32, 32, 8, 14336), "70B": (8192, 80, 64, 8, 28672), "405B": (16384, 126, 128, 8, 53248)}
"""Width, layers, heads, key-value heads and FFN width of Table 3 (an early version prints other FFN widths)."""
VOCAB_SIZE = 128_256
"""Vocabulary of the released models; the paper (3.2) says 128K."""
BUDGET, PRINTED_PARAMETERS, PRINTED_TOKENS = 3.8e25, 402e9, 16.55e12
"""3.2.1: the flagship's FLOPs, and the compute-optimal parameters and tokens printed for them."""
TRAINED_TOKENS = 15.6e12
"""3.4: tokens of the flagship."""
LAWS = {"text": (0.53, 0.29), "legend of figure 3": (0.537, 0.299)}
"""Exponent and factor of the optimal tokens, D = A C^alpha."""
DAYS, NUM_GPUS, TFLOPS = 54.0, 16_384, 400e12
"""3.3.4 and Table 4: days of the snapshot, GPUs, FLOP/s of each."""
PEAK = 989e12
"""Dense bfloat16 FLOP/s of an H100."""
STORAGE_SPEEDS = {"sustained": 2e12, "peak": 7e12}
"""3.3.1: write bandwidth of the storage in bytes per second."""
CHECKPOINT_PER_GPU = (1e6, 4e9)
"""3.3.1: bytes of a checkpoint per GPU, smallest and largest."""
GPU_MEMORY = 80e9
"""Bytes of an H100 (3.3.1)."""
VIRTUAL_STAGES = 8
"""Virtual stages per pipeline rank: 126 layers with one less at either end are 128 stages of one layer on 16 ranks."""
TABLE_4 = (
    {"gpus": 8192, "tp": 8, "cp": 1, "pp": 16, "dp": 64, "length": 8192, "sequences": 32, "tflops": 430, "mfu": 43},
    {"gpus": 16384, "tp": 8, "cp": 1, "pp": 16, "dp": 128, "length": 8192, "sequences": 16, "tflops": 400, "mfu": 41},
    {"gpus": 16384, "tp": 8, "cp": 16, "pp": 16, "dp": 8, "length": 131072, "sequences": 16, "tflops": 380, "mfu": 38},
)
"""Table 4; `sequences` is the batch per data-parallel rank. Some copies print DP 4 in the last row; only 8 gives 16,384
GPUs."""


@dataclass(frozen=True)
class Config:
    seed: Annotated[int, "seed"]
    reliability: Annotated[Reliability, "reliability"]


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """No inputs and no outputs, only metrics."""
    layouts = [recompute_row(row) | {"memory": rank_memory_of_row(row)} for row in TABLE_4]
    context.table("layouts", [{key: value for key, value in row.items() if key != "memory"} for row in layouts])
    return {
        "parameters": {name: model_config(name).parameters for name in SHAPES},
        "body_parameters": {name: model_config(name).body_parameters for name in SHAPES},
        "scaling": check_scaling_law(),
        "training": check_training_time(),
        "layouts": layouts,
        "interruptions": count_interruptions(),
        "reliability": simulate_reliability(config.reliability, config.seed),
        "checkpoint": checkpoint_stalls(config.reliability, STORAGE_SPEEDS),
    }


def model_config(name: str) -> LlamaConfig:
    """The configuration of one of the paper's models."""
    width, layers, heads, key_value_heads, ffn = SHAPES[name]
    return LlamaConfig(VOCAB_SIZE, width, layers, heads, key_value_heads, ffn, tie_word_embeddings=False)


def check_scaling_law() -> dict[str, Any]:
    """Optimal tokens by the printed power laws, and the exponent that gives the printed tokens (3.2.1)."""
    tokens = {name: factor * BUDGET**alpha for name, (alpha, factor) in LAWS.items()}
    _, factor = LAWS["legend of figure 3"]
    return {
        "tokens": tokens,
        "exponent_for_printed_tokens": float(np.log(PRINTED_TOKENS / factor) / np.log(BUDGET)),
        "flops_of_printed_optimum": training_flops(int(PRINTED_PARAMETERS), PRINTED_TOKENS),
        "parameters_for_printed_tokens": BUDGET / 6 / PRINTED_TOKENS,
        "flops_of_the_flagship": training_flops(model_config("405B").parameters, TRAINED_TOKENS),
    }


def check_training_time() -> dict[str, float]:
    """FLOPs and tokens of 54 days on 16,384 GPUs (3.3.4), and the days that the whole budget takes."""
    per_day = NUM_GPUS * TFLOPS * 86_400
    tokens = tokens_for(DAYS * per_day, model_config("405B").parameters)
    return {
        "flops_in_snapshot": DAYS * per_day,
        "share_of_budget_in_snapshot": DAYS * per_day / BUDGET,
        "tokens_in_snapshot": tokens,
        "share_of_tokens_in_snapshot": tokens / TRAINED_TOKENS,
        "days_for_budget": BUDGET / per_day,
    }


def layout_of_row(row: Mapping[str, int], recompute: Recompute) -> Layout:
    """The layout of a row of Table 4.

    The paper does not print the number of stages per pipeline rank. Here a stage has one layer, and the first and the
    last stage have none: the paper removes one layer from both, and this gives the smallest bubble.
    """
    ranks = {name: row[name] for name in DIMENSIONS}
    return Layout(**ranks, virtual_stages=VIRTUAL_STAGES, shorter_ends=1, recompute=recompute)


def recompute_row(row: dict[str, int]) -> dict[str, Any]:
    """A row of Table 4 with its number of ranks, tokens per batch and MFU recomputed."""
    return row | {
        "product": layout_of_row(row, "none").world_size,
        "batch_tokens": row["dp"] * row["sequences"] * row["length"],
        "computed_mfu": 100 * row["tflops"] * 1e12 / PEAK,
    }


def rank_memory_of_row(row: dict[str, int]) -> dict[str, Any]:
    """Bytes of a rank in a row of Table 4 for increasing activation recomputation, until it fits into a GPU (3.3.2).

    Measured on the second pipeline rank: it has all its layers and the most micro-batches in flight.
    """
    config = model_config("405B")
    memory: dict[str, Any] = {}
    recompute: Recompute
    for recompute in ("none", "selective", "full"):
        layout = layout_of_row(row, recompute)
        kinds = measure_rank_memory(config, layout, row["length"], row["sequences"], stage=1)
        memory[recompute] = kinds | {"total": sum(kinds.values())}
        if fits := memory[recompute]["total"] <= GPU_MEMORY:
            break
    return {"least_recompute": recompute, "fits": fits, "bytes": memory}


def count_interruptions() -> dict[str, Any]:
    """Shares of Table 5 by its counts; they contradict the 78% hardware and 58.7% GPU of the paper's text."""
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
        "unexpected": NUM_INTERRUPTIONS,
        "hours_between": DAYS * 24 / NUM_INTERRUPTIONS,
        "hardware_share": hardware / NUM_INTERRUPTIONS,
        "hardware_share_with_maintenance": (hardware + INTERRUPTIONS["host maintenance"][0]) / NUM_INTERRUPTIONS,
        "gpu_share": sum(INTERRUPTIONS[cause][0] for cause in of_gpu) / NUM_INTERRUPTIONS,
        "faulty_gpu_share": INTERRUPTIONS["faulty GPU"][0] / NUM_INTERRUPTIONS,
    }


def simulate_reliability(options: Reliability, seed: int) -> dict[str, Any]:
    """Effective training time of simulated runs with its 95% interval, and how it depends on the number of GPUs."""
    result = simulate(options, seed)
    write, down, interval = options.write_days, options.down_days, options.checkpoint_days

    def with_gpus(gpus: int) -> dict[str, float]:
        failure_rate = options.failure_rate * gpus / options.gpus
        best = best_checkpoint_interval(failure_rate, write, down)
        return {
            "gpus": gpus,
            "effective": effective_time(failure_rate, interval, write, down),
            "best_interval_minutes": best / MINUTES,
            "effective_at_best": effective_time(failure_rate, best, write, down),
        }

    return {
        "effective_time": bootstrap_estimate(float(result.useful.mean()), result.useful, options.runs),
        "closed_form": effective_time(options.failure_rate, interval, write, down),
        "write_seconds": write * 86_400,
        "by_gpus": [with_gpus(options.gpus * 2**power // 8) for power in range(8)],
        "lost_by_cause": {cause: float(shares.mean()) for cause, shares in result.by_cause.items()},
        "lost_by_kind": {kind: float(shares.mean()) for kind, shares in result.by_kind.items()},
    }
