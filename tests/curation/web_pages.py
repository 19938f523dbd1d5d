"""A page with a menu."""

from tests.curation.samples import PROSE

PAGE = f"""<!DOCTYPE html><html><head><title>t</title></head><body>
<header><nav><ul><li><a href="/">Home</a></li><li><a href="/about">About us</a></li></ul></nav></header>
<main><article><h1>Even numbers</h1><p>{PROSE}</p>
<p>Let <math alttext="x^2"><mi>x</mi><mn>2</mn></math> be even and
<math><semantics><mi>y</mi><annotation encoding="application/x-tex">\\frac{{y}}{{2}}</annotation></semantics></math>
be whole; then <img class="math" src="/latex/1.png" alt="z &lt; 3"> holds. <img src="/cat.jpg" alt="a cat"></p>
<ul><li>first point</li><li>second point</li></ul>
<pre><code><span class="k">def</span> even(n):
    if n % 2 == 0:
        return True

    return False
</code></pre>
<table><tr><th>n</th><th>even</th></tr><tr><td>1</td><td>no</td></tr></table>
</article></main><footer>Copyright 2024</footer><script>var hidden = 1;</script></body></html>"""


MENU = "".join(f'<li><a href="/{n}">Section number {n}</a></li>' for n in range(9))


def page(main: str, before: str = "", after: str = "") -> str:
    return f"""<html><head><title>t</title><script>var a = "<div>";</script></head><body><ul>{MENU}</ul>{before}
<div class="wrap"><div class="x"><div class="entry-content">{main}</div></div></div>{after}
<div class="other"><ul>{MENU}</ul><p>{"Read our other stories, all of them. " * 9}</p></div></body></html>"""
