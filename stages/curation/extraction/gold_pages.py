"""Generated pages of mathematics and code with known main text: blocks of text, formulas and code in the page templates
of six well-known programs, each with its boilerplate.

The templates use the elements, classes and navigation of these programs. Formulas are MathML with an annotation or
`alttext`, a TeX script, or an image with `alt`; listings are plain, highlighted, or have line numbers.
"""

import random
from collections.abc import Iterator
from html import escape
from typing import NamedTuple

from stages.curation.extraction.gold_labels import GoldPage
from stages.curation.extraction.gold_templates import NAMES, TEMPLATES, paragraph, sentence


class Block(NamedTuple):
    """A part of the main text: its HTML, and its text as an extractor should return it."""

    html: str
    text: str
    code: str = ""


def generated_pages(count: int, seed: int) -> Iterator[GoldPage]:
    """`count` pages; half with mathematics, half with code; templates alternate."""
    for number in range(count):
        generator = random.Random(f"{seed} gold {number}")
        template = TEMPLATES[number % len(TEMPLATES)]
        is_math = number // len(TEMPLATES) % 2 == 0
        title = f"{sentence(generator, 4).rstrip('.')}"
        blocks = list(_blocks(generator, is_math))
        page = template(generator, title, "\n".join(block.html for block in blocks))
        text = "\n".join([title, *(block.text for block in blocks)])
        code = [block.code for block in blocks if block.code]
        name = f"{template.__name__.lstrip('_')} {'math' if is_math else 'code'} {number}"
        yield GoldPage(name, "generated", page, text, code, True)


def _blocks(generator: random.Random, is_math: bool) -> Iterator[Block]:
    style = generator.randrange(4)
    for section in range(generator.randint(2, 4)):
        if section:
            heading = sentence(generator, 3).rstrip(".")
            yield Block(f"<h2>{heading}</h2>", heading)
        for _ in range(generator.randint(1, 3)):
            text = paragraph(generator, generator.randint(2, 5))
            yield Block(f"<p>{text}</p>", text)
        if is_math:
            yield _inline_formula(generator, style)
            yield _display_formula(generator, style)
        else:
            yield _inline_code(generator)
            yield _listing(generator, style)
        if generator.random() < 0.5:
            yield _list(generator)
        if generator.random() < 0.4:
            yield _table(generator)
    text = paragraph(generator, 3)
    yield Block(f"<p>{text}</p>", text)


# Formulas in TeX and MathML.


def _formula(generator: random.Random, depth: int = 2) -> tuple[str, str]:
    """A formula in TeX and in MathML."""
    if depth == 0:
        if generator.random() < 0.3:
            number = str(generator.randint(2, 99))
            return number, f"<mn>{number}</mn>"
        letter = generator.choice("abcknmxyzst")
        return letter, f"<mi>{letter}</mi>"
    (first, left), (second, right) = _formula(generator, depth - 1), _formula(generator, depth - 1)
    kind = generator.randrange(5)
    if kind == 0:
        return f"\\frac{{{first}}}{{{second}}}", f"<mfrac><mrow>{left}</mrow><mrow>{right}</mrow></mfrac>"
    if kind == 1:
        return f"{{{first}}}^{{{second}}}", f"<msup><mrow>{left}</mrow><mrow>{right}</mrow></msup>"
    if kind == 2:
        return f"\\sqrt{{{first}+{second}}}", f"<msqrt>{left}<mo>+</mo>{right}</msqrt>"
    if kind == 3:
        return (
            f"\\sum_{{k={first}}}^{{n}} {second}",
            f"<munderover><mo>&#x2211;</mo><mrow><mi>k</mi><mo>=</mo>{left}</mrow><mi>n</mi></munderover>{right}",
        )
    return f"{first} < {second}", f"{left}<mo>&lt;</mo>{right}"


def _formula_html(generator: random.Random, style: int, display: bool) -> tuple[str, str]:
    """The HTML of a formula, and its TeX."""
    tex, mathml = _formula(generator)
    mode = ' display="block"' if display else ""
    if style == 0:  # MediaWiki and KaTeX: TeX as an annotation, with an image or spans for old browsers
        note = f'<annotation encoding="application/x-tex">{escape(tex)}</annotation>'
        image = (
            f'<img src="/media/math/render/svg/{generator.randrange(10**8):x}" class="mwe-math-fallback-image-inline"'
        )
        return (
            f'<span class="mwe-math-element"><span style="display: none;"><math{mode} alttext="{escape(tex)}"><semantics>'  # noqa: E501
            f'<mrow>{mathml}</mrow>{note}</semantics></math></span>{image} aria-hidden="true" alt="{escape(tex)}"/></span>',  # noqa: E501
            tex,
        )
    if style == 1:  # LaTeXML
        return f'<math class="ltx_Math" alttext="{escape(tex)}"{mode}><mrow>{mathml}</mrow></math>', tex
    if style == 2:  # MathJax 2
        return f'<script type="math/tex{"; mode=display" if display else ""}">{tex}</script>', tex
    number = generator.randrange(10**8)  # Sphinx and WordPress
    return (
        f'<img class="{"math" if number % 2 else "latex"}" src="/_images/math/{number:x}.png" alt="{escape(tex)}"/>',
        tex,
    )


