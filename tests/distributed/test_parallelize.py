"""What a rank holds of a model that no rank could hold whole."""

import ctypes
from pathlib import Path

import pytest
import torch

from stages.distributed.layout import Layout
from stages.distributed.parallel_strategy import ParallelStrategy
from stages.distributed.parallelize import ModelParts
from stages.infrastructure.sharded_memory import fake_process_group
from stages.model import files
from stages.model.files import load_model, save_model
from stages.model.llama import Llama
from tests.fixtures import World, settings, shape

BIG = shape(
    hidden_size=512,
    intermediate_size=2048,
    num_hidden_layers=8,
    num_attention_heads=8,
    vocab_size=4096,
    tie_word_embeddings=False,
)
LAYOUT = Layout(tp=2, pp=2, dp=2, virtual_stages=2)


def held() -> int:
    """Bytes of this process that no file backs, without what the allocator keeps of freed ones."""
    ctypes.CDLL(None).malloc_trim(0)
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon")]
    return 1024 * int(line.split()[1])


@pytest.mark.parametrize("source", ["drawn", "loaded"])
def test_a_rank_holds_at_most_its_parts_and_one_parameter(
    source: str, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MMAP_BYTES", 0)
    whole = Llama(BIG).init_weights(1)
    save_model(whole, tmp_path, world.tokenizer, 32)
    size, largest = (4 * f(p.numel() for p in whole.parameters()) for f in (sum, max))
    first = whole.model.layers[0].mlp.up_proj.weight.detach().clone()
    del whole
    with fake_process_group(LAYOUT.world_size, 0):
        strategy = ParallelStrategy(LAYOUT)
        before = held()
        if source == "loaded":
            model = load_model(tmp_path)
        else:
            with strategy.init_device:
                model = Llama(BIG).init_weights(1)
        parts = strategy.shard_model(model, settings())
        grown = held() - before
        assert isinstance(parts, ModelParts)
        (mine,) = [p for name, p in parts.named_parameters() if name == "model.layers.0.mlp.up_proj.weight"]
        assert torch.equal(mine.to_local(), first[:512])  # of 2,048 rows tp takes half, dp half of that
    assert size > 100e6 and grown < size / LAYOUT.world_size + 4 * largest
