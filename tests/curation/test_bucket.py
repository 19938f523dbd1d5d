"""Buckets and domains."""

import numpy as np
import pytest

from stages.curation.classification import bucket
from tests.curation.samples import document


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


def test_pages_without_code_or_math_do_not_pass_for_it() -> None:
    recipe = document("Backofen auf 200 Grad vorheizen. Mehl und Zucker mischen und die Butter dazugeben. " * 3)
    stub = document("History of Argentina\n\nThe history can be divided into four main parts.")
    algebra = document("A polynomial x**2 + 1 over a ring has the roots x = i and x = -i.")
    python = document("def f(x):\n    return x\n\nclass A:\n    pass", code=[[0, 4]])
    for page in (recipe, stub):
        assert not bucket.looks_like_domain(page, "code") and not bucket.looks_like_domain(page, "math")
        assert bucket.looks_like_domain(page, "general")
    assert bucket.looks_like_domain(algebra, "math") and bucket.looks_like_domain(python, "code")
