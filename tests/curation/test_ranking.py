"""Ranks within a language."""

from stages.curation.classification.ranking import Ranking, place


def test_a_rank_is_the_share_of_the_language_below() -> None:
    halves = [Ranking(), Ranking()]
    for number, score in enumerate((0.1, 0.9, 0.9, 0.4)):
        halves[number % 2].count("de", score)
    halves[0].count("fr", 0.2)
    halves[0].add(halves[1])
    places = halves[0].places()
    assert [place(places, "de", score) for score in (0.1, 0.4, 0.9)] == [0.125, 0.375, 0.75]
    assert place(places, "fr", 0.2) == 0.5
