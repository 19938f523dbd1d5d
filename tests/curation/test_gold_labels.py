"""Gold text of real pages."""

import pytest

from stages.curation.extraction import gold_labels
from stages.interface import StageError


def test_gold_text_is_what_the_selectors_keep() -> None:
    source = """<body><nav>no</nav><div id="m"><h1>T <b>x</b></h1><p>one<br>two</p><p class="ad">no</p><pre>a
  b</pre><p>if <math alttext="x^2"><mi>x</mi></math> holds</p></div></body>"""
    found = gold_labels.apply_labels("page", source, "#m", ".ad")
    assert found.text == "T x\none\ntwo\na\n  b\nif x^2 holds"
    assert found.code == ["a\n  b"] and found.is_technical
    with pytest.raises(StageError, match=r"page: \.none matches nothing"):
        gold_labels.apply_labels("page", source, ".none", "")
