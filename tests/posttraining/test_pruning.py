"""Semantic de-duplication of dialogs."""

import numpy as np
import pytest

from stages.model.files import load_model
from stages.posttraining.data import Demonstration
from stages.posttraining.pruning import Pruning, embed, prune
from stages.tasks.example import Example
from tests.fixtures import World
from tests.posttraining.examples import EXAMPLE


def test_pruning_on_a_worked_example() -> None:
    tasks = ["arithmetic"] * 5 + ["howto"] * 2
    rows = [Demonstration(Example(task, "easy", str(n), "a", {}), "r", "annotator") for n, task in enumerate(tasks)]
    angles = np.array([0.0, 0.01, 1.0, 2.0, 3.0, 0.0, 0.02])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    rewards = [0.5, 0.6, 0.1, 0.9, 0.4, 0.2, 0.3]

    def pruned(difficulty: list[float], quantile: float = 0.2, similarity: float = 0.99) -> tuple[list[int], list[int]]:
        options = Pruning(quality_quantile=quantile, similarity=similarity)
        kept, removed = prune(rows, rewards, difficulty, vectors, options)
        assert sum(removed.values()) + len(kept) == 7
        return kept, list(removed.values())

    # 2 is the worst of its topic; 0 and 1 are similar, and so are 5 and 6: the better one of each stays.
    easy = [0.0] * 7
    assert pruned(easy) == ([1, 3, 4, 6], [2, 1])
    # 0 is much harder than 1: it now comes first, and 1 is its duplicate.
    assert pruned([0.9, 0, 0, 0, 0, 0, 0]) == ([0, 3, 4, 6], [2, 1])
    assert pruned(easy, quantile=0.0) == ([1, 2, 3, 4, 6], [0, 2])
    assert pruned(easy, quantile=0.0, similarity=1.0) == ([0, 1, 2, 3, 4, 5, 6], [0, 0])


def test_embeddings_separate_dialogs_and_do_not_depend_on_the_batch(world: World) -> None:
    model, chat = load_model(world.model), world.chat
    texts = ["the cat sat on a mat", "the cat sat on a mat", "der Hund läuft", "3"]
    rows = [Demonstration(EXAMPLE, text, "annotator") for text in texts]
    vectors = embed(model, chat, rows)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    similar = vectors @ vectors.T
    assert similar[0, 1] == pytest.approx(1, abs=1e-5) and similar[0, 2] < 0.9 and similar[0, 3] < 0.9
    assert np.allclose(vectors, embed(model, chat, rows, batch_size=1), atol=1e-4)
    assert embed(model, chat, []).shape == (0, 32)
