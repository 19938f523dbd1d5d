import pytest
import torch

from stages.interface import StageError
from stages.model.files import load_model
from stages.posttraining.dpo import PreferenceBatch
from stages.posttraining.sequences import BatchSampler, MicroBatcher, hash_content, pad, tokenize_dialog
from stages.posttraining.sft import DialogBatches, response_loss
from stages.tokenizer.chat import make_messages
from stages.training.loader import IGNORE_INDEX
from tests.fixtures import World


def test_only_the_response_and_its_terminator_are_targets(world: World) -> None:
    chat = world.chat
    tokens, targets = tokenize_dialog(chat, "the cat?", "a mat")
    prompt, response = chat.encode_prompt(make_messages("the cat?")), chat.encode_response("a mat")
    assert tokens == prompt + response and len(targets) == len(tokens)
    assert [target for target in targets if target != IGNORE_INDEX] == response
    for place, target in enumerate(targets[:-1]):
        assert target == (tokens[place + 1] if place + 1 >= len(prompt) else IGNORE_INDEX)
    assert response[-1] == chat.end_of_turn


def test_terminator_is_no_target_without_formatting(world: World) -> None:
    chat = world.chat
    _, targets = tokenize_dialog(chat, "the cat?", "a mat", formatting=False)
    assert [target for target in targets if target != IGNORE_INDEX] == chat.encode_message("a mat")
    assert [
        target for target in tokenize_dialog(chat, "q", "", formatting=False)[1] if target != IGNORE_INDEX
    ] == chat.encode_message("")


def test_padding_does_not_change_the_loss(world: World) -> None:
    chat, model = world.chat, load_model(world.model).eval()
    rows = [
        tokenize_dialog(chat, "the cat?", "a mat"),
        tokenize_dialog(chat, "1 + 2", "3"),
        tokenize_dialog(chat, "saw the red house", "by the sea " * 5),
    ]
    batch = pad(rows, chat.pad)
    assert batch.weight == sum(len(chat.encode_response(text)) for text in ("a mat", "3", "by the sea " * 5))
    assert batch.tokens[batch.is_last].tolist() == [chat.end_of_turn] * 3
    assert batch.is_last.sum(1).tolist() == [1, 1, 1]
    with torch.no_grad():
        alone = sum(response_loss(model, pad([one], chat.pad))[0] for one in rows)
        assert response_loss(model, batch)[0].item() == pytest.approx(float(alone), rel=1e-5)


def test_loss_is_the_likelihood_of_the_response_given_the_prompt(world: World) -> None:
    """The loss is the response's likelihood given the prompt, written out."""
    chat, model = world.chat, load_model(world.model).eval()
    tokens, targets = tokenize_dialog(chat, "the cat?", "a mat")
    start = len(chat.encode_prompt(make_messages("the cat?")))
    with torch.no_grad():
        logs = model(torch.tensor([tokens]))[0].log_softmax(-1)
        expected = -sum(logs[place - 1, tokens[place]] for place in range(start, len(tokens)))
        loss, _ = response_loss(model, pad([(tokens, targets)], chat.pad))
    assert loss.item() == pytest.approx(float(expected), rel=1e-5)


def test_each_epoch_has_every_item_once_in_a_different_order() -> None:
    sampler = BatchSampler(10, 4, 3, "x")
    drawn = [index for step in range(10) for index in sampler.indices(step)]
    epochs = [drawn[first : first + 10] for first in range(0, 40, 10)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert sampler.indices(7) == BatchSampler(10, 4, 3, "x").indices(7) != BatchSampler(10, 4, 4, "x").indices(7)


def test_fingerprint_depends_on_the_data(world: World) -> None:
    dialogs = [("a", "b"), ("c", "d")]
    same, other = hash_content(dialogs), hash_content([("a", "b"), ("c", "e")])
    samplers = [BatchSampler(2, 2, 1, content_hash) for content_hash in (same, other)]
    prints = [DialogBatches(world.chat, sampler, MicroBatcher(1), dialogs).fingerprint for sampler in samplers]
    assert prints[0] != prints[1] and hash_content(list(dialogs)) == same


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
def test_ranks_split_the_pairs_of_a_step_and_separate_no_pair(world: World, world_size: int) -> None:
    """All ranks have the same number of micro-batches; each row keeps its targets, is_last and reference."""
    rows = [
        tokenize_dialog(world.chat, "a", answer)
        for answer in ("b", "c d", "e", "f g h", "i", "j", "k", "l m", "n", "o")
    ]
    batch = PreferenceBatch(**vars(pad(rows, world.chat.pad)), reference=torch.arange(10.0))
    length = batch.tokens.shape[1]
    parts_of_ranks = [MicroBatcher(4 * length).for_rank(rank, world_size, 1)(batch) for rank in range(world_size)]
    assert len({len(parts) for parts in parts_of_ranks}) == 1
    assert all(part.count <= 2 + (5 % world_size > 0) for parts in parts_of_ranks for part in parts)
    for rank, parts in enumerate(parts_of_ranks):
        places = [2 * pair + side for pair in range(rank, 5, world_size) for side in (0, 1)]
        for name in ("tokens", "targets", "is_last", "reference"):
            joined = torch.cat([getattr(part, name) for part in parts])
            assert torch.equal(joined, getattr(batch, name)[places])
    with pytest.raises(StageError, match="5 rows or pairs a step leave some of dp 6 idle"):
        MicroBatcher(100).for_rank(0, 6, 1)(batch)
