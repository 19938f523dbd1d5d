"""How a model and its batch are distributed over ranks (3.3.2): [TP, CP, PP, DP], innermost to outermost.

Arithmetic without torch, for the planner too; stages/distributed/parallelize.py applies a layout to a model.
"""

import itertools
import math
from collections.abc import Iterator
from typing import Literal, Protocol

from pydantic import Field, PositiveInt

from stages.interface import Section, StageError

Recompute = Literal["none", "elementwise", "selective", "full"]
DIMENSIONS = ("tp", "cp", "pp", "dp")
"""Innermost, which needs the fastest network, to outermost."""


class ModelShape(Protocol):
    """The part of a model's configuration that a layout depends on; LlamaConfig implements it."""

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
    """Degree of each kind of parallelism, and the pipeline's schedule."""

    tp: PositiveInt = 1
    """Tensor-parallel ranks: each holds a slice of every matrix. They communicate most, so they are neighbours (paper:
    8)."""
    cp: PositiveInt = 1
    """Context-parallel ranks: each holds two of 2 x cp chunks of every sequence (paper: 1, at 128K tokens 16)."""
    pp: PositiveInt = 1
    """Pipeline ranks: each holds `virtual_stages` stages of consecutive layers (paper: 16)."""
    dp: PositiveInt = 1
    """Data-parallel ranks: each has its own sequences; FSDP shards the state over them and cp (paper: 64, 128, 8)."""
    virtual_stages: PositiveInt = 1
    """Pipeline stages per pipeline rank, V in the paper's bubble (PP - 1) / (V M) (assumption: the paper does not give
    its V)."""
    shorter_ends: int = Field(default=0, ge=0)
    """Layers that the first and the last pipeline stage have less than the others, to balance embedding and head
    (paper: 1)."""
    recompute: Recompute = "none"
    """Activations that are recomputed in the backward pass: `elementwise` those without a matrix product (norms, RoPE,
    the SwiGLU product), `selective` all but attention and the products of gate and up, `full` each layer from its input
    (paper: none at 8K tokens)."""

    @property
    def world_size(self) -> int:
        """Number of ranks: processes, or GPUs."""
        return self.tp * self.cp * self.pp * self.dp

    @property
    def dimensions(self) -> dict[str, int]:
        """Degree of each kind of parallelism, in the paper's order [TP, CP, PP, DP]."""
        return {name: getattr(self, name) for name in DIMENSIONS}

    @property
    def description(self) -> str:
        """The world size as a product, for example tp 8 x cp 1 x pp 16 x dp 128 = 16,384."""
        return " x ".join(f"{name} {count}" for name, count in self.dimensions.items()) + f" = {self.world_size:,}"

    @property
    def num_shards(self) -> int:
        """FSDP shards: ranks over which the weights of a model part and their optimizer state are divided."""
        return self.cp * self.dp

    @property
    def num_stages(self) -> int:
        """Pipeline stages that the model is split into."""
        return self.pp * self.virtual_stages

    @property
    def _num_removed(self) -> int:
        return self.shorter_ends if self.num_stages > 1 else 0

    def layers(self, count: int) -> list[range]:
        """The layers of each stage, in order; stage s is on pipeline rank s mod pp. The first and last may be empty."""
        for problem in self._find_uneven_stages(count):
            raise StageError(f"layout: {problem}; change one of them")
        each = (count + 2 * self._num_removed) // self.num_stages
        ends = [min(count, max(0, each * (stage + 1) - self._num_removed)) for stage in range(self.num_stages)]
        return [range(first, last) for first, last in zip([0, *ends], ends, strict=False)]

    def layers_on_rank(self, count: int, rank: int) -> int:
        """How many of `count` layers are on a pipeline rank; an upper bound if the stages are not equal."""
        each = math.ceil((count + 2 * self._num_removed) / self.num_stages)
        return each * self.virtual_stages - self._num_removed * ((rank == 0) + (rank == self.pp - 1))

    def bubble(self, microbatches: int) -> float:
        """Ratio of idle to busy time of the pipeline, (PP - 1) / (V M) (3.3.2)."""
        return (self.pp - 1) / (self.virtual_stages * microbatches)

    def num_rounds(self, microbatches: int) -> int:
        """Rounds of the interleaved schedule, each of PP micro-batches or more; all have the same size."""
        return max(1, microbatches // self.pp)

    def round_up_microbatches(self, microbatches: int) -> int:
        """The smallest number of micro-batches, at least `microbatches`, that gives equal rounds. The paper's schedule
        allows any number (3.3.2), torch's does not."""
        return next(number for number in itertools.count(microbatches) if number % self.num_rounds(number) == 0)

    def chunks(self, rank: int) -> tuple[int, int]:
        """The chunks of a sequence on a context-parallel rank: with a causal mask each pair is the same work."""
        return rank, 2 * self.cp - 1 - rank

    def check(self, shape: ModelShape, length: int, ranks: int | None = None) -> None:
        """Raises StageError if the layout does not fit the model, sequences of `length` tokens, or the ranks."""
        problems = list(self.find_problems(shape, length))
        if ranks is not None and ranks != self.world_size:
            problems.append(f"{self.description}, but {ranks} ranks started")
        if problems:
            raise StageError("layout: " + "; ".join(problems))

    def find_problems(self, shape: ModelShape, length: int) -> Iterator[str]:
        """Yields why the layout does not fit the model or the sequences, one sentence with numbers per reason."""
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
            yield from self._find_uneven_stages(shape.num_hidden_layers)

    def _find_uneven_stages(self, count: int) -> Iterator[str]:
        each, rest = divmod(count + 2 * self._num_removed, self.num_stages)
        if rest or each < self._num_removed or not each:
            yield (
                f"{count} layers and {self._num_removed} less at either end do not give {self.num_stages} equal stages "
                f"(pp {self.pp} x virtual_stages {self.virtual_stages})"
            )
