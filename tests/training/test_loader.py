import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from stages.interface import StageError
from stages.training.language_modelling import MixtureBatches, held_out_losses, validation_mixture
from stages.training.loader import IGNORE_INDEX, Mixture, TokenShards, make_batch
from tests.fixtures import MIX, World, settings

SHARES = MIX.shares()


def mixture(world: World, seed: int = 1, length: int = 32, shares: dict[str, float] = SHARES) -> Mixture:
    return Mixture(world.shards, "train", shares, length, seed)


def test_a_sample_does_not_depend_on_the_batch_it_is_in(world: World) -> None:
    data = mixture(world)
    alone = [data.batch(sample, 1) for sample in range(24)]
    for size in (2, 3, 8, 24):
        for first in range(0, 24, size):
            batch = data.batch(first, size)
            for row in range(size):
                for name in ("tokens", "targets", "starts"):
                    assert torch.equal(getattr(batch, name)[row], getattr(alone[first + row], name)[0])


def test_micro_batches_are_the_batch_in_its_order(world: World) -> None:
    data = mixture(world)
    whole = MixtureBatches(data, 7, 1_000_000)
    for micro_tokens in (1, 32, 64, 100):
        cut = MixtureBatches(data, 7, micro_tokens)
        for step in range(3):
            pieces = cut(step)
            assert len(pieces) == -(-7 // max(1, micro_tokens // 32))
            assert torch.equal(torch.cat([piece.tokens for piece in pieces]), whole(step)[0].tokens)
            assert sum(piece.weight for piece in pieces) == whole(step)[0].weight
        assert cut.fingerprint == whole.fingerprint


@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 5, 7, 12])
def test_the_ranks_batches_together_are_the_single_process_batch(world: World, world_size: int) -> None:
    """Rank r of R takes the samples r, r + R, ... of a step, in micro-batches of its own; the state fits any R."""
    whole = MixtureBatches(mixture(world), 12, 1_000_000)
    for micro_tokens, parts in ((32, 1), (32, 2), (64, 1), (1_000_000, 1)):
        cut = replace(whole, micro_tokens=micro_tokens)
        ranks = [cut.for_rank(rank, world_size, parts) for rank in range(world_size)]
        assert {rank.fingerprint for rank in ranks} == {whole.fingerprint}
        for step in range(3):
            (batch,) = whole(step)
            pieces = [rank(step) for rank in ranks]
            assert len({len(piece) for piece in pieces}) == 1  # no rank waits for another's collective
            most = max(1, parts * micro_tokens // 32)
            assert all(len(micro.tokens) <= most + (12 % world_size > 0) for piece in pieces for micro in piece)
            for rank, piece in enumerate(pieces):
                for name in ("tokens", "targets", "starts"):
                    joined = torch.cat([getattr(micro, name) for micro in piece])
                    assert torch.equal(joined, getattr(batch, name)[rank::world_size])
            assert sum(micro.weight for piece in pieces for micro in piece) == batch.weight
    with pytest.raises(StageError, match="12 rows or pairs a step leave some of dp 13 idle"):
        whole.for_rank(0, 13)(0)


def test_a_larger_batch_continues_with_the_next_samples(world: World) -> None:
    """The order of the samples does not depend on the batch size, so a ramp can change it at any sample."""
    data = mixture(world)
    small, large = MixtureBatches(data, 4, 1_000_000), MixtureBatches(data, 12, 1_000_000, first_sample=8)
    assert torch.equal(large(0)[0].tokens, torch.cat([small(step)[0].tokens for step in (2, 3, 4)]))


@pytest.mark.parametrize("seed", [1, 2])
def test_every_cycle_has_exact_shares(world: World, seed: int) -> None:
    data = mixture(world, seed)
    for cycle in range(3):
        counts = Counter(data.locate(cycle * 1000 + place)[0] for place in range(1000))
        assert counts == {"general": 500, "math": 250, "code": 170, "multilingual": 80}
    head = Counter(data.locate(place)[0] for place in range(200))
    assert head["general"] == pytest.approx(100, abs=25)  # the shares hold within a cycle too, not in blocks
    thirds = mixture(world, seed, shares={"general": 1 / 3, "math": 1 / 3, "code": 1 / 3, "multilingual": 0.0})
    assert sorted(Counter(thirds.locate(place)[0] for place in range(1000)).values()) == [333, 333, 334]


def test_an_epoch_has_every_window_once_and_the_next_another_order(world: World) -> None:
    data = mixture(world, length=128)
    drawn: dict[str, list[int]] = {bucket: [] for bucket in data.buckets}
    for sample in range(3000):
        bucket, window = data.locate(sample)
        drawn[bucket].append(window)
    for bucket, windows in drawn.items():
        count = data.windows[bucket]
        epochs = [windows[first : first + count] for first in range(0, len(windows), count)]
        assert len(epochs) > 2
        assert all(sorted(epoch) == list(range(count)) for epoch in epochs[:-1])
        assert epochs[0] != epochs[1]
        assert data.epochs(3000)[bucket] == pytest.approx(len(windows) / count)
        assert data.tokens_drawn(3000)[bucket] == len(windows) * 128


def test_windows_cover_the_tokens_of_the_bucket(world: World) -> None:
    data = mixture(world, shares={"code": 1.0}, length=16)
    seen = {}
    for sample in range(data.windows["code"]):
        seen[data.locate(sample)[1]] = data.window(sample)
    tokens = np.concatenate([seen[window][:-1] for window in sorted(seen)])
    source = world.shards.tokens("train", "code")
    assert np.array_equal(tokens, source[: len(tokens)]) and len(source) - len(tokens) <= 16


def test_no_target_and_no_start_is_in_another_document(world: World) -> None:
    data, begin = mixture(world, length=200), world.shards.begin_of_text
    boundaries = 0
    for sample in range(40):
        row, batch = data.window(sample), data.batch(sample, 1)
        assert batch.starts is not None
        for place in range(200):
            if row[place + 1] == begin:
                assert batch.targets[0, place] == IGNORE_INDEX
                boundaries += 1
            else:
                assert batch.targets[0, place] == row[place + 1]
            before = [index for index in range(place + 1) if row[index] == begin]
            assert batch.starts[0, place] == (before[-1] if before else 0)
        assert batch.weight == 200 - (row[1:] == begin).sum()
    assert boundaries > 10


def test_a_batch_on_a_worked_example() -> None:
    batch = make_batch(torch.tensor([[5, 1, 2, 9, 3, 4]]), begin_of_text=9)
    assert batch.tokens.tolist() == [[5, 1, 2, 9, 3]]
    assert batch.targets.tolist() == [[1, 2, IGNORE_INDEX, 3, 4]]
    assert batch.starts is not None and batch.starts.tolist() == [[0, 0, 0, 3, 3]]
    assert make_batch(torch.tensor([[5, 9, 2]]), 9, mask=False).starts is None


def test_the_fingerprint_changes_with_the_samples(world: World, tmp_path: Path) -> None:
    usual = mixture(world).fingerprint
    assert usual == mixture(world).fingerprint
    others = [
        mixture(world, seed=2),
        mixture(world, length=33),
        mixture(world, shares=SHARES | {"general": 0.4, "math": 0.35}),
        Mixture(world.shards, "anneal", SHARES, 32, 1),
        Mixture(world.shards, "train", SHARES, 32, 1, mask=False),
    ]
    assert len({usual, *(other.fingerprint for other in others)}) == 6


def test_the_fingerprint_of_the_tokens_is_that_of_their_bytes(world: World) -> None:
    """Two corpora of as many tokens in each bucket are still two."""
    index = json.loads((world.tokens / "tokens.json").read_text())
    import hashlib

    for name, digest in index["sha256"].items():
        assert hashlib.sha256((world.tokens / name).read_bytes()).hexdigest() == digest
    assert len(index["sha256"]) == 12


def test_a_bucket_too_small_for_a_window_is_refused(world: World, tmp_path: Path) -> None:
    with pytest.raises(StageError, match="code has fewer than 1000000 tokens"):
        mixture(world, length=1_000_000, shares={"code": 1.0})
    shutil.copytree(world.tokens, tmp_path / "tokens")
    (tmp_path / "tokens" / "train-math.bin").write_bytes(b"")
    index = json.loads((tmp_path / "tokens" / "tokens.json").read_text())
    index["counts"]["train"]["math"] = 0
    (tmp_path / "tokens" / "tokens.json").write_text(json.dumps(index))
    with pytest.raises(StageError, match=r"train-math\.bin: no tokens"):
        Mixture(TokenShards(tmp_path / "tokens"), "train", SHARES, 32, 1)


def test_a_truncated_token_file_is_refused(world: World, tmp_path: Path) -> None:
    shutil.copytree(world.tokens, tmp_path / "tokens")
    path = tmp_path / "tokens" / "train-math.bin"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(StageError, match=r"train-math\.bin: [0-9,]+ bytes are not the [0-9,]+ tokens that"):
        Mixture(TokenShards(tmp_path / "tokens"), "train", SHARES, 32, 1)


def test_no_held_out_window_is_counted_twice(world: World) -> None:
    """More windows than there are would only make the interval narrower."""
    from stages.model.files import load_model

    data = validation_mixture(world.shards, {"code": 1.0}, 32, 1)
    there = data.windows["code"]
    (losses,) = held_out_losses(load_model(world.model), [data], 10 * there, settings())
    assert len(losses) == there == len(set(losses.tolist()))
    mixed = validation_mixture(world.shards, SHARES, 32, 1)
    distinct = mixed.count_distinct(10_000)
    places = [mixed.locate(sample) for sample in range(distinct + 1)]
    assert len(set(places[:-1])) == distinct and places[-1] in places[:-1]
