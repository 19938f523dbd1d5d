"""Converts formulas in MathML to TeX, so that fractions, roots, indices and sums keep their form (paper 3.1.1, text
extraction)."""

import html
import re

MAX_CHARACTERS = 20_000
"""Longer formulas are not converted: they are tables or hostile."""
NAMED_ENTITY = re.compile(r"&(?!(?:lt|gt|amp|quot|apos);)(\w+);")


def to_tex(formula: str) -> str:
    """TeX of a <math> element, escaped for HTML; empty if it cannot be converted."""
    from mathml_to_latex.converter import MathMLToLaTeX  # imported late: most pages have no formula

    if len(formula) > MAX_CHARACTERS:
        return ""
    well_formed = NAMED_ENTITY.sub(lambda found: html.unescape(found[0]).replace("&", "&amp;"), formula)
    try:
        return html.escape(MathMLToLaTeX().convert(well_formed), quote=False)
    except Exception:  # no XML, no MathML, or too deep: the caller uses its text
        return ""
