"""What the extraction keeps of pages whose main text is known, and how that is scored."""

from pathlib import Path

import pytest

from stages.curation import gold
from stages.curation.extraction import gold_labels, gold_pages, html
from stages.curation.pages import archives
from stages.interface import StageError
from tests.curation.samples import PROSE
from tests.recorder import Recorder

MENU = "".join(f'<li><a href="/{n}">Section number {n}</a></li>' for n in range(9))


def page(main: str, before: str = "", after: str = "") -> str:
    return f"""<html><head><title>t</title><script>var a = "<div>";</script></head><body><ul>{MENU}</ul>{before}
<div class="wrap"><div class="x"><div class="entry-content">{main}</div></div></div>{after}
<div class="other"><ul>{MENU}</ul><p>{"Read our other stories, all of them. " * 9}</p></div></body></html>"""


def lines(source: str) -> list[str]:
    return [line for line in html.main_content(source)[0].split("\n") if line]


def test_scores_of_word_ngrams() -> None:
    assert gold.overlap("a b c d", "a b c d", 2) == (1, 1, 1)
    assert gold.overlap("a b c d", "a b", 2) == (1, pytest.approx(1 / 3), 0.5)
    assert gold.overlap("a b", "d e", 1) == (0, 0, 0)
    assert gold.overlap("a b", "", 1) == (0, 0, 0)
    assert gold.overlap("a, b!", "- a | b", 2) == (1, 1, 1)  # markers are no words
    assert gold.overlap("日本語", "日本", 1)[:2] == (1, pytest.approx(2 / 3))


def test_gold_text_is_what_the_selectors_keep() -> None:
    source = """<body><nav>no</nav><div id="m"><h1>T <b>x</b></h1><p>one<br>two</p><p class="ad">no</p><pre>a
  b</pre><p>if <math alttext="x^2"><mi>x</mi></math> holds</p></div></body>"""
    found = gold_labels.read("page", source, "#m", ".ad")
    assert found.text == "T x\none\ntwo\na\n  b\nif x^2 holds"
    assert found.code == ["a\n  b"] and found.technical
    with pytest.raises(StageError, match=r"page: \.none selects nothing"):
        gold_labels.read("page", source, ".none", "")


def test_generated_pages_hold_their_text_and_are_the_same_each_time() -> None:
    pages = list(gold_pages.generated(12, 1))
    assert pages == list(gold_pages.generated(12, 1)) != list(gold_pages.generated(12, 2))
    ours = [gold.measure(one, gold.ours(one.page), 4) for one in pages]
    assert min(score["recall"] for score in ours) > 0.95
    assert all(score["code"] == 1 for score in ours)


def test_only_the_element_that_the_page_names_is_read_with_the_heading_before_it() -> None:
    found = lines(page(f"<p>{PROSE}</p>", "<h1>The river</h1><p>By somebody, at noon</p>"))
    assert found == ["The river", PROSE]
    two = page(f"<p>{PROSE}</p>", after=f'<div class="entry-content"><p>Another one. {PROSE}</p></div>')
    assert {PROSE, f"Another one. {PROSE}"} <= set(lines(two))
    teaser = page("<p>Short.</p>", after=f"<div><p>{PROSE}</p></div>")
    assert PROSE in lines(teaser)


def test_scripts_that_write_scripts_take_nothing_with_them() -> None:
    script = """<script>document.write("<script src='x'></scr" + "ipt><div>");</script>"""
    assert lines(page(f"{script}<p>{PROSE}</p>", script)) == [PROSE]


def test_formulas_in_scripts_stay_and_scripts_that_only_speak_of_them_go() -> None:
    script = '<script>var kind = "math/tex";</script>'
    formula = '<script id="f" type="math/tex; mode=display">a_1</script>'
    found = lines(page(f"{script}<p>{PROSE}</p><p>So {formula} holds, as we have seen.</p>", script))
    assert found[-1].split()[:3] == ["So", "a_1", "holds,"] and "kind" not in " ".join(found)


def test_lists_of_prose_stay_and_menus_go() -> None:
    links = '<ul><li>See <a href="/a">the river</a>, which is long and runs to the sea</li><li>or walk</li></ul>'
    found = lines(page(f"<p>{PROSE}</p>{links}"))
    assert found == [PROSE, "See the river, which is long and runs to the sea", "or walk"]
    assert lines(f"<body><div><div>{links}</div></div><ul>{MENU}</ul></body>") == found[1:]


def test_captions_quotations_and_code_stay_and_gutters_pictures_and_edit_links_go() -> None:
    found = lines(
        page(
            f"""<h2>Bridges<span class="mw-editsection">[<a href="/e">edit</a>]</span></h2><p>{PROSE}</p>
<figure><img src="a.jpg" alt="a cat"><figcaption>The bridge in May</figcaption></figure>
<blockquote class="twitter-tweet"><p>It broke at last</p></blockquote>
<table><tr><td class="linenos"><pre>1\n2</pre></td><td><pre>if x:\n    y()</pre></td></tr></table>"""
        )
    )
    assert found == ["Bridges", PROSE, "The bridge in May", "It broke at last", "if x:", "    y()"]


def test_formulas_stand_as_their_source() -> None:
    source = f"""<p>{PROSE}</p><p>A <script type="math/tex">a_1</script> b <img class="tex" alt="c &lt; d" src="x.png">
e <math><semantics><mi>f</mi><annotation encoding="application/x-tex">f^2</annotation></semantics></math> g.</p>"""
    assert lines(page(source))[1].split() == ["A", "a_1", "b", "c", "<", "d", "e", "f^2", "g."]


def test_the_stage_tells_what_ours_is_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gold_labels, "packages", list)
    monkeypatch.setattr(archives, "fetch_all", lambda names, report: {})
    label = gold_labels.Gold("a", "real", page(f"<p>{PROSE}</p>"), PROSE, [], False)
    code = gold_labels.Gold("b", "real", page(f"<p>{PROSE}</p><pre>x = 1</pre>"), f"{PROSE}\nx = 1", ["x = 1"], True)
    monkeypatch.setattr(gold_labels, "labelled", lambda found: [label, code])
    config = gold.Config(1, gold.GoldPages(generated=6, ngram=4, draws=50))
    metrics = gold.run(config, {}, {}, Recorder(tmp_path))
    assert metrics == gold.run(config, {}, {}, Recorder(tmp_path))
    assert metrics["pages"] == {"technical": 7, "technical, real": 1, "technical, generated": 6, "other": 1}
    assert metrics["scores"]["other"]["ours"]["f1"]["value"] == 1
    ahead = metrics["ahead"]["technical"]["resiliparse"]
    assert 0 < ahead["low"] < ahead["value"] < ahead["high"]
