"""Layouts of a model on a cluster (3.3.2): what is wrong with one there, and which there are.

What a layout is, and which models fit it: `stages.distributed.layout`. Here the cluster and the step are added.
Arithmetic only; `stages.infrastructure.memory_model` and `stages.infrastructure.step_time` give memory and time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import gcd

from stages.distributed.layout import Layout, Recompute
from stages.model.llama import LlamaConfig


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
        """M: micro-batches of a step on each DP rank, with those that only fill up a pipeline's rounds."""
        return layout.filled(max(1, self.sequences // (layout.dp * self.micro)))


def slots(model: LlamaConfig) -> int:
    """Units of a pipeline: the layers, the embedding and the output head (3.3.2: the first stage holds the embedding
    and one layer less than the others, the last one the head and one less)."""
    return model.num_hidden_layers + 2


def balanced(layout: Layout, model: LlamaConfig) -> Layout:
    """The layout with one layer less at either end where `slots` are divided evenly, else with the same everywhere."""
    even = layout.pp > 1 and slots(model) % layout.stages == 0
    return layout.model_copy(update={"shorter_ends": int(even)})


def problems(layout: Layout, model: LlamaConfig, work: Work, *, devices: int, devices_per_node: int) -> list[str]:
    """What keeps a layout from running on a cluster, each in a sentence with its numbers."""
    found = []
    if layout.ranks != devices:
        found.append(f"{layout.product} is not the {devices:,} devices")
    found += layout.misfits(model, work.length)
    if layout.tp > devices_per_node:
        found.append(f"tp {layout.tp} leaves the node: NVLink connects {devices_per_node} devices")
    each = layout.dp * work.micro
    if work.sequences % each:
        found.append(
            f"a batch of {work.sequences:,} sequences cannot be divided by dp {layout.dp} x {work.micro} per "
            f"micro-batch; {work.sequences // each * each or each:,} can"
        )
    return found


def candidates(
    model: LlamaConfig, work: Work, *, devices: int, devices_per_node: int, recompute: Recompute = "none"
) -> Iterator[Layout]:
    """Every layout without `problems`, with each number of stages per pipeline rank that it can have."""
    width = gcd(model.num_attention_heads, model.num_key_value_heads, model.intermediate_size, model.vocab_size)
    for tp in _divisors(gcd(width, devices)):
        if tp > devices_per_node:
            continue
        for cp in _divisors(devices // tp):
            if work.length % (2 * cp):
                continue
            for pp in _divisors(devices // tp // cp):
                dp = devices // tp // cp // pp
                if pp > slots(model) or work.sequences % (dp * work.micro):
                    continue
                for virtual in range(1, slots(model) // pp + 1 if pp > 1 else 2):
                    layout = Layout(tp=tp, cp=cp, pp=pp, dp=dp, virtual_stages=virtual, recompute=recompute)
                    layout = balanced(layout, model)
                    if not problems(layout, model, work, devices=devices, devices_per_node=devices_per_node):
                        yield layout


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]
