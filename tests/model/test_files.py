import json
from pathlib import Path

import pytest
import torch
import transformers

from stages.interface import StageError
from stages.model.files import context_length, is_chat, load_config, load_model, save_model
from stages.model.llama import Llama, RewardModel
from tests.fixtures import VOCAB_SIZE, World, contents, shape, sharp

SHAPES = [
    {"tie_word_embeddings": True},
    {"tie_word_embeddings": False},
    {"tie_word_embeddings": False, "num_key_value_heads": 4},
    {"tie_word_embeddings": True, "num_key_value_heads": 1, "rope_theta": 10_000.0, "rms_norm_eps": 1e-6},
]


def some_tokens(length: int = 100) -> torch.Tensor:
    return torch.randint(0, VOCAB_SIZE - 8, (2, length), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("changes", SHAPES)
@torch.no_grad()
def test_transformers_opens_our_directory_and_gives_the_same_logits(
    changes: dict, world: World, tmp_path: Path
) -> None:
    model = sharp(Llama(shape(**changes)).initialise(1))
    save_model(model, tmp_path, world.tokenizer, 128)
    theirs, report = transformers.LlamaForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert theirs.dtype == torch.float32
    assert sum(p.numel() for p in theirs.parameters()) == model.config.parameters
    assert torch.allclose(model(some_tokens()), theirs(some_tokens()).logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("changes", SHAPES)
@torch.no_grad()
def test_a_llama_of_transformers_gives_the_same_logits_here(changes: dict, tmp_path: Path) -> None:
    values = shape(**changes).to_json()
    theta = values.pop("rope_theta")
    torch.manual_seed(2)
    parameters = {"rope_type": "default", "rope_theta": theta}
    config = transformers.LlamaConfig(**values, rope_parameters=parameters, max_position_embeddings=128)
    theirs = sharp(transformers.LlamaForCausalLM(config))
    theirs.save_pretrained(tmp_path)
    ours = load_model(tmp_path).eval()
    assert load_config(tmp_path) == shape(**changes)
    assert torch.allclose(ours(some_tokens()), theirs(some_tokens()).logits, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_positions_turn_as_in_transformers_even_far_out() -> None:
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    from stages.model.llama import rope

    config = transformers.LlamaConfig(
        hidden_size=512, num_attention_heads=4, rope_parameters={"rope_type": "default", "rope_theta": 500_000.0}
    )
    positions = torch.tensor([[0, 1, 8191, 131_071]])
    cos, sin = LlamaRotaryEmbedding(config)(torch.zeros(1), positions)
    ours = rope(positions, 128, 500_000.0)
    assert torch.equal(ours[0][:, 0], cos) and torch.equal(ours[1][:, 0], sin)


@torch.no_grad()
def test_a_reward_model_opens_with_the_same_score(world: World, tmp_path: Path) -> None:
    chat = world.chat
    model = sharp(RewardModel(shape()))
    torch.nn.init.normal_(model.score.weight, generator=torch.Generator().manual_seed(3))
    save_model(model, tmp_path, world.tokenizer, 128)
    theirs, report = transformers.LlamaForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    rows = [chat.plain("the cat sat"), chat.plain("a mat")]
    longest = max(map(len, rows))
    tokens = torch.tensor([row + [chat.pad] * (longest - len(row)) for row in rows])
    ours = torch.stack([model(tokens)[number, len(row) - 1] for number, row in enumerate(rows)])
    scores = theirs(tokens, attention_mask=(tokens != chat.pad).long()).logits[:, 0]
    assert torch.allclose(ours, scores, atol=1e-5, rtol=1e-5)
    again = load_model(tmp_path, RewardModel)
    assert torch.equal(again.score.weight, model.score.weight)


def test_a_reward_model_begins_as_the_pretrained_model_with_a_silent_head(world: World) -> None:
    base, reward = load_model(world.model), load_model(world.model, RewardModel)
    assert torch.equal(base.model.embed_tokens.weight, reward.model.embed_tokens.weight)
    assert not reward.score.weight.any()


def test_a_directory_is_the_same_bytes_each_time_and_loads_to_the_same_weights(world: World, tmp_path: Path) -> None:
    model = Llama(shape(tie_word_embeddings=False)).initialise(4)
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


def test_what_this_model_cannot_compute_is_refused(world: World, tmp_path: Path) -> None:
    with pytest.raises(StageError, match="no model directory"):
        load_model(tmp_path)
    save_model(Llama(shape()), tmp_path, world.tokenizer, 64)
    config = json.loads((tmp_path / "config.json").read_text())
    scaling = {"rope_type": "llama3", "rope_theta": 500_000.0, "factor": 8.0}
    for wrong in ({"rope_parameters": scaling}, {"hidden_act": "gelu"}, {"model_type": "mixtral"}):
        (tmp_path / "config.json").write_text(json.dumps(config | wrong))
        with pytest.raises(StageError, match=next(iter(wrong))):
            load_model(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with pytest.raises(StageError, match="do not fit"):
        load_model(tmp_path)
