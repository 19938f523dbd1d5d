"""Tables of a plan: a summary with quantity, value and basis, the phases, and the proposed layouts."""

from collections.abc import Mapping
from typing import Any

MEMORY_KINDS = {
    "parameters": "float32, sharded over CP and DP",
    "working copy": "matmul dtype, unsharded: shards are not freed after the forward pass",
    "gradients": "float32, unsharded while they accumulate, and the shard",
    "optimizer": "two float32 moments, sharded over CP and DP",
    "activations": "of the micro-batches in flight; recomputation: ",
    "logits": "on the last pipeline rank only",
    "buffers": "of the pipeline, per micro-batch and stage",
}
"""Kind of memory -> its dtype and sharding."""
Record = dict[str, str]


def summary_table(plan: Mapping[str, Any]) -> list[Record]:
    """Records with `quantity`, `value` and `basis`. Memory and layout are those of the phase with most tokens."""
    records = [*_model(plan), *_memory(plan), *_time(plan), *_storage(plan)]
    return [{"quantity": quantity, "value": value, "basis": basis} for quantity, value, basis in records]


def _model(plan: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    model = plan["model"]
    shape = f"{model['num_hidden_layers']} layers x {model['hidden_size']:,}"
    heads = f"{model['num_attention_heads']} / {model['num_key_value_heads']} KV heads"
    other = ", ".join(f"{name} {flops:.2g}" for name, flops in plan["other_flops"].items())
    without = f"{format_count(model['body_parameters'])} without embedding and head"
    return [
        ("flagship", f"{shape}, {heads}", plan["source"]),
        ("parameters", f"{model['parameters']:,}", without),
        ("FLOPs", f"{plan['flops']:.3g}", "6 N D: all parameters, no attention scores"),
        ("tokens", format_count(plan["tokens"]), "FLOPs / 6 N"),
        ("other FLOPs", other, "siblings on the same tokens, IsoFLOP sweep; not in the time"),
        ("optimizer steps", f"{plan['steps']:,}", "batch ramp, long context and annealing: see the phases"),
    ]


def _memory(plan: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    cluster, main = plan["cluster"], max(plan["phases"], key=lambda phase: phase["tokens"])
    micro = f"{main['micro_batches']} micro-batches of {main['micro_sequences']} x {main['length']:,}"
    devices = f"{cluster['peak'] / 1e12:g} TFLOP/s, {format_bytes(cluster['memory'])}, {cluster['watts']:g} W each"
    fits = "every phase fits" if plan["fits"] else "NOT every phase fits"
    return [
        ("devices", f"{cluster['devices']:,}", devices),
        ("layout", layout_name(main["layout"]), f"{micro}, V {main['virtual']}, bubble {main['bubble']:.1%}"),
        *(
            (f"memory: {kind}", format_bytes(main["memory"][kind]), form + main["recompute"] * (kind == "activations"))
            for kind, form in MEMORY_KINDS.items()
        ),
        ("memory per rank", format_bytes(main["memory"]["total"]), f"limit {format_bytes(cluster['memory'])}: {fits}"),
    ]


def _time(plan: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    cluster = plan["cluster"]
    assumed = f"MFU {cluster['mfu']:.0%}, assumed"
    efficiency = f"kernels at {cluster['efficiency']:.0%} of the peak"
    modelled = f"MFU {plan['modelled_mfu']:.1%}: {efficiency}, communication, bubble"
    return [
        ("time", format_duration(plan["days"]), assumed),
        ("time, modelled", format_duration(plan["modelled_days"]), modelled),
        ("device hours", format_count(plan["device_hours"]), assumed),
        (
            "effective training time",
            f"{plan['effective_time']:.1%}",
            f"{plan['interruptions_per_day']:.2g} interruptions per day, Table 5's rate",
        ),
        ("with interruptions", format_duration(plan["elapsed_days"]), "time / effective training time"),
        ("energy", format_energy(plan["energy_mwh"]), "of the devices, interruptions included"),
    ]


def _storage(plan: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    checkpoint, storage = plan["checkpoint"], plan["storage"]
    size = f"{format_bytes(checkpoint['bytes_per_gpu'])} per device, every {checkpoint['interval_minutes']:.3g} minutes"
    records = [("checkpoint", format_bytes(checkpoint["bytes"]), size)]
    for stall in checkpoint["stalls"]:
        share = f"{format_bytes(stall['bytes_per_second'])}/s: {stall['share_of_time']:.2%} of the time"
        best = f"best interval {stall['best_interval_minutes']:.2g} minutes: {stall['effective_at_best']:.1%} effective"
        seconds = format_duration(stall["seconds"] / 86_400)
        records.append((f"checkpoint write, {stall['storage']}", seconds, f"{share}; {best}"))
    others = f"all except the text, with {format_bytes(storage['checkpoints'])} of checkpoints"
    return [
        *records,
        ("pages", format_bytes(storage["pages"]), "compressed WARC, source of the text"),
        ("text", format_bytes(storage["text"]), "one pass over the tokens"),
        ("curation", format_bytes(storage["curation"]), "the documents after each stage, as Parquet"),
        ("token shards", format_bytes(storage["tokens"]), "one unsigned integer per token"),
        ("storage", format_bytes(storage["total"]), others),
    ]


def phase_table(plan: Mapping[str, Any]) -> list[Record]:
    """One record per phase of pretraining."""
    records = []
    for phase in plan["phases"]:
        asked = f" of {phase['sequences_asked']:,}" if phase["sequences"] != phase["sequences_asked"] else ""
        records.append(
            {
                "phase": phase["name"],
                "length": f"{phase['length']:,}",
                "sequences": f"{phase['sequences']:,}{asked}",
                "steps": f"{phase['steps']:,}",
                "tokens": format_count(phase["tokens"]),
                "TPxCPxPPxDP": layout_name(phase["layout"]),
                "per rank": format_bytes(phase["memory"]["total"]),
                "s/step": f"{phase['step_seconds']:.3g}",
                "TFLOP/s": f"{phase['device_flops'] / 1e12:.3g}",
                "runs": "no" if phase["problems"] else "yes",
            }
        )
    return records


def layout_table(plan: Mapping[str, Any]) -> list[Record]:
    """One record per proposed layout."""
    return [
        {
            "best for": option["phase"],
            "TPxCPxPPxDP": layout_name(option["layout"]),
            "V": str(option["virtual"]),
            "s/step": f"{option['step_seconds']:.3g}",
            "per rank": format_bytes(option["bytes"]),
        }
        for option in plan["best_layouts"]
    ]


def layout_name(layout: Mapping[str, int]) -> str:
    """For example 8x1x16x128 for TP 8, CP 1, PP 16, DP 128."""
    return "x".join(str(layout[axis]) for axis in ("tp", "cp", "pp", "dp"))


def _scaled(value: float, units: tuple[tuple[float, str], ...], digits: int = 3) -> str:
    factor, unit = next((unit for unit in units if abs(value) >= unit[0]), units[-1])
    return f"{value / factor:.{digits}g}{unit}"


def format_count(value: float) -> str:
    """For example 15.6T for 15600000000000."""
    return _scaled(value, ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K"), (1, "")), 4)


def format_bytes(value: float) -> str:
    """Bytes in powers of 1,000."""
    return _scaled(value, ((1e15, " PB"), (1e12, " TB"), (1e9, " GB"), (1e6, " MB"), (1e3, " kB"), (1, " B")))


def format_duration(days: float) -> str:
    """Days, or a smaller unit."""
    return _scaled(86_400 * days, ((86_400, " days"), (3600, " h"), (60, " min"), (1, " s"), (1e-3, " ms")))


def format_energy(megawatt_hours: float) -> str:
    """Watt-hours in powers of 1,000."""
    return _scaled(1e6 * megawatt_hours, ((1e9, " GWh"), (1e6, " MWh"), (1e3, " kWh"), (1, " Wh")))
