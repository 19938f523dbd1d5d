"""Generated pages with known text."""

from stages.curation import gold
from stages.curation.extraction import gold_pages


def test_generated_pages_hold_their_text_and_are_the_same_each_time() -> None:
    pages = list(gold_pages.generated_pages(12, 1))
    assert pages == list(gold_pages.generated_pages(12, 1)) != list(gold_pages.generated_pages(12, 2))
    ours = [gold.score_page(one, gold.ours(one.page), 4) for one in pages]
    assert min(score["recall"] for score in ours) > 0.95
    assert all(score["code"] == 1 for score in ours)
