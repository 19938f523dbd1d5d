"""The table of countries."""

from stages.tasks.countries import COUNTRIES


def test_countries_are_distinct_and_ranked() -> None:
    assert len(COUNTRIES) >= 95
    assert len({c.name for c in COUNTRIES}) == len({c.capital for c in COUNTRIES}) == len(COUNTRIES)
    assert [c.rank for c in COUNTRIES] == list(range(1, len(COUNTRIES) + 1))
    assert len({c.continent for c in COUNTRIES}) == 6
