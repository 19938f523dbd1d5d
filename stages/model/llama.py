"""The model of the paper (3.2, Table 3): a dense pre-norm Transformer with RMSNorm, RoPE, GQA and SwiGLU.

Parameter names are those of Hugging Face's Llama, so a state dict needs no conversion. Attention does not cross
document boundaries: `starts` holds, for each position, the position at which its document begins.
"""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

QUERY_BLOCK = 64
"""Query rows per attention block on a CPU: keys after the block's end are skipped, which is faster than one masked
product over the full square, and a block of scores fits the cache."""


@dataclass(frozen=True)
class RopeScaling:
    """Llama 3.1's RoPE scaling for contexts longer than in training; names and defaults as in its config.json.

    Frequencies with fewer than `low_freq_factor` rotations in the original context are divided by `factor`, those with
    more than `high_freq_factor` are unchanged; in between it interpolates. Not in the paper: 3.4.2 reaches 128K by
    training alone, but the released models have it.
    """

    factor: float = 8.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position_embeddings: int = 8192

    def __post_init__(self) -> None:
        if self.factor < 1 or self.high_freq_factor <= self.low_freq_factor:
            raise ValueError(f"factor must be at least 1 and high_freq_factor above low_freq_factor: {self}")

    def __call__(self, frequencies: Tensor) -> Tensor:
        """The scaled frequencies, in radians per position."""
        wavelength = 2 * math.pi / frequencies
        rotations = self.original_max_position_embeddings / wavelength
        smooth = (rotations - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor)
        interpolated = (1 - smooth) * frequencies / self.factor + smooth * frequencies
        is_low = wavelength > self.original_max_position_embeddings / self.low_freq_factor
        is_high = wavelength < self.original_max_position_embeddings / self.high_freq_factor
        return torch.where(is_high, frequencies, torch.where(is_low, frequencies / self.factor, interpolated))


