"""The paper's numbers and the plan of a cluster run (3.3)."""

from typing import Any

from tests.report.example.values import interval

VERDICTS = {
    "arch-01": "exact",
    "scal-07": "contradicted",
    "infra-01": "exact",
    "infra-02": "shown",
    "infra-03": "exact",
    "infra-04": "exact",
}


def metrics() -> dict[str, Any]:
    plans = {"plan": make_plan("603.0K"), "plan-405b": make_plan("405,845,000,192")}
    return {"paper": recomputed_numbers()} | plans


def recomputed_numbers() -> dict[str, Any]:
    """Metrics of stages.infrastructure.paper, with an invented simulation."""
    sizes = [
        {
            "gpus": 2048 * 2**power,
            "effective": 0.98 - 0.08 * power,
            "best_interval_minutes": 12.0 / 1.4**power,
            "effective_at_best": 0.985 - 0.07 * power,
        }
        for power in range(8)
    ]
    return {
        "parameters": {"8B": 8_030_261_248, "70B": 70_553_706_496, "405B": 405_853_388_800},
        "scaling": {
            "tokens": {"text": 10.46e12, "legend of figure 3": 16.29e12},
            "exponent_for_printed_tokens": 0.53727,
            "flops_of_printed_optimum": 3.99e25,
            "parameters_for_printed_tokens": 383e9,
            "flops_of_the_flagship": 3.8e25,
        },
        "training": {
            "flops_in_snapshot": 3.06e25,
            "share_of_budget_in_snapshot": 0.805,
            "days_for_budget": 67.1,
            "tokens_in_snapshot": 12.56e12,
            "share_of_tokens_in_snapshot": 0.805,
        },
        "layouts": [
            {
                "gpus": gpus,
                "product": gpus,
                "length": length,
                "batch_tokens": 2**24,
                "memory": {
                    "least_recompute": "selective",
                    "fits": True,
                    "bytes": {"none": {"total": 2e11}, "selective": {"total": 7.5e10}},
                },
            }
            for gpus, length in ((8192, 8192), (16384, 8192), (16384, 131072))
        ],
        "interruptions": {
            "unexpected": 419,
            "hours_between": 3.09,
            "hardware_share": 0.773,
            "hardware_share_with_maintenance": 0.85,
            "gpu_share": 0.64,
            "faulty_gpu_share": 0.353,
        },
        "reliability": {
            "effective_time": interval(0.93, 0.006, 200),
            "write_seconds": 2.8,
            "by_gpus": sizes,
            "closed_form": 0.928,
            "lost_by_cause": {"faulty GPU": 0.024, "GPU HBM3 memory": 0.012, "software bug": 0.009},
            "lost_by_kind": {
                "checkpoints": 0.004,
                "lost work": 0.026,
                "detection": 0.016,
                "waiting for a node": 0.0,
                "restart": 0.027,
            },
        },
        "checkpoint": {
            "bytes": 4.86e12,
            "bytes_per_gpu": 2.97e8,
            "interval_minutes": 10,
            "stalls": [
                {
                    "storage": name,
                    "bytes_per_second": speed,
                    "seconds": 4.86e12 / speed,
                    "share_of_time": share,
                    "effective": 0.928,
                    "best_interval_minutes": best,
                    "effective_at_best": 0.94,
                }
                for name, speed, share, best in (("sustained", 2e12, 0.004, 3.9), ("peak", 7e12, 0.0012, 2.1))
            ],
        },
    }


def make_plan(parameters: str) -> dict[str, Any]:
    """Metrics of stages.pretraining.plan: the keys that the report reads."""
    return {
        "tokens": 15.605e12,
        "days": 66.2,
        "modelled_days": 71.2,
        "elapsed_days": 71.3,
        "cluster": {"mfu": 0.41},
        "table": [{"quantity": "parameters", "value": parameters, "basis": "without embedding and head"}],
    }
