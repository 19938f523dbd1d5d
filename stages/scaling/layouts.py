"""Layouts of a model on a cluster (3.3.2): what is wrong with one, and which there are.

The order [TP, CP, PP, DP] is that of the paper: the innermost dimension needs the fastest network. Arithmetic only; how
a layout is carried out is none of its business.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import gcd

from stages.model.llama import LlamaConfig


@dataclass(frozen=True)
class Layout:
    """Over how many devices each dimension is spread."""

    tp: int = 1
    """Tensor parallel: the heads and the feed-forward width of every layer."""
    cp: int = 1
    """Context parallel: the tokens of a sequence, in 2 x CP chunks of which each rank has an early and a late one."""
    pp: int = 1
    """Pipeline parallel: the layers."""
    dp: int = 1
    """Data parallel (FSDP): the sequences of a batch; optimizer state is sharded over it and over CP."""

    @property
    def devices(self) -> int:
        return self.tp * self.cp * self.pp * self.dp

    @property
    def shards(self) -> int:
        """Ranks that share one piece of the weights, and so divide its optimizer state among them."""
        return self.cp * self.dp

    def to_json(self) -> dict[str, int]:
        return asdict(self)


@dataclass(frozen=True)
class Work:
    """What a layout has to do in one step: `sequences` of `length` tokens, `micro` of them at once on a DP rank."""

    length: int
    sequences: int
    micro: int = 1

    @property
    def tokens(self) -> int:
        return self.sequences * self.length

    def micro_batches(self, layout: Layout) -> int:
        """M: micro-batches of a step on each DP rank."""
        return max(1, self.sequences // (layout.dp * self.micro))


def slots(model: LlamaConfig) -> int:
    """Units of a pipeline: the layers, the embedding and the output head (3.3.2: the first stage holds the embedding
    and one layer less than the others, the last one the head and one less)."""
    return model.num_hidden_layers + 2


def stage_layers(model: LlamaConfig, pp: int, virtual: int, stage: int) -> int:
    """Transformer layers of a pipeline stage: as `slots` has it where that divides evenly, else the same on each."""
    if pp > 1 and slots(model) % (pp * virtual) == 0:
        return slots(model) // pp - (stage == 0) - (stage == pp - 1)
    return model.num_hidden_layers // pp


def problems(
    layout: Layout, model: LlamaConfig, work: Work, *, devices: int, devices_per_node: int, virtual: int = 1
) -> list[str]:
    """What keeps a layout from running, each in a sentence with its numbers; `virtual` is V, the pieces of a pipeline
    rank. Memory is not looked at here: see `stages.scaling.memory_model`."""
    tp, cp, pp, dp = layout.tp, layout.cp, layout.pp, layout.dp
    found = []
    if layout.devices != devices:
        found.append(f"TP {tp} x CP {cp} x PP {pp} x DP {dp} = {layout.devices:,} is not the {devices:,} devices")
    for name, count in (("heads", model.num_attention_heads), ("key-value heads", model.num_key_value_heads),
                        ("FFN width", model.intermediate_size), ("vocabulary", model.vocab_size)):  # fmt: skip
        if count % tp:
            found.append(f"{name}: {count:,} cannot be divided by TP {tp}")
    if tp > devices_per_node:
        found.append(f"TP {tp} leaves the node: NVLink connects {devices_per_node} devices")
    if pp == 1 and virtual > 1:
        found.append(f"{virtual} pieces per rank need a pipeline (PP 1)")
    elif slots(model) % (pp * virtual) and model.num_hidden_layers % (pp * virtual):
        found.append(
            f"layers: neither {model.num_hidden_layers} nor {slots(model)} (with embedding and head as one each) can "
            f"be divided by PP {pp} x {virtual} pieces"
        )
    if work.length % (2 * cp):
        found.append(f"sequence: {work.length:,} tokens cannot be divided into 2 x CP {cp} chunks")
    if work.sequences % (dp * work.micro):
        whole = work.sequences // (dp * work.micro) * dp * work.micro
        found.append(
            f"batch: {work.sequences:,} sequences cannot be divided by DP {dp} x {work.micro} per micro-batch; "
            f"{whole or dp * work.micro:,} can"
        )
    return found


def candidates(model: LlamaConfig, work: Work, *, devices: int, devices_per_node: int) -> Iterator[tuple[Layout, int]]:
    """Every layout without `problems`, with each number of pieces per pipeline rank that it can have."""
    width = gcd(model.num_attention_heads, model.num_key_value_heads, model.intermediate_size, model.vocab_size)
    for tp in _divisors(gcd(width, devices)):
        if tp > devices_per_node:
            continue
        for cp in _divisors(devices // tp):
            if work.length % (2 * cp):
                continue
            for pp in _divisors(devices // tp // cp):
                if pp > slots(model):
                    continue
                layout = Layout(tp, cp, pp, devices // tp // cp // pp)
                for virtual in range(1, slots(model) // pp + 1 if pp > 1 else 2):
                    if not problems(layout, model, work, devices=devices, devices_per_node=devices_per_node,
                                    virtual=virtual):  # fmt: skip
                        yield layout, virtual


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]
