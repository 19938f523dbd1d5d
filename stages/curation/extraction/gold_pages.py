"""Pages of mathematics and code whose main text is known because it was written first: a few blocks of text, formulas
and code, laid out as six well-known programs lay out a page, each with its own boilerplate.

The templates follow what the programs emit: which elements and classes they use, where they put navigation, and in
which of the usual ways a formula (MathML with an annotation or `alttext`, a TeX script, an image with `alt`) and a
listing (plain, highlighted, with line numbers beside it) stand in the page.
"""

import random
from collections.abc import Iterator
from html import escape
from typing import NamedTuple

from stages.curation.extraction.gold_labels import Gold
from stages.curation.extraction.gold_templates import NAMES, TEMPLATES, paragraph, sentence


class Block(NamedTuple):
    """A part of the main text: its HTML and the text that a reader sees, or that stands for the formula."""

    html: str
    text: str
    code: str = ""


def generated(count: int, seed: int) -> Iterator[Gold]:
    """So many pages; half of mathematics, half of code, the templates in turn."""
    for number in range(count):
        random_ = random.Random(f"{seed} gold {number}")
        template = TEMPLATES[number % len(TEMPLATES)]
        math = number // len(TEMPLATES) % 2 == 0
        title = f"{sentence(random_, 4).rstrip('.')}"
        blocks = list(_blocks(random_, math))
        page = template(random_, title, "\n".join(block.html for block in blocks))
        text = "\n".join([title, *(block.text for block in blocks)])
        code = [block.code for block in blocks if block.code]
        name = f"{template.__name__.lstrip('_')} {'math' if math else 'code'} {number}"
        yield Gold(name, "generated", page, text, code, True)


def _blocks(random_: random.Random, math: bool) -> Iterator[Block]:
    style = random_.randrange(4)
    for section in range(random_.randint(2, 4)):
        if section:
            heading = sentence(random_, 3).rstrip(".")
            yield Block(f"<h2>{heading}</h2>", heading)
        for _ in range(random_.randint(1, 3)):
            text = paragraph(random_, random_.randint(2, 5))
            yield Block(f"<p>{text}</p>", text)
        if math:
            yield _inline(random_, style)
            yield _display(random_, style)
        else:
            yield _named(random_)
            yield _listing(random_, style)
        if random_.random() < 0.5:
            yield _list(random_)
        if random_.random() < 0.4:
            yield _table(random_)
    text = paragraph(random_, 3)
    yield Block(f"<p>{text}</p>", text)


# Formulas: TeX, and the MathML that a converter makes of it.


def _formula(random_: random.Random, depth: int = 2) -> tuple[str, str]:
    """A term as TeX and as MathML."""
    if depth == 0:
        if random_.random() < 0.3:
            number = str(random_.randint(2, 99))
            return number, f"<mn>{number}</mn>"
        letter = random_.choice("abcknmxyzst")
        return letter, f"<mi>{letter}</mi>"
    (first, left), (second, right) = _formula(random_, depth - 1), _formula(random_, depth - 1)
    kind = random_.randrange(5)
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


def _formula_html(random_: random.Random, style: int, display: bool) -> tuple[str, str]:
    """A formula as its page has it, and its TeX."""
    tex, mathml = _formula(random_)
    mode = ' display="block"' if display else ""
    if style == 0:  # as MediaWiki and KaTeX do: the source as an annotation, with an image or spans for old browsers
        note = f'<annotation encoding="application/x-tex">{escape(tex)}</annotation>'
        image = f'<img src="/media/math/render/svg/{random_.randrange(10**8):x}" class="mwe-math-fallback-image-inline"'
        return (
            f'<span class="mwe-math-element"><span style="display: none;"><math{mode} alttext="{escape(tex)}"><semantics>'  # noqa: E501
            f'<mrow>{mathml}</mrow>{note}</semantics></math></span>{image} aria-hidden="true" alt="{escape(tex)}"/></span>',  # noqa: E501
            tex,
        )
    if style == 1:  # as LaTeXML does
        return f'<math class="ltx_Math" alttext="{escape(tex)}"{mode}><mrow>{mathml}</mrow></math>', tex
    if style == 2:  # as MathJax 2 leaves it in the page
        return f'<script type="math/tex{"; mode=display" if display else ""}">{tex}</script>', tex
    number = random_.randrange(10**8)  # as Sphinx and WordPress do
    return (
        f'<img class="{"math" if number % 2 else "latex"}" src="/_images/math/{number:x}.png" alt="{escape(tex)}"/>',
        tex,
    )


def _inline(random_: random.Random, style: int) -> Block:
    before, after = sentence(random_, 1).rstrip("."), sentence(random_)
    html, tex = _formula_html(random_, style, False)
    return Block(f"<p>{before} if {html} holds. {after}</p>", f"{before} if {tex} holds. {after}")


def _display(random_: random.Random, style: int) -> Block:
    html, tex = _formula_html(random_, style, True)
    return Block(f'<div class="math equation">{html}</div>', tex)


# Code: a function of a few lines, and the ways in which it stands in a page.


def _program(random_: random.Random) -> str:
    name, first, second, third = random_.sample(NAMES, 4)
    lines = [f"def {name}_{random_.randint(1, 9)}({first}, {second}={random_.randint(0, 99)}):"]
    for _ in range(random_.randint(1, 3)):
        lines += [
            f"    for {third} in range({first}):",
            f"        if {second} % {random_.randint(2, 9)} == {third}:",
            f"            {second} += {first}[{random_.randint(0, 9)}]  # {sentence(random_, 1)}",
        ]
        if random_.random() < 0.5:
            lines.append("")
    return "\n".join([*lines, f"    return {first} * {second}"])


def _highlight(code: str) -> str:
    """As highlighters mark up code: words of the language and comments in spans."""
    parts = []
    for line in code.split("\n"):
        body, mark, comment = escape(line).partition("  # ")
        for word in ("def", "for", "in", "if", "return"):
            body = f" {body} ".replace(f" {word} ", f' <span class="k">{word}</span> ')[1:-1]
        parts.append(body + (f'  <span class="c1"># {comment}</span>' if mark else ""))
    return "\n".join(parts)


def _listing(random_: random.Random, style: int) -> Block:
    code = _program(random_)
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


def _named(random_: random.Random) -> Block:
    name = random_.choice(NAMES)
    call = f"{name}({random_.randint(0, 9)}, {random_.choice(NAMES)})"
    before, after = sentence(random_, 1).rstrip("."), sentence(random_)
    return Block(
        f"<p>{before} if you call <code>{call}</code> first. {after}</p>", f"{before} if you call {call} first. {after}"
    )


def _list(random_: random.Random) -> Block:
    items = [sentence(random_).rstrip(".") for _ in range(random_.randint(2, 5))]
    name = random_.choice(("ul", "ol"))
    return Block(f"<{name}>{''.join(f'<li>{item}</li>' for item in items)}</{name}>", "\n".join(items))


def _table(random_: random.Random) -> Block:
    rows = [random_.sample(NAMES, 3)] + [[str(random_.randint(1, 999)) for _ in range(3)] for _ in range(4)]
    cells = [
        f"<tr>{''.join(f'<{tag}>{cell}</{tag}>' for cell in row)}</tr>"
        for tag, row in zip(["th", *["td"] * 4], rows, strict=True)
    ]
    return Block(f"<table><tbody>{''.join(cells)}</tbody></table>", "\n".join(" ".join(row) for row in rows))
