"""Ranks within a language."""

from stages.curation.classification.ranking import ScoreHistogram, percentile


def test_a_rank_is_the_share_of_the_language_below() -> None:
    halves = [ScoreHistogram(), ScoreHistogram()]
    for number, score in enumerate((0.1, 0.9, 0.9, 0.4)):
        halves[number % 2].add_score("de", score)
    halves[0].add_score("fr", 0.2)
    halves[0].merge(halves[1])
    percentiles = halves[0].percentiles()
    assert [percentile(percentiles, "de", score) for score in (0.1, 0.4, 0.9)] == [0.125, 0.375, 0.75]
    assert percentile(percentiles, "fr", 0.2) == 0.5