@dataclass(frozen=True)
class LlamaConfig:
    """The shape of a model; names and meanings as in Hugging Face's config.json."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    intermediate_size: int
    rope_theta: float = 500_000.0
    rms_norm_eps: float = 1e-5
    tie_word_embeddings: bool = False
    rope_scaling: RopeScaling | None = None

    def __post_init__(self) -> None:
        if isinstance(self.rope_scaling, Mapping):  # as written by `to_json`
            object.__setattr__(self, "rope_scaling", RopeScaling(**self.rope_scaling))
        if self.hidden_size % self.num_attention_heads or self.head_dim % 2:
            raise ValueError(f"hidden_size {self.hidden_size} needs an even width for each of its heads: {self}")
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(f"num_attention_heads must be a multiple of num_key_value_heads: {self}")

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_attention_heads

    @property
    def init_std(self) -> float:
        """Standard deviation of initial weights: sqrt(2 / 5 d), within 0.02 to 0.06 (assumption; the paper gives none).

        0.02 is the value of GPT-2 and the released configurations; it suits widths of about 1,000 and more. In a model
        of width 64 it makes embeddings so small that a block's constant output soon hides which token is at a position.
        The dependence on the width is that of Nguyen and Salazar (2019, arXiv 1910.05895).
        """
        return min(0.06, max(0.02, (2 / (5 * self.hidden_size)) ** 0.5))

    @property
    def embedding_parameters(self) -> int:
        """Parameters of the token embedding and of the output head."""
        return self.vocab_size * self.hidden_size * (1 if self.tie_word_embeddings else 2)

    @property
    def body_parameters(self) -> int:
        """Parameters without embedding and output head: L(2d^2 + 2 d kv hd + 3 d ff + 2d) + d."""
        d, key_value = self.hidden_size, self.num_key_value_heads * self.head_dim
        layer = 2 * d * d + 2 * d * key_value + 3 * d * self.intermediate_size + 2 * d
        return self.num_hidden_layers * layer + d

    @property
    def parameters(self) -> int:
        return self.body_parameters + self.embedding_parameters

    def to_json(self) -> dict[str, object]:
        return asdict(self)


@dataclass
class AttentionBlock:
    """Queries [first_query, last_query) attend to keys [first_key, last_key); `bias` masks other documents."""

    first_query: int
    last_query: int
    first_key: int
    last_key: int
    bias: Tensor  # [B or 1, 1, 1, queries, keys], 0 or -inf


def attention_blocks(starts: Tensor, offset: int, queries: int, skip_documents: bool = True) -> list[AttentionBlock]:
    """Splits causal, per-document attention into blocks of queries.

    `starts` is [B or 1, keys]: for each position the index at which its document begins. The queries are the positions
    from `offset` on. A block skips the keys after its end, and with `skip_documents` those before its first document.
    """
    blocks = []
    for first in range(0, queries, QUERY_BLOCK):
        last = min(first + QUERY_BLOCK, queries)
        begin = starts[:, offset + first : offset + last]  # [B, q]
        first_key, last_key = int(begin.min()) if skip_documents else 0, offset + last
        key = torch.arange(first_key, last_key, device=starts.device)
        query = torch.arange(offset + first, last_key, device=starts.device)
        masked = (key > query[:, None]) | (key < begin[:, :, None])  # [B, q, k]
        bias = torch.zeros(masked.shape, device=starts.device).masked_fill_(masked, -math.inf)
        blocks.append(AttentionBlock(first, last, first_key, last_key, bias[:, None, None]))
    return blocks


def blockwise_attention(q: Tensor, k: Tensor, v: Tensor, blocks: list[AttentionBlock]) -> Tensor:
    """Grouped-query attention; q [B, H, Tq, D], k and v [B, K, Tk, D]; returns [B, Tq, H * D].

    The heads of a group are folded into rows, so that keys and values are read once per group, not once per head.
    """
    batch, heads, _, width = q.shape
    key_value_heads = k.shape[1]
    group = heads // key_value_heads
    q = q.view(batch, key_value_heads, group, -1, width) * width**-0.5
    outputs = []
    for block in blocks:
        rows = q[:, :, :, block.first_query : block.last_query]
        count = rows.shape[3]
        keys = k[:, :, block.first_key : block.last_key]
        scores = rows.reshape(batch, key_value_heads, group * count, width) @ keys.transpose(-1, -2)
        scores = scores.view(batch, key_value_heads, group, count, -1) + block.bias
        weights = scores.softmax(-1).view(batch, key_value_heads, group * count, -1)
        output = weights.to(v.dtype) @ v[:, :, block.first_key : block.last_key]
        outputs.append(output.view(batch, heads, count, width))
    out = torch.cat(outputs, dim=2) if len(outputs) > 1 else outputs[0]
    return out.transpose(1, 2).reshape(batch, -1, heads * width)


def rope_cos_sin(
    positions: Tensor, head_dim: int, theta: float, scaling: RopeScaling | None = None
) -> tuple[Tensor, Tensor]:
    """Cosine and sine of RoPE (theta 500,000 in the paper), [B or 1, 1, T, D], for integer positions [B or 1, T]."""
    exponent = torch.arange(0, head_dim, 2, device=positions.device, dtype=torch.float32) / head_dim
    # 1 / theta^e, not theta^-e, as in other implementations: its last bit is 0.01 rad at position 128K.
    frequencies = 1.0 / theta**exponent
    if scaling is not None:
        frequencies = scaling(frequencies)
    angles = positions[..., None].float() * frequencies  # [B, T, D/2]
    angles = torch.cat([angles, angles], dim=-1)[:, None]
    return angles.cos(), angles.sin()


def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Applies RoPE to x [B, heads, T, D], with Hugging Face's pairing of halves."""
    left, right = x.chunk(2, dim=-1)
    return x * cos.to(x.dtype) + torch.cat([-right, left], dim=-1) * sin.to(x.dtype)


class RMSNorm(nn.Module):
    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


class KVCache:
    """Keys and values of one layer for up to `capacity` positions; [B, K, capacity, D] each."""

    def __init__(self, batch: int, capacity: int, config: LlamaConfig, dtype: torch.dtype) -> None:
        shape = (batch, config.num_key_value_heads, capacity, config.head_dim)
        self.keys, self.values = torch.zeros(shape, dtype=dtype), torch.zeros(shape, dtype=dtype)

    def append(self, k: Tensor, v: Tensor, offset: int) -> tuple[Tensor, Tensor]:
        end = offset + k.shape[2]
        self.keys[:, :, offset:end] = k
        self.values[:, :, offset:end] = v
        return self.keys[:, :, :end], self.values[:, :, :end]

    def select_rows(self, rows: Tensor) -> None:
        """Keeps the sequences `rows` only."""
        self.keys, self.values = self.keys[rows], self.values[rows]


@dataclass
class ForwardContext:
    """What the layers of a forward pass share."""

    cos: Tensor
    sin: Tensor
    blocks: list[AttentionBlock]
    offset: int
    caches: list[KVCache] | None
    attention: Callable[[Tensor, Tensor, Tensor, list[AttentionBlock]], Tensor] = blockwise_attention


