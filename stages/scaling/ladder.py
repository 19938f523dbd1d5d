"""The ladder of model shapes, and their learning rates."""

from typing import Annotated

from pydantic import Field, model_validator

from stages.interface import Section
from stages.model.llama import LlamaConfig


class Shape(Section):
    """One rung of the ladder (paper Table 3)."""

    hidden_size: int = Field(gt=0)
    """Width of the residual stream (paper Table 3: 4,096 to 16,384)."""
    layers: int = Field(gt=0)
    """Transformer layers (paper Table 3: 32 to 126)."""
    heads: int = Field(gt=0)
    """Query heads (paper Table 3: 32 to 128)."""
    key_value_heads: int = Field(gt=0)
    """Key and value heads, shared by groups of query heads (paper 3.2: 8)."""
    ffn_size: int = Field(gt=0)
    """Width inside the SwiGLU feed-forward layer (paper Table 3: 14,336 to 53,248)."""

    @model_validator(mode="after")
    def _check_heads(self) -> "Shape":
        if self.heads % self.key_value_heads:
            raise ValueError(f"heads {self.heads} is not a multiple of key_value_heads {self.key_value_heads}")
        if self.hidden_size % (2 * self.heads):
            raise ValueError(f"hidden_size {self.hidden_size} is not a multiple of twice the {self.heads} heads")
        return self


class Architecture(Section):
    """What is the same for all shapes."""

    rope_theta: float = Field(gt=0)
    """Base frequency of RoPE (paper 3.2: 500,000)."""
    norm_eps: float = Field(gt=0)
    """Epsilon of RMSNorm (assumption: 1e-5 as in the released configuration; not in the paper)."""
    tied: bool
    """Whether the output head shares the embedding's weights (assumption at small scales; the paper's are untied)."""

    def config(self, shape: Shape, vocab_size: int) -> LlamaConfig:
        """The model configuration of a shape."""
        return LlamaConfig(
            vocab_size=vocab_size,
            hidden_size=shape.hidden_size,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.key_value_heads,
            intermediate_size=shape.ffn_size,
            rope_theta=self.rope_theta,
            rms_norm_eps=self.norm_eps,
            tie_word_embeddings=self.tied,
        )


class LearningRate(Section):
    """Peak learning rate as a power of model size."""

    reference: float = Field(gt=0)
    """Peak learning rate of a model with `parameters` parameters (paper Table 3: 8e-5 for 405B)."""
    parameters: float = Field(gt=0)
    """Parameters of the reference model, with its embedding."""
    exponent: float = Field(le=0)
    """Exponent of the model size (assumption: -0.33 fits the paper's 3e-4, 1.5e-4 and 8e-5 within 5%)."""

    def at(self, parameters: int) -> float:
        """The peak learning rate of a model with `parameters` parameters."""
        return float(self.reference * (parameters / self.parameters) ** self.exponent)


Ladder = Annotated[list[Shape], Field(min_length=3)]
"""Shapes from the smallest to the largest."""
