"""How a model and its batch are laid out over ranks (3.3.2): [TP, CP, PP, DP], from the innermost to the outermost.

Plain arithmetic without torch: a planner asks here what fits, stages/distributed/parallelize.py does it.
"""

import itertools
import math
from collections.abc import Iterator
from typing import Literal, Protocol

from pydantic import Field, PositiveInt

from stages.interface import Section, StageError

Recompute = Literal["none", "elementwise", "selective", "full"]
DIMENSIONS = ("tp", "cp", "pp", "dp")
"""From the innermost, which needs the fastest network, to the outermost."""


class ModelShape(Protocol):
    """What of a model's configuration a layout depends on (LlamaConfig has it)."""

    @property
    def hidden_size(self) -> int: ...
    @property
    def num_hidden_layers(self) -> int: ...
    @property
    def num_attention_heads(self) -> int: ...
    @property
    def num_key_value_heads(self) -> int: ...
    @property
    def intermediate_size(self) -> int: ...
    @property
    def vocab_size(self) -> int: ...
    @property
    def tie_word_embeddings(self) -> bool: ...


class Layout(Section):
    """Ranks of each kind of parallelism, and the pipeline's schedule."""

    tp: PositiveInt = 1
    """Tensor-parallel ranks: each holds a slice of every matrix. They talk most, so they are neighbours (paper: 8)."""
    cp: PositiveInt = 1
    """Context-parallel ranks: each holds two of 2 x cp chunks of every sequence (paper: 1, at 128K tokens 16)."""
    pp: PositiveInt = 1
    """Pipeline ranks: each holds `virtual_stages` runs of layers (paper: 16)."""
    dp: PositiveInt = 1
    """Data-parallel ranks: each has its own sequences, and FSDP shards the state over them and over cp (paper: 64, 128,
    8)."""
    virtual_stages: PositiveInt = 1
    """Runs of layers that one pipeline rank holds, V of the paper's bubble (PP - 1) / (V M) (assumption: the paper does
    not say which V it used)."""
    shorter_ends: int = Field(default=0, ge=0)
    """Layers that the first and the last run of the pipeline have less than the others, for the embedding and the head
    (paper: 1)."""
    recompute: Recompute = "none"
    """What is computed again in the backward pass instead of being kept: `elementwise` what costs no matrix product
    (norms, RoPE, the SwiGLU product), `selective` all but attention and the products of gate and up, `full` each layer
    from its input (paper: none at 8K tokens)."""

    @property
    def world_size(self) -> int:
        """Processes, or GPUs."""
        return self.tp * self.cp * self.pp * self.dp

    @property
    def dimensions(self) -> dict[str, int]:
        """Ranks of each kind, as the paper writes them: [TP, CP, PP, DP]."""
        return {name: getattr(self, name) for name in DIMENSIONS}

    @property
    def description(self) -> str:
        """The ranks and how they come about, for people."""
        return " x ".join(f"{name} {count}" for name, count in self.dimensions.items()) + f" = {self.world_size:,}"

    @property
    def num_shards(self) -> int:
        """Ranks that share one piece of the weights, and so divide its optimizer state among them."""
        return self.cp * self.dp

    @property
    def num_stages(self) -> int:
        """Runs of layers that the model is cut into."""
        return self.pp * self.virtual_stages

    @property
    def _short(self) -> int:
        return self.shorter_ends if self.num_stages > 1 else 0

    def layers(self, count: int) -> list[range]:
        """The layers of each stage, in order; stage s lies on pipeline rank s mod pp. The ends may be empty."""
        for wrong in self._uneven(count):
            raise StageError(f"layout: {wrong}; change one of them")
        each = (count + 2 * self._short) // self.num_stages
        ends = [min(count, max(0, each * (stage + 1) - self._short)) for stage in range(self.num_stages)]
        return [range(first, last) for first, last in zip([0, *ends], ends, strict=False)]

    def layers_on_rank(self, count: int, rank: int) -> int:
        """How many of `count` layers lie on a pipeline rank, at most where they do not give equal stages."""
        each = math.ceil((count + 2 * self._short) / self.num_stages)
        return each * self.virtual_stages - self._short * ((rank == 0) + (rank == self.pp - 1))

    def bubble(self, microbatches: int) -> float:
        """Idle over busy time of the pipeline, (PP - 1) / (V M) (3.3.2)."""
        return (self.pp - 1) / (self.virtual_stages * microbatches)

    def num_rounds(self, microbatches: int) -> int:
        """Rounds of the interleaved schedule, of PP micro-batches or more each: they must be of one size."""
        return max(1, microbatches // self.pp)

    def round_up_microbatches(self, microbatches: int) -> int:
        """The least number of micro-batches from this one on that makes equal rounds. The paper's schedule takes any
        number (3.3.2), torch's these."""
        return next(number for number in itertools.count(microbatches) if number % self.num_rounds(number) == 0)

    def chunks(self, rank: int) -> tuple[int, int]:
        """The chunks of a sequence that a context-parallel rank holds: with a causal mask each pair is equal work."""
        return rank, 2 * self.cp - 1 - rank

    def check(self, shape: ModelShape, length: int, ranks: int | None = None) -> None:
        """Raises StageError where a model of this shape, or sequences of `length` tokens, cannot be laid out so."""
        wrong = list(self.find_problems(shape, length))
        if ranks is not None and ranks != self.world_size:
            wrong.append(f"{self.description}, but {ranks} ranks started")
        if wrong:
            raise StageError("layout: " + "; ".join(wrong))

    def find_problems(self, shape: ModelShape, length: int) -> Iterator[str]:
        """What keeps such a model and such sequences from being laid out so, each in a sentence with its numbers."""
        for name in ("num_attention_heads", "num_key_value_heads", "intermediate_size", "vocab_size"):
            if getattr(shape, name) % self.tp:
                yield f"{name} {getattr(shape, name)} is no multiple of tp {self.tp}"
        if self.cp > 1 and length % (2 * self.cp):
            yield f"sequences of {length} tokens are not cut into 2 x cp = {2 * self.cp} chunks"
        elif length // self.cp % self.tp:
            yield f"the {length // self.cp} tokens of a sequence that a cp rank holds are no multiple of tp {self.tp}"
        if self.pp > 1 and shape.tie_word_embeddings:
            yield "a tied embedding lies on the first and on the last pipeline rank; use pp 1 or an untied one"
        if self.pp == 1 and self.virtual_stages > 1:
            yield f"virtual_stages {self.virtual_stages} need pp above 1"
        else:
            yield from self._uneven(shape.num_hidden_layers)

    def _uneven(self, count: int) -> Iterator[str]:
        each, rest = divmod(count + 2 * self._short, self.num_stages)
        if rest or each < self._short or not each:
            yield (
                f"{count} layers and {self._short} less at either end do not give {self.num_stages} equal stages "
                f"(pp {self.pp} x virtual_stages {self.virtual_stages})"
            )