class Attention(nn.Module):
    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        size, self.head_dim = config.hidden_size, config.head_dim
        self.q_proj = nn.Linear(size, config.num_attention_heads * self.head_dim, bias=False)
        self.k_proj = nn.Linear(size, config.num_key_value_heads * self.head_dim, bias=False)
        self.v_proj = nn.Linear(size, config.num_key_value_heads * self.head_dim, bias=False)
        self.o_proj = nn.Linear(config.num_attention_heads * self.head_dim, size, bias=False)

    def forward(self, x: Tensor, context: ForwardContext, cache: KVCache | None) -> Tensor:
        batch, length, _ = x.shape
        q, k, v = (
            p(x).view(batch, length, -1, self.head_dim).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj)
        )
        q, k = apply_rope(q, context.cos, context.sin), apply_rope(k, context.cos, context.sin)
        if cache is not None:
            k, v = cache.append(k, v, context.offset)
        return self.o_proj(context.attention(q, k, v, context.blocks))


class MLP(nn.Module):
    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class DecoderLayer(nn.Module):
    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, context: ForwardContext, cache: KVCache | None) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), context, cache)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.compiled = False  # set by stages/training/compiled.py: shapes must then not depend on document boundaries

    def forward(
        self, tokens: Tensor, starts: Tensor | None, offset: int = 0, caches: list[KVCache] | None = None
    ) -> Tensor:
        """Tokens [B, T] at positions `offset` and up, `starts` [B, offset + T] -> hidden states [B, T, d]."""
        length = tokens.shape[1]
        positions = torch.arange(offset, offset + length, device=tokens.device)[None]
        if starts is None:
            starts = torch.zeros(1, offset + length, dtype=torch.long, device=tokens.device)
        elif caches is not None:
            # In generation a row's only document begins after its padding; its first position is 0.
            positions = (positions - starts[:, -1:]).clamp_min(0)
        cos, sin = rope_cos_sin(positions, self.config.head_dim, self.config.rope_theta, self.config.rope_scaling)
        context = ForwardContext(cos, sin, attention_blocks(starts, offset, length, not self.compiled), offset, caches)
        x = self.embed_tokens(tokens)
        for index, layer in enumerate(self.layers):
            x = layer(x, context, caches[index] if caches else None)
        return self.norm(x)


class Llama(nn.Module):
    """Decoder with an output head (tied to the embedding if the config says so)."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.config = config
        self.seed = 0
        self.model = Decoder(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

    def forward(self, tokens: Tensor, starts: Tensor | None = None) -> Tensor:
        """Logits [B, T, V] of the tokens that follow tokens [B, T]; `starts` [B, T] as in `attention_blocks`."""
        return self.lm_head(self.model(tokens, starts))

    def init_weights(self, seed: int) -> "Llama":
        """Initialises every parameter that is not on the meta device; the others later, by `init_parameter`."""
        self.seed = seed
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if not parameter.is_meta:
                    parameter.copy_(self.init_parameter(name))
        return self

    def init_parameter(self, name: str) -> Tensor:
        """The initial value of a parameter: ones for norms, else normal with `init_std`, divided by sqrt(2 L) for
        residual outputs (assumption; as GPT-2).

        It depends on seed, name and shape only, so that a rank can initialise its own part of a model.
        """
        shape = self.get_parameter(name).shape
        if len(shape) == 1:
            return torch.ones(shape)
        digest = hashlib.sha256(f"{self.seed}/{name}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7]))
        is_residual_output = name.endswith(("o_proj.weight", "down_proj.weight"))
        scale = (2 * self.config.num_hidden_layers) ** -0.5 if is_residual_output else 1.0
        return torch.normal(0.0, self.config.init_std * scale, shape, generator=generator)


class RewardModel(nn.Module):
    """Decoder with a scalar head; parameters named as in Hugging Face's LlamaForSequenceClassification."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.config = config
        self.model = Decoder(config)
        self.score = nn.Linear(config.hidden_size, 1, bias=False)

    def forward(self, tokens: Tensor, starts: Tensor | None = None) -> Tensor:
        """Reward [B, T] at every position of tokens [B, T]; the one at the last token is the response's."""
        return self.score(self.model(tokens, starts)).squeeze(-1)


def document_starts(tokens: Tensor, begin_of_text: int) -> Tensor:
    """For each position of tokens [B, T] the index of the last <|begin_of_text|> at or before it (0 if none)."""
    index = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
    return torch.where(tokens == begin_of_text, index, 0).cummax(dim=1).values
