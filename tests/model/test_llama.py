import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from stages.model.llama import QUERY_BLOCK, Llama, LlamaConfig, attention_blocks, blockwise_attention, document_starts
from stages.training.language_modelling import held_out_losses, next_token_loss
from stages.training.loader import IGNORE_INDEX, TokenBatch
from stages.training.parameters import autocast as loop_precision
from tests.fixtures import VOCAB_SIZE, settings, shape, sharp

HERD = {
    8_030_261_248: LlamaConfig(128_256, 4096, 32, 32, 8, 14_336),
    70_553_706_496: LlamaConfig(128_256, 8192, 80, 64, 8, 28_672),
    405_853_388_800: LlamaConfig(128_256, 16_384, 126, 128, 8, 53_248),
}
BEGIN = VOCAB_SIZE - 8
LENGTH = 2 * QUERY_BLOCK + 21


def packed(seed: int, boundary: int) -> Tensor:
    """Two rows of two documents each, the second from `boundary` on."""
    tokens = torch.randint(0, BEGIN, (2, LENGTH), generator=torch.Generator().manual_seed(seed))
    tokens[:, 0] = tokens[:, boundary] = BEGIN
    return tokens


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("boundary", [QUERY_BLOCK, QUERY_BLOCK + 17])
def test_document_1_changes_no_logit_of_document_2(dtype: torch.dtype, boundary: int) -> None:
    model = sharp(Llama(shape()).init_weights(1))
    tokens = packed(1, boundary)
    other = tokens.clone()
    other[:, 1:boundary] = (tokens[:, 1:boundary] + 1) % BEGIN
    starts = document_starts(tokens, BEGIN)

    def logits(tokens: Tensor, starts: Tensor | None) -> Tensor:
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            return model(tokens, starts)

    before, after = logits(tokens, starts), logits(other, starts)
    assert torch.equal(before[:, boundary:], after[:, boundary:])
    assert not torch.equal(before[:, :boundary], after[:, :boundary])
    assert not torch.equal(logits(tokens, None)[:, boundary:], logits(other, None)[:, boundary:])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_document_1_changes_no_gradient_or_loss_of_document_2(precision: str) -> None:
    """Loss and gradients of training, and the held-out loss, of windows whose targets lie in document 2."""
    boundary, training = QUERY_BLOCK + 17, settings(precision=precision)
    tokens = packed(4, boundary)
    other = tokens.clone()
    other[:, 1:boundary] = (tokens[:, 1:boundary] + 1) % BEGIN
    targets = tokens.roll(-1, dims=1)
    targets[:, :boundary] = targets[:, -1] = IGNORE_INDEX

    def learnt(tokens: Tensor, masked: bool = True) -> list[Tensor]:
        """Training loss and gradients, held-out losses. The embedding's gradient adds up what each position gives."""
        model = sharp(Llama(shape(tie_word_embeddings=False)).init_weights(1)).train()
        batch = TokenBatch(tokens, targets, document_starts(tokens, BEGIN) if masked else None)
        with loop_precision(training):
            loss, _ = next_token_loss(model, batch)
        loss.backward()
        (held_out,) = held_out_losses(model, [OneBatch(batch)], len(tokens), training)
        return [loss.detach(), torch.from_numpy(held_out), *(p.grad for p in model.parameters() if p.grad is not None)]

    for before, after in zip(learnt(tokens), learnt(other), strict=True):
        assert torch.equal(before, after)
    unmasked = zip(learnt(tokens, False), learnt(other, False), strict=True)
    assert not any(torch.equal(before, after) for before, after in unmasked)


class OneBatch:
    """A mixture that holds one batch."""

    def __init__(self, batch: TokenBatch) -> None:
        self._batch = batch

    def count_distinct(self, samples: int) -> int:
        return samples

    def batch(self, first: int, count: int) -> TokenBatch:
        return self._batch


def test_a_packed_document_has_the_logits_it_has_alone() -> None:
    model = sharp(Llama(shape()).init_weights(2))
    tokens = packed(2, 70)
    with torch.no_grad():
        together = model(tokens, document_starts(tokens, BEGIN))[:, 70:]
        alone = model(tokens[:, 70:])
    assert torch.allclose(together, alone, atol=1e-4)


