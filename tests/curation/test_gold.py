"""What the extraction keeps of pages whose main text is known, and how that is scored."""

from pathlib import Path

import pytest

from stages.curation import gold
from stages.curation.extraction import gold_labels
from stages.curation.pages import archives
from tests.curation.samples import PROSE
from tests.curation.web_pages import page
from tests.recorder import Recorder


def test_scores_of_word_ngrams() -> None:
    assert gold.overlap("a b c d", "a b c d", 2) == (1, 1, 1)
    assert gold.overlap("a b c d", "a b", 2) == (1, pytest.approx(1 / 3), 0.5)
    assert gold.overlap("a b", "d e", 1) == (0, 0, 0)
    assert gold.overlap("a b", "", 1) == (0, 0, 0)
    assert gold.overlap("a, b!", "- a | b", 2) == (1, 1, 1)  # markers are no words
    assert gold.overlap("日本語", "日本", 1)[:2] == (1, pytest.approx(2 / 3))


def test_the_stage_tells_what_ours_is_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gold_labels, "packages", list)
    monkeypatch.setattr(archives, "fetch_all", lambda names, report: {})
    label = gold_labels.GoldPage("a", "real", page(f"<p>{PROSE}</p>"), PROSE, [], False)
    code = gold_labels.GoldPage(
        "b", "real", page(f"<p>{PROSE}</p><pre>x = 1</pre>"), f"{PROSE}\nx = 1", ["x = 1"], True
    )
    monkeypatch.setattr(gold_labels, "labelled_pages", lambda found: [label, code])
    config = gold.Config(1, gold.GoldPages(generated=6, ngram=4, draws=50))
    metrics = gold.run(config, {}, {}, Recorder(tmp_path))
    assert metrics == gold.run(config, {}, {}, Recorder(tmp_path))
    assert metrics["pages"] == {"technical": 7, "technical, real": 1, "technical, generated": 6, "real": 2, "other": 1}
    assert metrics["scores"]["other"]["ours"]["f1"]["value"] == 1
    ahead = metrics["ahead"]["technical"]["resiliparse"]
    assert 0 < ahead["low"] < ahead["value"] < ahead["high"]
