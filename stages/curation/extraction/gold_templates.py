# ruff: noqa: E501  # lines of HTML
"""Page templates of six well-known programs: the main text with their navigation, teasers and notices."""

import random
from collections.abc import Callable


def _phrases(text: str) -> tuple[str, ...]:
    return tuple(" ".join(phrase.split()) for phrase in text.split(","))


SUBJECTS = _phrases("""
    the estimate, the second sum, this sequence, the matrix, the error term, the gradient, the stored value, the
    index, the cache, the first pass, the sorted list, the parser, the queue, the remainder, the boundary, the
    search tree, the random walk, the kernel, each node
""")
VERBS = _phrases("""
    grows no faster than, is bounded by, can be computed from, depends only on, is independent of, must be checked
    against, replaces, is stored beside, is visited before, cancels, is compared with, converges more slowly than,
    shares its storage with, is read once for, determines
""")
OBJECTS = _phrases("""
    the length of the input, the previous step, its initial value, the largest eigenvalue, the number of edges,
    every smaller case, the lower limit, all remaining elements, the outer loop, the rounding of the last digit, the
    parent of the node, the tail of the series, a fixed constant, the order of the arguments, the worst case
""")
ENDS = (
    "",
    " in practice",
    " for small inputs",
    " by the argument given above",
    " unless the input is empty",
    " on every machine we tried",
    ", as a simple count shows",
    " whenever the index is even",
)
MENU = _phrases("""
    Home, About, Archive, Contact, Projects, Imprint, Downloads, Community, Blog, Pricing, Documentation, Support,
    Press, Careers, Status, Terms of use, Privacy policy
""")
NAMES = _phrases("""
    alpha, beta, count, delta, total, node, left, right, weight, limit, offset, width, items, cursor, depth
""")


def sentence(generator: random.Random, clauses: int = 0) -> str:
    """A random sentence."""
    subject, verb, object_ = generator.choice(SUBJECTS), generator.choice(VERBS), generator.choice(OBJECTS)
    end = "" if clauses else generator.choice(ENDS)
    return f"{subject[0].upper()}{subject[1:]} {verb} {object_}{end}."


def paragraph(generator: random.Random, sentences: int) -> str:
    return " ".join(sentence(generator) for _ in range(sentences))


def _links(generator: random.Random, count: int, item: str = "li") -> str:
    names = generator.sample(MENU, count)
    return "".join(f'<{item}><a href="/{name.lower()}/">{name}</a></{item}>' for name in names)


def _teasers(generator: random.Random, count: int, tag: str = "li") -> str:
    return "".join(
        f'<{tag}><a href="/{generator.randrange(9999)}">{sentence(generator, 1)}</a></{tag}>' for _ in range(count)
    )


def _sphinx(generator: random.Random, title: str, body: str) -> str:
    body = body.replace("</h2>", '<a class="headerlink" href="#x" title="Permalink to this headline">¶</a></h2>')
    return f"""<!DOCTYPE html><html><head><meta charset="utf-8"><title>{title} &#8212; Manual 2.1</title></head><body>
<div class="related" role="navigation"><h3>Navigation</h3><ul><li class="right"><a href="genindex.html">index</a></li>
<li class="right"><a href="next.html">next</a> |</li><li class="nav-item"><a href="index.html">Manual 2.1</a> &#187;</li>
</ul></div><div class="document"><div class="documentwrapper"><div class="bodywrapper"><div class="body" role="main">
<section id="s"><h1>{title}<a class="headerlink" href="#s" title="Permalink to this headline">¶</a></h1>
{body}</section><div class="clearer"></div></div></div></div>
<div class="sphinxsidebar" role="navigation"><div class="sphinxsidebarwrapper"><h3>Table of Contents</h3>
<ul>{_teasers(generator, 4)}</ul><h4>Previous topic</h4><p class="topless"><a href="p.html">{sentence(generator, 1)}</a></p>
<div role="note"><h3>This Page</h3><ul class="this-page-menu"><li><a href="s.txt">Show Source</a></li></ul></div>
<div id="searchbox"><h3>Quick search</h3><form action="search.html"><input name="q"><input type="submit" value="Go">
</form></div></div></div><div class="clearer"></div></div><div class="footer">&#169; Copyright 2019, The authors.
Created using <a href="https://www.sphinx-doc.org/">Sphinx</a> 7.2.</div></body></html>"""