def test_attention_is_causal() -> None:
    model = sharp(Llama(shape()).init_weights(3))
    tokens = packed(3, 90)
    other = tokens.clone()
    other[:, 75] = (tokens[:, 75] + 1) % BEGIN
    with torch.no_grad():
        before, after = model(tokens), model(other)
    assert torch.equal(before[:, :75], after[:, :75]) and not torch.equal(before[:, 75:], after[:, 75:])


@pytest.mark.parametrize("offset", [0, 100])
@pytest.mark.parametrize("heads", [(4, 2), (4, 4), (6, 1)])
def test_blockwise_attention_equals_masked_attention(heads: tuple[int, int], offset: int) -> None:
    generator = torch.Generator().manual_seed(4)
    queries, keys, width = LENGTH, LENGTH + offset, 8
    q = torch.randn(3, heads[0], queries, width, generator=generator)
    k, v = (torch.randn(3, heads[1], keys, width, generator=generator) for _ in range(2))
    starts = document_starts((torch.rand(3, keys, generator=generator) < 0.03).long(), 1)
    position = torch.arange(keys)
    query = position[offset:, None]
    visible = (position <= query) & (position >= starts[:, offset:, None])
    expected = F.scaled_dot_product_attention(q, k, v, visible[:, None], enable_gqa=True)
    found = blockwise_attention(q, k, v, attention_blocks(starts, offset, queries))
    assert torch.allclose(found, expected.transpose(1, 2).flatten(2), atol=1e-5)


def test_document_starts_on_a_worked_example() -> None:
    tokens = torch.tensor([[5, 6, 9, 7, 9, 9, 8]])
    assert document_starts(tokens, 9).tolist() == [[0, 0, 2, 2, 4, 5, 5]]


@pytest.mark.parametrize(("parameters", "config"), HERD.items())
def test_the_papers_models_have_their_exact_number_of_parameters(parameters: int, config: LlamaConfig) -> None:
    assert config.parameters == parameters
    with torch.device("meta"):
        model = Llama(config)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


@pytest.mark.parametrize("tied", [True, False])
def test_counted_parameters_are_those_of_the_model(tied: bool) -> None:
    config = shape(tie_word_embeddings=tied)
    model = Llama(config)
    assert sum(parameter.numel() for parameter in model.parameters()) == config.parameters
    assert sum(parameter.numel() for parameter in model.model.layers.parameters()) == config.body_parameters - 32
    assert (model.lm_head.weight is model.model.embed_tokens.weight) == tied


def test_weights_depend_on_the_seed_and_not_on_the_global_generator() -> None:
    torch.manual_seed(0)
    model = Llama(shape())
    state = torch.get_rng_state()
    first = model.init_weights(5).state_dict()
    assert torch.equal(state, torch.get_rng_state())
    again, other = Llama(shape()).init_weights(5).state_dict(), Llama(shape()).init_weights(6).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["model.embed_tokens.weight"], other["model.embed_tokens.weight"])


@pytest.mark.parametrize(("width", "deviation"), [(64, 0.06), (768, 0.0228), (4096, 0.02), (16384, 0.02)])
def test_initial_weights_are_larger_in_narrow_models(width: int, deviation: float) -> None:
    assert shape(hidden_size=width).init_std == pytest.approx(deviation, abs=1e-4)


def test_initial_weights_have_init_std_and_residual_outputs_a_smaller_one() -> None:
    config = shape(hidden_size=192)
    weights = Llama(config).init_weights(1).state_dict()
    assert weights["model.embed_tokens.weight"].std().item() == pytest.approx(config.init_std, rel=0.05)
    residual = config.init_std / (2 * config.num_hidden_layers) ** 0.5
    assert weights["model.layers.0.mlp.down_proj.weight"].std().item() == pytest.approx(residual, rel=0.05)


def test_impossible_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="multiple"):
        shape(num_key_value_heads=3)
    with pytest.raises(ValueError, match="even width"):
        shape(hidden_size=36, num_attention_heads=12, num_key_value_heads=2)
