"""Buckets and domains."""

import numpy as np
import pytest

from stages.curation.classification import bucket


@pytest.mark.parametrize(
    ("chances", "domain"),
    [
        ({"general": 0.4, "math": 0.35, "reasoning": 0.25}, "math"),  # mathematics and reasoning are one bucket
        ({"general": 0.45, "math": 0.3, "code": 0.25}, "general"),  # no bucket is more likely than not
        ({"code": 0.2, "code_in_text": 0.6, "general": 0.2}, "code_in_text"),
    ],
)
def test_the_domain_is_the_likeliest_of_the_likeliest_bucket(chances: dict[str, float], domain: str) -> None:
    assert bucket.most_likely_domain(list(chances), np.array(list(chances.values()))) == domain