def _wordpress(generator: random.Random, title: str, body: str) -> str:
    comments = "".join(
        f'<li class="comment"><article class="comment-body"><footer class="comment-meta"><b class="fn">{name}</b> says:'
        f'<a href="#c">March {generator.randint(1, 28)}, 2019</a></footer><div class="comment-content">'
        f'<p>{paragraph(generator, 2)}</p></div><div class="reply"><a href="#r">Reply</a></div></article></li>'
        for name in generator.sample(NAMES, generator.randint(0, 3))
    )
    return f"""<!DOCTYPE html><html><head><meta charset="utf-8"><title>{title} | A blog</title></head>
<body class="single single-post"><div id="page" class="site"><a class="skip-link screen-reader-text" href="#content">Skip
to content</a><header id="masthead" class="site-header"><p class="site-title"><a href="/">A blog</a></p>
<nav id="site-navigation" class="main-navigation"><ul class="menu">{_links(generator, 6)}</ul></nav></header>
<div id="content" class="site-content"><div id="primary" class="content-area"><main id="main" class="site-main">
<article class="post type-post hentry"><header class="entry-header"><h1 class="entry-title">{title}</h1>
<div class="entry-meta"><span class="posted-on">Posted on <a href="/2019/03"><time>March 3, 2019</time></a></span></div>
</header><div class="entry-content">{body}
<div class="sharedaddy sd-sharing-enabled"><h3 class="sd-title">Share this:</h3><ul><li><a href="#t">Click to share on
Twitter (Opens in new window)</a></li><li><a href="#f">Click to share on Facebook (Opens in new window)</a></li></ul>
</div><div id="jp-relatedposts" class="jp-relatedposts"><h3>Related</h3><ul>{_teasers(generator, 3)}</ul></div></div>
<footer class="entry-footer"><span class="cat-links">Posted in <a href="/c">Uncategorized</a></span></footer></article>
<nav class="navigation post-navigation"><a href="/p" rel="prev">{sentence(generator, 1)}</a></nav>
<div id="comments" class="comments-area"><ol class="comment-list">{comments}</ol><div id="respond" class="comment-respond">
<h3 id="reply-title">Leave a Reply</h3><form><p>Your email address will not be published.</p><textarea></textarea></form>
</div></div></main></div><aside id="secondary" class="widget-area"><section class="widget widget_recent_entries">
<h2 class="widget-title">Recent Posts</h2><ul>{_teasers(generator, 5)}</ul></section></aside></div>
<footer id="colophon" class="site-footer">Proudly powered by <a href="https://wordpress.org/">WordPress</a></footer>
</div></body></html>"""


def _mediawiki(generator: random.Random, title: str, body: str) -> str:
    edit = '<span class="mw-editsection">[<a href="?action=edit">edit</a>]</span>'
    body = body.replace("<h2>", '<h2><span class="mw-headline">').replace("</h2>", f"</span>{edit}</h2>")
    return f"""<!DOCTYPE html><html><head><meta charset="utf-8"><title>{title} - The wiki</title></head>
<body class="mediawiki ltr"><div id="content" class="mw-body" role="main"><h1 id="firstHeading" class="firstHeading">{title}
</h1><div id="bodyContent"><div id="siteSub" class="noprint">From The wiki, the free encyclopedia</div>
<div id="mw-content-text" class="mw-content-ltr"><div class="mw-parser-output"><div id="toc" class="toc"><div
class="toctitle"><h2>Contents</h2></div><ul>{_teasers(generator, 4)}</ul></div>{body}
<div role="navigation" class="navbox"><table class="nowraplinks navbox-inner"><tr><th class="navbox-title">Topics of the
wiki</th></tr><tr><td class="navbox-list"><ul>{_links(generator, 8)}</ul></td></tr></table></div></div></div>
<div id="catlinks" class="catlinks">Categories: <ul>{_links(generator, 3)}</ul></div></div></div>
<div id="mw-navigation"><h2>Navigation menu</h2><div id="mw-head"><ul>{_links(generator, 6)}</ul></div><div id="mw-panel">
<div class="portal"><h3>Tools</h3><ul>{_links(generator, 7)}</ul></div></div></div><div id="footer" role="contentinfo"><ul>
<li>This page was last edited on 25 October 2019.</li><li>Text is available under the licence.</li></ul></div>
</body></html>"""


