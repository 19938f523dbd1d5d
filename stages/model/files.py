"""Model directories in Hugging Face's layout: config.json, model.safetensors and the tokenizer's files."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch import distributed as dist

from stages.interface import StageError
from stages.model.llama import Llama, LlamaConfig, RewardModel, RopeScaling
from stages.tokenizer.chat import CHAT_TEMPLATE

MMAP_BYTES = 4 << 30
"""Weights of this size or more are mapped into memory instead of copied, so that the ranks of a node share them."""
M = TypeVar("M", Llama, RewardModel)
Shapes = Mapping[str, torch.Size]
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
"""Names the weight files of a large model."""
ARCHITECTURES = {Llama: "LlamaForCausalLM", RewardModel: "LlamaForSequenceClassification"}


def model_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """The state dict without a tied head, which is stored as the embedding."""
    config: LlamaConfig = model.config  # type: ignore[assignment]
    skip = {"lm_head.weight"} if config.tie_word_embeddings else set()
    return {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items() if name not in skip}


def save_model(
    model: Llama | RewardModel, directory: Path, tokenizer: Path, context_length: int, chat: bool = False
) -> None:
    """Writes `model` to `directory` in the format of transformers, vLLM and lm-eval.

    `tokenizer` is a directory with the tokenizer's files; `context_length` the longest sequence trained, in tokens.
    Only a `chat` model gets a chat template. In a process group only the first rank writes.
    """
    if dist.is_initialized() and dist.get_rank():
        return
    directory.mkdir(parents=True, exist_ok=True)
    ids = load_special_token_ids(tokenizer)
    config = model.config.to_json()
    config.pop("rope_scaling")
    scaling = model.config.rope_scaling
    rope: dict[str, object] = {
        "rope_type": "llama3" if scaling else "default",
        "rope_theta": model.config.rope_theta,
        **(asdict(scaling) if scaling else {}),
    }
    config |= {
        "architectures": [ARCHITECTURES[type(model)]],
        "model_type": "llama",
        "hidden_act": "silu",
        "max_position_embeddings": context_length,
        "rope_parameters": rope,
        "attention_bias": False,
        "mlp_bias": False,
        "torch_dtype": "float32",
        "bos_token_id": ids["<|begin_of_text|>"],
        "eos_token_id": [ids["<|end_of_text|>"], ids["<|eot_id|>"]],
        "pad_token_id": ids["<|finetune_right_pad_id|>"],
    }
    if isinstance(model, RewardModel):
        config["num_labels"] = 1
    (directory / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    save_file(model_state_dict(model), directory / WEIGHTS, metadata={"format": "pt"})
    shutil.copyfile(tokenizer / "tokenizer.json", directory / "tokenizer.json")
    settings = json.loads((tokenizer / "tokenizer_config.json").read_text())
    settings.pop("chat_template", None)
    settings |= {"chat_template": CHAT_TEMPLATE} if chat else {}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings, indent=1, sort_keys=True) + "\n")


def is_chat(directory: Path) -> bool:
    """Whether the model in `directory` was tuned to chat."""
    return "chat_template" in json.loads((directory / "tokenizer_config.json").read_text())


def load_config(directory: Path) -> LlamaConfig:
    """Reads the model's configuration; raises StageError if there is none, or if it is another architecture."""
    path = directory / "config.json"
    values = _read_config(directory)
    rope = values.get("rope_parameters") or values.get("rope_scaling") or {}
    kind = rope.get("rope_type", rope.get("type", "default"))
    other = {
        "model_type": values.get("model_type", "llama") != "llama",
        "hidden_act": values.get("hidden_act", "silu") != "silu",
        "rope_parameters": kind not in ("default", "llama3"),
    }
    unsupported = [f"{name} {values.get(name, rope)!r}" for name, differs in other.items() if differs]
    if unsupported:
        raise StageError(f"{path}: this model does not compute {', '.join(unsupported)}; use a plain Llama")
    # Missing values have transformers' defaults.
    values["rope_theta"] = rope.get("rope_theta", values.get("rope_theta", 10_000.0))
    values.setdefault("rms_norm_eps", 1e-6)
    values.setdefault("num_key_value_heads", values.get("num_attention_heads"))
    fields = RopeScaling.__dataclass_fields__
    # Released configs give the original context here; a missing key must not fall back to the default.
    missing = [name for name in fields if kind == "llama3" and name not in rope]
    if missing:
        raise StageError(f"{path}: rope_parameters of rope_type llama3 lacks {', '.join(missing)}")
    values["rope_scaling"] = {name: rope[name] for name in fields} if kind == "llama3" else None
    try:
        return LlamaConfig(**{field: values[field] for field in LlamaConfig.__dataclass_fields__ if field in values})
    except (TypeError, ValueError) as error:
        raise StageError(f"{path}: {str(error).removeprefix('LlamaConfig.__init__() ')}") from None


