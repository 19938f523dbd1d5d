"""A plan as tables for people: what, how much, and what it rests on."""

from collections.abc import Mapping
from typing import Any

HELD = {
    "parameters": "float32, sharded over CP and DP",
    "working copy": "in the products' type, whole: shards are not freed after forward",
    "gradients": "float32, whole while micro-batches add up, and the shard",
    "optimizer": "two float32 moments, sharded over CP and DP",
    "activations": "of the micro-batches in flight; computed again: ",
    "logits": "on the last pipeline rank only",
    "buffers": "of the pipeline, for every micro-batch of each piece",
}
"""Kind of memory -> in what form a rank holds it."""
Row = dict[str, str]


def table(plan: Mapping[str, Any]) -> list[Row]:
    """Rows with `what`, `value` and `rests on`. Memory and layout are those of the phase of most tokens."""
    rows = [*_model(plan), *_memory(plan), *_time(plan), *_storage(plan)]
    return [{"what": what, "value": value, "rests on": why} for what, value, why in rows]


def _model(plan: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    model = plan["model"]
    shape = f"{model['num_hidden_layers']} layers x {model['hidden_size']:,}"
    heads = f"{model['num_attention_heads']} / {model['num_key_value_heads']} KV heads"
    other = ", ".join(f"{name} {flops:.2g}" for name, flops in plan["other_flops"].items())
    return [
        ("flagship", f"{shape}, {heads}", plan["source"]),
        ("parameters", f"{model['parameters']:,}", f"{short(model['body_parameters'])} without embedding and head"),
        ("FLOPs", f"{plan['flops']:.3g}", "6 N D: all parameters, no attention scores"),
        ("tokens", short(plan["tokens"]), "FLOPs / 6 N"),
        ("other FLOPs", other, "siblings on the same tokens, IsoFLOP sweep; not in the days"),
        ("optimizer steps", f"{plan['steps']:,}", "batch ramp, long context and annealing: see the phases"),
    ]


def _memory(plan: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    cluster, main = plan["cluster"], max(plan["phases"], key=lambda phase: phase["tokens"])
    micro = f"{main['micro_batches']} micro-batches of {main['micro_sequences']} x {main['length']:,}"
    devices = f"{cluster['peak'] / 1e12:g} TFLOP/s, {size(cluster['memory'])}, {cluster['watts']:g} W each"
    fits = "every phase fits" if plan["fits"] else "NOT every phase fits"
    return [
        ("devices", f"{cluster['devices']:,}", devices),
        ("layout", name(main["layout"]), f"{micro}, V {main['virtual']}, bubble {main['bubble']:.1%}"),
        *(
            (f"memory: {kind}", size(main["memory"][kind]), why + (main["recompute"] if kind == "activations" else ""))
            for kind, why in HELD.items()
        ),
        ("memory of a rank", size(main["memory"]["total"]), f"limit {size(cluster['memory'])}: {fits}"),
    ]


def _time(plan: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    cluster = plan["cluster"]
    assumed = f"MFU {cluster['mfu']:.0%}, assumed"
    modelled = f"MFU {plan['modelled_mfu']:.1%}: kernels at {cluster['efficiency']:.0%} of the peak, traffic, bubble"
    return [
        ("time", duration(plan["days"]), assumed),
        ("time, modelled", duration(plan["modelled_days"]), modelled),
        ("device hours", short(plan["device_hours"]), assumed),
        (
            "useful time",
            f"{plan['effective_time']:.1%}",
            f"{plan['interruptions_per_day']:.2g} interruptions a day, by Table 5's rate",
        ),
        ("with interruptions", duration(plan["elapsed_days"]), "time / useful time"),
        ("energy", energy(plan["energy_mwh"]), "of the devices, interruptions included"),
    ]


def _storage(plan: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    checkpoint, storage = plan["checkpoint"], plan["storage"]
    every = f"{size(checkpoint['bytes_per_gpu'])} per device, every {checkpoint['interval_minutes']:.3g} minutes"
    rows = [("checkpoint", size(checkpoint["bytes"]), every)]
    for stall in checkpoint["stalls"]:
        share = f"{size(stall['bytes_per_second'])}/s: {stall['share_of_time']:.2%} of the time"
        best = f"best every {stall['best_interval_minutes']:.2g} minutes: {stall['effective_at_best']:.1%} useful"
        rows.append((f"writing it, {stall['storage']}", duration(stall["seconds"] / 86_400), f"{share}; {best}"))
    return [
        *rows,
        ("pages", size(storage["pages"]), "compressed WARC that gives the text"),
        ("text", size(storage["text"]), "one pass over the tokens"),
        ("curation", size(storage["curation"]), "the documents after each stage, as Parquet"),
        ("token shards", size(storage["tokens"]), "one unsigned integer a token"),
        ("storage", size(storage["total"]), f"all but the text, with {size(storage['checkpoints'])} of checkpoints"),
    ]


def phases(plan: Mapping[str, Any]) -> list[Row]:
    """A row per phase of pretraining."""
    rows = []
    for phase in plan["phases"]:
        asked = f" of {phase['sequences_asked']:,}" if phase["sequences"] != phase["sequences_asked"] else ""
        rows.append(
            {
                "phase": phase["name"],
                "length": f"{phase['length']:,}",
                "sequences": f"{phase['sequences']:,}{asked}",
                "steps": f"{phase['steps']:,}",
                "tokens": short(phase["tokens"]),
                "TPxCPxPPxDP": name(phase["layout"]),
                "per rank": size(phase["memory"]["total"]),
                "s/step": f"{phase['step_seconds']:.3g}",
                "TFLOP/s": f"{phase['device_flops'] / 1e12:.3g}",
                "runs": "no" if phase["problems"] else "yes",
            }
        )
    return rows


def layouts(plan: Mapping[str, Any]) -> list[Row]:
    """A row per proposed layout."""
    return [
        {
            "best for": row["phase"],
            "TPxCPxPPxDP": name(row["layout"]),
            "V": str(row["virtual"]),
            "s/step": f"{row['step_seconds']:.3g}",
            "per rank": size(row["bytes"]),
        }
        for row in plan["best_layouts"]
    ]


def name(layout: Mapping[str, int]) -> str:
    """8x1x16x128 for TP 8, CP 1, PP 16, DP 128."""
    return "x".join(str(layout[axis]) for axis in ("tp", "cp", "pp", "dp"))


def _scaled(value: float, units: tuple[tuple[float, str], ...], digits: int = 3) -> str:
    factor, unit = next((unit for unit in units if abs(value) >= unit[0]), units[-1])
    return f"{value / factor:.{digits}g}{unit}"


def short(value: float) -> str:
    """15600000000000 as 15.6T."""
    return _scaled(value, ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K"), (1, "")), 4)


def size(value: float) -> str:
    """Bytes in powers of 1,000."""
    return _scaled(value, ((1e15, " PB"), (1e12, " TB"), (1e9, " GB"), (1e6, " MB"), (1e3, " kB"), (1, " B")))


def duration(days: float) -> str:
    """Days, or what is shorter."""
    return _scaled(86_400 * days, ((86_400, " days"), (3600, " h"), (60, " min"), (1, " s"), (1e-3, " ms")))


def energy(megawatt_hours: float) -> str:
    """Watt-hours in powers of 1,000."""
    return _scaled(1e6 * megawatt_hours, ((1e9, " GWh"), (1e6, " MWh"), (1e3, " kWh"), (1, " Wh")))