def _question(generator: random.Random, title: str, body: str) -> str:
    return f"""<!DOCTYPE html><html><head><meta charset="utf-8"><title>{title} - Questions</title></head>
<body class="question-page"><header class="top-bar"><ol>{_links(generator, 5)}</ol></header><div class="container">
<div id="left-sidebar"><nav><ol class="nav-links">{_links(generator, 6)}</ol></nav></div><div id="content">
<div id="question-header"><h1 class="fs-headline1"><a href="/q/1" class="question-hyperlink">{title}</a></h1>
<div class="aside-cta"><a href="/ask" class="btn">Ask Question</a></div></div><div class="d-flex"><div>Asked
<time>7 years ago</time></div><div>Viewed 12k times</div></div><div id="mainbar"><div id="question" class="question">
<div class="post-layout"><div class="votecell"><button aria-label="Up vote">+</button><div class="vote-count">41</div>
</div><div class="postcell"><div class="s-prose js-post-body">{body}</div><div class="post-taglist">{_links(generator, 3, "span")}
</div><div class="post-signature"><div class="user-action-time">asked <span>Mar 3</span></div><div class="user-details">
<a href="/u/1">{generator.choice(NAMES)}{generator.randint(10, 99)}</a></div></div></div></div></div></div>
<div id="sidebar"><div class="module sidebar-related"><h4 id="h-related">Related</h4><div class="related">
{_teasers(generator, 6, "div")}</div></div><div id="hot-network-questions"><h4>Hot Network Questions</h4>
<ul>{_teasers(generator, 8)}</ul></div></div></div></div><footer id="footer" class="site-footer"><nav><ul>
{_links(generator, 9)}</ul></nav><p>Site design / logo 2019; user contributions licensed under the licence.</p></footer>
</body></html>"""


def _docusaurus(generator: random.Random, title: str, body: str) -> str:
    return f"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title} | Docs</title></head><body>
<div id="__docusaurus"><nav class="navbar navbar--fixed-top"><div class="navbar__inner">{_links(generator, 5, "div")}
</div></nav><div class="main-wrapper"><div class="docPage"><aside class="theme-doc-sidebar-container"><nav class="menu">
<ul class="theme-doc-sidebar-menu menu__list">{_teasers(generator, 7)}</ul></nav></aside><main class="docMainContainer">
<div class="container"><div class="row"><div class="col docItemCol"><div class="docItemContainer"><article>
<nav class="theme-doc-breadcrumbs"><ul class="breadcrumbs">{_links(generator, 3)}</ul></nav>
<div class="theme-doc-markdown markdown"><header><h1>{title}</h1></header>{body}</div>
<footer class="theme-doc-footer docusaurus-mt-lg"><a href="/edit" class="theme-edit-this-page">Edit this page</a></footer>
</article><nav class="pagination-nav docusaurus-mt-lg"><a class="pagination-nav__link" href="/n"><div
class="pagination-nav__sublabel">Next</div><div class="pagination-nav__label">{sentence(generator, 1)}</div></a></nav></div></div>
<div class="col col--3"><div class="tableOfContents"><ul class="table-of-contents">{_teasers(generator, 4)}</ul></div></div>
</div></div></main></div></div><footer class="footer footer--dark"><div class="footer__links">{_links(generator, 8, "div")}
</div><div class="footer__copyright">Copyright 2023 The authors. Built with Docusaurus.</div></footer></div></body></html>"""


def _tables(generator: random.Random, title: str, body: str) -> str:
    """A hand-written page of 1999 with table layout."""
    return f"""<HTML><HEAD><TITLE>{title}</TITLE></HEAD><BODY BGCOLOR="#ffffff"><TABLE WIDTH="100%" BORDER=0><TR>
<TD COLSPAN=2 ALIGN=center><FONT SIZE=5><A HREF="/">Department of Mathematics</A></FONT></TD></TR><TR>
<TD WIDTH=150 VALIGN=top BGCOLOR="#eeeeee"><FONT SIZE=2>{"<BR>".join(_links(generator, 9, "b").split("</b>"))}</FONT></TD>
<TD VALIGN=top><H1>{title}</H1>
{body}
<HR></TD></TR><TR><TD COLSPAN=2 ALIGN=center><FONT SIZE=1>[<A HREF="p.html">Previous</A>] [<A HREF="n.html">Next</A>]
[<A HREF="i.html">Up</A>] Last modified 3 March 1999. <A HREF="mailto:webmaster@example.edu">Webmaster</A></FONT></TD>
</TR></TABLE></BODY></HTML>"""


TEMPLATES: tuple[Callable[[random.Random, str, str], str], ...] = (
    _sphinx,
    _wordpress,
    _mediawiki,
    _question,
    _docusaurus,
    _tables,
)
