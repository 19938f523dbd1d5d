"""MathML becomes TeX."""

from stages.curation.extraction import html, mathml
from tests.curation.samples import PROSE


def test_mathml_without_its_tex_keeps_its_form() -> None:
    root = "<msqrt><mrow><msup><mi>b</mi><mn>2</mn></msup><mo>&minus;</mo><mn>4</mn></mrow></msqrt>"
    page = f"<p>{PROSE} <math><mfrac>{root}<mrow><mn>2</mn><mi>a</mi></mrow></mfrac><mo>&lt;</mo><mn>1</mn></math>.</p>"
    assert r"\frac{\sqrt{b^{2} - 4}}{2 a} < 1" in html.extract_page(page.encode(), "text/html")[1]
    for broken in ("<mi>broken<mo>", "<mrow>" * 3000 + "<mi>q</mi>" + "</mrow>" * 3000, "<mi>x</mi>" * 5000):
        assert mathml.to_tex(f"<math>{broken}</math>") == ""
