"""Language identification."""

from stages.curation.extraction import language
from tests.curation.labelled import GERMAN
from tests.curation.samples import PROSE, document


def test_languages() -> None:
    texts = [PROSE, GERMAN, "東京は日本の首都であり、多くの人々が暮らしている。", "x = 1"]
    rows = [document(text) for text in texts[:3]] + [document(texts[3], media="code", code=[[0, 0]])]
    found = language.identify(rows, 500)
    assert [code for code, _ in found] == ["en", "de", "ja", language.UNKNOWN]
    assert all(score > 0.8 for _, score in found[:3]) and found[3][1] == 0
