"""How a model and its batch are laid out over ranks (3.3.2): [TP, CP, PP, DP], from the innermost to the outermost.

Plain arithmetic without torch: a planner asks here what fits, stages/model/parallelize.py does it.
"""

from collections.abc import Iterator
from typing import Literal, Protocol

from pydantic import Field, PositiveInt

from stages.interface import Section, StageError

Recompute = Literal["none", "selective", "full"]


class Shape(Protocol):
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
    """What is computed again in the backward pass instead of being kept: `selective` all but attention and the products
    of gate and up, `full` each layer from its input (paper: none at 8K tokens)."""

    @property
    def ranks(self) -> int:
        """Processes, or GPUs."""
        return self.tp * self.cp * self.pp * self.dp

    @property
    def stages(self) -> int:
        """Runs of layers that the model is cut into."""
        return self.pp * self.virtual_stages

    def layers(self, count: int) -> list[range]:
        """The layers of each stage, in order; stage s lies on pipeline rank s mod pp. The ends may be empty."""
        each, rest = divmod(count + 2 * self.shorter_ends * (self.stages > 1), self.stages)
        short = self.shorter_ends if self.stages > 1 else 0
        if rest or each < short or not each:
            raise StageError(
                f"layout: {count} layers and {short} less at either end do not give {self.stages} equal stages "
                f"(pp {self.pp} x virtual_stages {self.virtual_stages}); change one of them"
            )
        ends = [min(count, max(0, each * (stage + 1) - short)) for stage in range(self.stages)]
        return [range(first, last) for first, last in zip([0, *ends], ends, strict=False)]

    def bubble(self, microbatches: int) -> float:
        """Idle over busy time of the pipeline, (PP - 1) / (V M) (3.3.2)."""
        return (self.pp - 1) / (self.virtual_stages * microbatches)

    def microbatches(self, sequences: int, size: int = 1) -> int:
        """Micro-batches of `size` sequences a rank computes when the batch has so many; raises StageError."""
        each, rest = divmod(sequences, self.dp)
        if rest or each % size:
            raise StageError(f"layout: a batch of {sequences} sequences is not dp {self.dp} x micro-batches of {size}")
        return each // size

    def chunks(self, rank: int) -> tuple[int, int]:
        """The chunks of a sequence that a context-parallel rank holds: with a causal mask each pair is equal work."""
        return rank, 2 * self.cp - 1 - rank

    def check(self, shape: Shape, length: int, ranks: int | None = None) -> None:
        """Raises StageError where a model of this shape, or sequences of `length` tokens, cannot be laid out so."""
        wrong = list(self._misfits(shape, length, ranks))
        if wrong:
            raise StageError("layout: " + "; ".join(wrong))
        self.layers(shape.num_hidden_layers)

    def _misfits(self, shape: Shape, length: int, ranks: int | None) -> Iterator[str]:
        if ranks is not None and ranks != self.ranks:
            yield f"tp {self.tp} x cp {self.cp} x pp {self.pp} x dp {self.dp} = {self.ranks}, but {ranks} ranks started"
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
