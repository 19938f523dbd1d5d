"""Formulas that a page gives as MathML alone, without their TeX: fractions, roots, indices and sums keep their form
(paper 3.1.1, text extraction)."""

import html
import re

LONGEST = 20_000
"""Characters of a formula that is converted; longer ones are tables or not meant well."""
NAMED = re.compile(r"&(?!(?:lt|gt|amp|quot|apos);)(\w+);")


def to_tex(formula: str) -> str:
    """TeX, escaped for HTML, of a <math> element as it stands in a page; empty where it has none."""
    from mathml_to_latex.converter import MathMLToLaTeX  # seldom: most pages have no formula

    if len(formula) > LONGEST:
        return ""
    well_formed = NAMED.sub(lambda found: html.unescape(found[0]).replace("&", "&amp;"), formula)
    try:
        return html.escape(MathMLToLaTeX().convert(well_formed), quote=False)
    except Exception:  # what is no XML, nests too deeply or is no MathML: the caller has its text
        return ""
