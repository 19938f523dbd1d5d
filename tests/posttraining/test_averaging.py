"""Variants of a model are trained and averaged."""

from pathlib import Path

import torch

from stages.model.files import load_model
from stages.posttraining import sft
from stages.posttraining.averaging import train_variants
from stages.posttraining.sequences import pad, tokenize_dialog
from tests.fixtures import World, examples, settings, tuning
from tests.recorder import Recorder


def test_variants_are_averaged(world: World, tmp_path: Path) -> None:
    chat = world.chat
    rows = pad([tokenize_dialog(chat, e.prompt, e.answer) for e in examples(8)], chat.pad)

    class Same:
        fingerprint, few_shapes = "same", False

        def __call__(self, step: int) -> list[object]:
            return [rows]

    def trained(rates: list[float]) -> dict[str, torch.Tensor]:
        model, histories = train_variants(
            load_model(world.model),
            [Same()] * len(rates),
            sft.response_loss,
            tuning(rates=rates),
            settings(),
            Recorder(tmp_path / str(rates)),
            "test",
        )
        assert len(histories) == len(rates)
        return dict(model.named_parameters())

    both, first, second = trained([1e-2, 2e-3]), trained([1e-2]), trained([2e-3])
    for name, value in both.items():
        assert torch.allclose(value, (first[name] + second[name]) / 2, atol=1e-6)
    assert not torch.equal(first["model.norm.weight"], second["model.norm.weight"])