def _inline_formula(generator: random.Random, style: int) -> Block:
    before, after = sentence(generator, 1).rstrip("."), sentence(generator)
    html, tex = _formula_html(generator, style, False)
    return Block(f"<p>{before} if {html} holds. {after}</p>", f"{before} if {tex} holds. {after}")


def _display_formula(generator: random.Random, style: int) -> Block:
    html, tex = _formula_html(generator, style, True)
    return Block(f'<div class="math equation">{html}</div>', tex)


# Code: a function of a few lines in several kinds of listing.


def _program(generator: random.Random) -> str:
    name, first, second, third = generator.sample(NAMES, 4)
    lines = [f"def {name}_{generator.randint(1, 9)}({first}, {second}={generator.randint(0, 99)}):"]
    for _ in range(generator.randint(1, 3)):
        lines += [
            f"    for {third} in range({first}):",
            f"        if {second} % {generator.randint(2, 9)} == {third}:",
            f"            {second} += {first}[{generator.randint(0, 9)}]  # {sentence(generator, 1)}",
        ]
        if generator.random() < 0.5:
            lines.append("")
    return "\n".join([*lines, f"    return {first} * {second}"])


def _highlight(code: str) -> str:
    """Syntax highlighting: keywords and comments in spans."""
    parts = []
    for line in code.split("\n"):
        body, separator, comment = escape(line).partition("  # ")
        for word in ("def", "for", "in", "if", "return"):
            body = f" {body} ".replace(f" {word} ", f' <span class="k">{word}</span> ')[1:-1]
        parts.append(body + (f'  <span class="c1"># {comment}</span>' if separator else ""))
    return "\n".join(parts)


def _listing(generator: random.Random, style: int) -> Block:
    code = _program(generator)
    numbers = range(1, code.count("\n") + 2)
    if style == 0:
        html = f"<pre>{escape(code)}\n</pre>"
    elif style == 1:
        html = f'<div class="highlight-python notranslate"><div class="highlight"><pre><span></span>{_highlight(code)}\n</pre></div></div>'  # noqa: E501
    elif style == 2:
        gutter = "\n".join(map(str, numbers))
        html = (
            '<div class="highlight"><table class="highlighttable"><tr><td class="linenos"><div class="linenodiv"><pre>'
            f'{gutter}</pre></div></td><td class="code"><div class="highlight"><pre>{_highlight(code)}</pre></div></td>'
            "</tr></table></div>"
        )
    else:
        html = (
            f'<div class="codeBlockContainer"><pre class="language-python"><code>{_highlight(code)}</code></pre>'
            '<div class="buttonGroup"><button type="button" aria-label="Copy code" class="clean-btn">Copy</button></div></div>'  # noqa: E501
        )
    return Block(html, code, code)


def _inline_code(generator: random.Random) -> Block:
    name = generator.choice(NAMES)
    call = f"{name}({generator.randint(0, 9)}, {generator.choice(NAMES)})"
    before, after = sentence(generator, 1).rstrip("."), sentence(generator)
    return Block(
        f"<p>{before} if you call <code>{call}</code> first. {after}</p>", f"{before} if you call {call} first. {after}"
    )


def _list(generator: random.Random) -> Block:
    items = [sentence(generator).rstrip(".") for _ in range(generator.randint(2, 5))]
    name = generator.choice(("ul", "ol"))
    return Block(f"<{name}>{''.join(f'<li>{item}</li>' for item in items)}</{name}>", "\n".join(items))


def _table(generator: random.Random) -> Block:
    rows = [generator.sample(NAMES, 3)] + [[str(generator.randint(1, 999)) for _ in range(3)] for _ in range(4)]
    cells = [
        f"<tr>{''.join(f'<{tag}>{cell}</{tag}>' for cell in row)}</tr>"
        for tag, row in zip(["th", *["td"] * 4], rows, strict=True)
    ]
    return Block(f"<table><tbody>{''.join(cells)}</tbody></table>", "\n".join(" ".join(row) for row in rows))
