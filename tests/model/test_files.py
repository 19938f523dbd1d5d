import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
import transformers
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from stages.interface import StageError
from stages.model.files import context_length, is_chat, load_config, load_model, save_model
from stages.model.llama import KVCache, Llama, LlamaConfig, RewardModel, RopeScaling, rope_cos_sin
from tests.fixtures import VOCAB_SIZE, World, contents, shape, sharp

SHAPES = [
    {"tie_word_embeddings": True},
    {"tie_word_embeddings": False},
    {"tie_word_embeddings": False, "num_key_value_heads": 4},
    {"tie_word_embeddings": True, "num_key_value_heads": 1, "rope_theta": 10_000.0, "rms_norm_eps": 1e-6},
    # Of the four frequencies one stays, one is interpolated, two are slowed.
    {"rope_theta": 10_000.0, "rope_scaling": RopeScaling(original_max_position_embeddings=128)},
]


def rope_parameters(config: LlamaConfig) -> dict:
    """As transformers takes them."""
    if config.rope_scaling is None:
        return {"rope_type": "default", "rope_theta": config.rope_theta}
    return {"rope_type": "llama3", "rope_theta": config.rope_theta} | asdict(config.rope_scaling)


@torch.no_grad()
def with_cache(model: Llama, tokens: torch.Tensor, pieces: list[int]) -> torch.Tensor:
    """The logits of tokens [B, T] when they come in pieces."""
    caches = [KVCache(len(tokens), tokens.shape[1], model.config, torch.float32) for _ in model.model.layers]
    found, offset = [], 0
    for piece in tokens.split(pieces, dim=1):
        starts = torch.zeros(len(tokens), offset + piece.shape[1], dtype=torch.long)
        found.append(model.lm_head(model.model(piece, starts, offset, caches)))
        offset += piece.shape[1]
    return torch.cat(found, dim=1)


def some_tokens(length: int = 100) -> torch.Tensor:
    return torch.randint(0, VOCAB_SIZE - 8, (2, length), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("changes", SHAPES)
@torch.no_grad()
def test_transformers_opens_our_directory_and_gives_the_same_logits(
    changes: dict, world: World, tmp_path: Path
) -> None:
    model = sharp(Llama(shape(**changes)).init_weights(1))
    save_model(model, tmp_path, world.tokenizer, 128)
    theirs, report = transformers.LlamaForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert theirs.dtype == torch.float32
    assert sum(p.numel() for p in theirs.parameters()) == model.config.parameters
    assert theirs.config.rope_parameters == rope_parameters(model.config)
    tokens = some_tokens()
    expected = theirs(tokens).logits
    assert torch.allclose(model(tokens), expected, atol=1e-5, rtol=1e-5)
    pieces, cache, offset = [70, 1, 1, 5, 23], transformers.DynamicCache(), 0
    assert torch.allclose(with_cache(model, tokens, pieces), expected, atol=1e-5, rtol=1e-5)
    for piece in tokens.split(pieces, dim=1):  # theirs with a cache too
        given = theirs(piece, past_key_values=cache, use_cache=True).logits
        assert torch.allclose(model(tokens)[:, offset : offset + piece.shape[1]], given, atol=1e-5, rtol=1e-5)
        offset += piece.shape[1]
    assert isinstance(transformers.AutoModelForCausalLM.from_pretrained(tmp_path), transformers.LlamaForCausalLM)


@torch.no_grad()
def test_sharded_weight_files_are_loaded(world: World, tmp_path: Path) -> None:
    """As transformers saves a large one."""
    model = sharp(Llama(shape(tie_word_embeddings=False)).init_weights(1))
    save_model(model, tmp_path / "one", world.tokenizer, 128)
    theirs = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "one")
    theirs.save_pretrained(tmp_path / "many", max_shard_size="20KB")
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 2
    assert torch.equal(load_model(tmp_path / "many")(some_tokens()), model(some_tokens()))
    next((tmp_path / "many").glob("*-00002-*")).unlink()
    with pytest.raises(StageError, match=r"model-00002-of-\d+\.safetensors is damaged"):
        load_model(tmp_path / "many")


@pytest.mark.parametrize(
    "changes",
    [
        {"num_key_value_heads": None},
        {"rms_norm_eps": None},
        {"rope_parameters": None, "rope_theta": 123.0},
        {"rope_parameters": None},
        {"rope_theta": 123.0},
        {"max_position_embeddings": None},
    ],
)
def test_missing_config_values_have_transformers_defaults(changes: dict, world: World, tmp_path: Path) -> None:
    save_model(Llama(shape(num_key_value_heads=4)).init_weights(1), tmp_path, world.tokenizer, 128)
    values = json.loads((tmp_path / "config.json").read_text()) | changes
    (tmp_path / "config.json").write_text(json.dumps({k: value for k, value in values.items() if value is not None}))
    ours, theirs = load_config(tmp_path), transformers.AutoConfig.from_pretrained(tmp_path)
    for name in ("num_key_value_heads", "rms_norm_eps", "hidden_size", "tie_word_embeddings"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert ours.rope_theta == theirs.rope_parameters["rope_theta"]
    assert context_length(tmp_path) == theirs.max_position_embeddings


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", "{", "config.json is not JSON"),
        ("config.json", "{}", "config.json: missing .* 'vocab_size'"),
        ("config.json", None, "is no model directory: it has no config.json"),
        ("model.safetensors", "torn", "model.safetensors is damaged"),
        ("model.safetensors", None, "model.safetensors is damaged"),
    ],
)
def test_a_damaged_directory_is_refused(
    file: str, content: str | None, message: str, world: World, tmp_path: Path
) -> None:
    save_model(Llama(shape()).init_weights(1), tmp_path, world.tokenizer, 128)
    (tmp_path / file).unlink()
    if content is not None:
        (tmp_path / file).write_text(content)
    with pytest.raises(StageError, match=message):
        load_model(tmp_path)