def _read_config(directory: Path) -> dict[str, Any]:
    path = directory / "config.json"
    try:
        values: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        raise StageError(f"{directory} is no model directory: it has no config.json") from None
    except ValueError as error:
        raise StageError(f"{path} is not JSON: {error}") from None
    return values


def context_length(directory: Path) -> int:
    """The longest sequence, in tokens, that the model was trained on."""
    return int(_read_config(directory).get("max_position_embeddings", 2048))


def load_model(directory: Path, kind: type[M] = Llama) -> M:  # type: ignore[assignment]
    """Loads a model in float32. A RewardModel loaded from a Llama's directory has a head of zeros.

    Raises StageError if the weights are damaged or do not fit the config.
    """
    with torch.device("meta"):
        model = kind(load_config(directory))
    paths = _weight_files(directory)
    path = paths[0] if len(paths) == 1 else directory / INDEX
    stored: dict[str, Tensor] = {}
    for part in paths:
        try:
            stored |= load_file(part)
        except (OSError, SafetensorError) as error:
            raise StageError(f"{part} is damaged: {error}; make or fetch it again") from None
    use_mmap = sum(part.stat().st_size for part in paths) >= MMAP_BYTES
    state = {name: tensor.to(torch.float32, copy=not use_mmap) for name, tensor in stored.items()}
    shapes: Shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    if isinstance(model, RewardModel):
        state.setdefault("score.weight", torch.zeros(shapes["score.weight"]))
    if isinstance(model, RewardModel) or model.config.tie_word_embeddings:
        state.pop("lm_head.weight", None)
    stored_shapes: Shapes = {name: tensor.shape for name, tensor in state.items()}
    wrong = sorted(name for name in {*stored_shapes, *shapes} if stored_shapes.get(name) != shapes.get(name))
    if wrong:
        first = ", ".join(f"{name} is {stored_shapes.get(name)} and should be {shapes.get(name)}" for name in wrong[:3])
        raise StageError(f"{path}: {len(wrong)} weights do not fit the config: {first}")
    set_parameters(model, state)
    return model


def _weight_files(directory: Path) -> list[Path]:
    """The weight files of a model; raises StageError if the index of several is damaged."""
    index = directory / INDEX
    if (directory / WEIGHTS).exists() or not index.exists():
        return [directory / WEIGHTS]
    try:
        return [directory / name for name in sorted(set(json.loads(index.read_text())["weight_map"].values()))]
    except (ValueError, KeyError, AttributeError) as error:
        raise StageError(f"{index} is no index of weights ({error!r}); make or fetch it again") from None


def set_parameters(model: Llama | RewardModel, tensors: Mapping[str, Tensor]) -> None:
    """Sets parameters by name without copying the tensors; a tied head is the embedding."""
    for name, tensor in tensors.items():
        module, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(module), leaf, nn.Parameter(tensor))
    if isinstance(model, Llama) and model.config.tie_word_embeddings:
        model.lm_head.weight = model.model.embed_tokens.weight


def load_special_token_ids(directory: Path) -> dict[str, int]:
    """Id of each special token of the tokenizer in `directory`."""
    tokens = json.loads((directory / "tokenizer.json").read_text())["added_tokens"]
    return {token["content"]: token["id"] for token in tokens}
