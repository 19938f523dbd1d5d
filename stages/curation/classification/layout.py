"""Layout of a page as the first quality classifier sees it: paragraphs of sentences, or menus, forms and price lists.

The weak labels of that classifier depend on the page only, not on its source, so that it learns what a good page is and
not which site it is from. The rules use punctuation and a list of interface words in nine languages (assumption; paper
3.1.1 takes pages that Wikipedia refers to, and its web has links, which the packages' pages lack).
"""

import random
import re
from typing import NamedTuple

import numpy as np
import xxhash

from stages.curation.documents import Document

MAX_CHARACTERS = 6_000
"""Characters of a page that are measured."""
SENTENCE_END = re.compile("[.!?\u2026][\"'\u201d\u2019\u00bb)\\]]*(?=\\s|$)|[\u3002\uff01\uff1f]")
SENTENCE_CHARACTERS = (25, 400)
"""Mean length of the sentences of a paragraph of prose."""
SHORT_LINE = 40
WORD = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|\\w+")
INTERFACE_WORDS = (
    # accounts
    "log.?in log.?out sign.?in sign.?up password passwort contraseña mot.de.passe парол\\w* heslo hasło "
    "senha user.?name usuario benutzername register registr\\w+ enregistr\\w+ inscri\\w+ cadastr\\w+ "
    "регистрац\\w* войти account konto compte cuenta members? inloggen log.ind e-?mail\\w* captcha "
    # shops
    "cart warenkorb panier carrito корзин\\w* checkout shipping доставк\\w* add.to buy.now in.stock sku prices? prix "
    "preise? cena цен\\w* rabatt\\w* discount\\w* sale "
    # navigation
    "search suche recherche buscar поиск\\w* menu home.?page click.here contact.us kontakt\\w* contact?o faq forums? "
    "submit required.field newsletters? subscribe cookies? privacy.policy terms.(?:of|and).\\w+ copyright "
    "all.rights.reserved"
)
INTERFACE = re.compile(rf"\b(?:{'|'.join(INTERFACE_WORDS.split())})\b|[$€£]\s?\d|\d\s?(?:€|zł|kr\b)", re.IGNORECASE)
EDGES = {
    "line": (25, 35, 50, 70, 100, 150, 250),
    "interface": (0.3, 0.7, 1.5, 2.5, 4, 7),
    "prose": (0.2, 0.4, 0.6, 0.8, 0.9),
    "prose_characters": (100, 200, 400, 800, 1600, 4000),
    "labels": (0.01, 0.05, 0.1, 0.2),
}
"""Measure -> edges of the intervals that become features of the classifier."""
FEATURE_SHARE = 0.05
"""Occurrences of each layout feature per n-gram of the text."""
SHUFFLED_SHARE = 6
"""One of so many good pages is also a negative example, as a menu of its shuffled words."""


class Layout(NamedTuple):
    """Measures of a page."""

    line: float
    """Mean characters per line."""
    interface: float
    """Interface words and prices per 100 words."""
    prose: float
    """Share of the characters in paragraphs of sentences."""
    prose_characters: float
    labels: float
    """Share of the lines that end in a colon or an asterisk."""
    short: float
    """Share of lines below SHORT_LINE."""


def measure_layout(text: str) -> Layout:
    """The layout of the start of a text. Hard-wrapped lines of a paragraph count as one."""
    text = text[:MAX_CHARACTERS]
    paragraphs = [" ".join(part.split()) for part in re.split(r"\n\s*\n", text) if part.strip()]
    lines = [line.rstrip() for line in text.split("\n") if line.strip()]
    size, num_lines = sum(map(len, paragraphs)) or 1, len(lines) or 1
    least, most = SENTENCE_CHARACTERS
    prose = 0
    for paragraph in paragraphs:
        num_sentences = len(SENTENCE_END.findall(paragraph))
        if num_sentences and least <= len(paragraph) / num_sentences <= most:
            prose += len(paragraph)
    num_words = len(WORD.findall(text)) or 1
    return Layout(
        line=size / num_lines,
        interface=100 * len(INTERFACE.findall(text)) / num_words,
        prose=prose / size,
        prose_characters=prose,
        labels=sum(line.endswith((":", "*")) for line in lines) / num_lines,
        short=sum(len(line) < SHORT_LINE for line in lines) / num_lines,
    )


def weak_label(document: Document) -> str | None:
    """positive: mostly sentences, hardly any interface words; negative: few sentences or many interface words; None
    between, and for source files."""
    if document["media"] == "code":
        return None
    layout = measure_layout(document["text"])
    if layout.interface > 4 or layout.prose < 0.3 or layout.prose_characters < 100:
        return "negative"
    is_written = layout.prose >= 0.5 and layout.short < 0.7
    return "positive" if is_written and layout.interface < 1.5 and layout.labels < 0.15 else None


def layout_features(text: str, num_ngrams: int, hash_bits: int) -> np.ndarray:
    """Hashed features of the layout of a text with so many n-grams; each occurs for FEATURE_SHARE of them."""
    layout = measure_layout(text)._asdict()
    names = [f"layout {name} {np.searchsorted(edges, layout[name])}" for name, edges in EDGES.items()]
    hashed = [xxhash.xxh32_intdigest(name.encode()) >> (32 - hash_bits) for name in names]
    return np.repeat(np.array(hashed, np.int32), max(1, int(FEATURE_SHARE * num_ngrams)))


def shuffled_menu(document: Document, characters: int) -> Document | None:
    """A negative example made from the words of one of SHUFFLED_SHARE documents: lines of a few words; else None."""
    if xxhash.xxh32_intdigest(document["id"].encode(), 3) % SHUFFLED_SHARE:
        return None
    generator, words = random.Random(document["id"]), document["text"][:characters].split()
    generator.shuffle(words)
    lines = []
    while words:
        length = generator.randint(1, 5)
        lines.append(" ".join(words[:length]))
        words = words[length:]
    return document | {"text": "\n".join(lines)}