@pytest.mark.parametrize("changes", SHAPES)
@torch.no_grad()
def test_a_transformers_llama_gives_the_same_logits(changes: dict, tmp_path: Path) -> None:
    config = shape(**changes)
    values = {name: value for name, value in config.to_json().items() if not name.startswith("rope")}
    torch.manual_seed(2)
    config = transformers.LlamaConfig(**values, rope_parameters=rope_parameters(config), max_position_embeddings=128)
    theirs = sharp(transformers.LlamaForCausalLM(config))
    theirs.save_pretrained(tmp_path)
    ours = load_model(tmp_path).eval()
    assert load_config(tmp_path) == shape(**changes)
    expected = theirs(some_tokens()).logits
    assert torch.allclose(ours(some_tokens()), expected, atol=1e-5, rtol=1e-5)
    assert torch.allclose(with_cache(ours, some_tokens(), [3, 90, 7]), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("scaling", [None, RopeScaling()])
@torch.no_grad()
def test_rope_matches_transformers_at_large_positions(scaling: RopeScaling | None) -> None:
    """8B's heads, at positions up to 128K; with Llama 3.1's own scaling."""
    ours = LlamaConfig(128_256, 4096, 32, 32, 8, 14_336, rope_scaling=scaling)
    config = transformers.LlamaConfig(
        hidden_size=4096, num_attention_heads=32, rope_parameters=rope_parameters(ours), max_position_embeddings=131_072
    )
    positions = torch.tensor([[0, 1, 8191, 8192, 131_071]])
    cos, sin = LlamaRotaryEmbedding(config)(torch.zeros(1), positions)
    found = rope_cos_sin(positions, ours.head_dim, ours.rope_theta, scaling)
    assert torch.equal(found[0][:, 0], cos) and torch.equal(found[1][:, 0], sin)


def test_rope_scaling_divides_low_frequencies_only() -> None:
    frequencies = 2 * torch.pi / torch.tensor([100.0, 2047.0, 2049.0, 4096.0, 8191.0, 8193.0, 1e6])
    slower = frequencies / RopeScaling()(frequencies)
    assert slower[:2].tolist() == [1, 1] and slower[-2:].tolist() == [8, 8]
    assert slower[2] < 1.01 and slower[3] == pytest.approx(1 / (2 / 3 / 8 + 1 / 3)) and 7.9 < slower[4] < 8
    with pytest.raises(ValueError, match="high_freq_factor above"):
        RopeScaling(high_freq_factor=1.0)


@torch.no_grad()
def test_transformers_opens_a_reward_model_with_the_same_score(world: World, tmp_path: Path) -> None:
    chat = world.chat
    model = sharp(RewardModel(shape()))
    torch.nn.init.normal_(model.score.weight, generator=torch.Generator().manual_seed(3))
    save_model(model, tmp_path, world.tokenizer, 128)
    theirs, report = transformers.LlamaForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    rows = [chat.encode_text("the cat sat"), chat.encode_text("a mat")]
    longest = max(map(len, rows))
    tokens = torch.tensor([row + [chat.pad] * (longest - len(row)) for row in rows])
    ours = torch.stack([model(tokens)[number, len(row) - 1] for number, row in enumerate(rows)])
    scores = theirs(tokens, attention_mask=(tokens != chat.pad).long()).logits[:, 0]
    assert torch.allclose(ours, scores, atol=1e-5, rtol=1e-5)
    again = load_model(tmp_path, RewardModel)
    assert torch.equal(again.score.weight, model.score.weight)


def test_a_reward_model_starts_from_the_pretrained_model_with_a_zero_head(world: World) -> None:
    base, reward = load_model(world.model), load_model(world.model, RewardModel)
    assert torch.equal(base.model.embed_tokens.weight, reward.model.embed_tokens.weight)
    assert not reward.score.weight.any()


def test_a_saved_model_has_the_same_bytes_each_time_and_loads_to_the_same_weights(world: World, tmp_path: Path) -> None:
    model = Llama(shape(tie_word_embeddings=False)).init_weights(4)
    for name in ("a", "b"):
        save_model(model, tmp_path / name, world.tokenizer, 77)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    again = load_model(tmp_path / "a").state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in model.state_dict().items())
    assert context_length(tmp_path / "a") == 77


def test_only_a_chat_model_has_the_template(world: World, tmp_path: Path) -> None:
    save_model(Llama(shape()), tmp_path / "chat", world.tokenizer, 64, chat=True)
    save_model(Llama(shape()), tmp_path / "base", tmp_path / "chat", 64)  # a base model made from its files is none
    assert is_chat(tmp_path / "chat") and not is_chat(tmp_path / "base")


def test_unsupported_configs_are_refused(world: World, tmp_path: Path) -> None:
    with pytest.raises(StageError, match="no model directory"):
        load_model(tmp_path)
    save_model(Llama(shape()), tmp_path, world.tokenizer, 64)
    config = json.loads((tmp_path / "config.json").read_text())
    yarn = {"rope_type": "yarn", "rope_theta": 500_000.0, "factor": 8.0}
    lacking = yarn | {"rope_type": "llama3"}
    others = (
        {"rope_parameters": yarn},
        {"rope_parameters": lacking},
        {"hidden_act": "gelu"},
        {"model_type": "mixtral"},
    )
    for wrong in others:
        (tmp_path / "config.json").write_text(json.dumps(config | wrong))
        with pytest.raises(StageError, match=next(iter(wrong))):
            load_model(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with pytest.raises(StageError, match="do not fit"):
        load_model(tmp_path)
