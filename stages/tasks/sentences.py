"""Whether a text is made of well-formed English sentences, by rules on the order of function words.

The rules find lists of words, missing objects and words in random order. They know no meaning: a fluent text about
nothing passes, and the verifiers that use them check the content on their own.
"""

import re


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_DETERMINERS = _words("a an the my your our his her their its every each some any no this that these those")
_PREPOSITIONS = _words("in on at for with without of from by into onto about after before until during over under near")
_CONJUNCTIONS = _words("and or but if because while when as then so than")
_AUXILIARIES = _words("is are was were be been can could will would should must may might have has had do does did")
_PRONOUNS = _words("i you he she it we they me us them who what which everyone someone")
_RELATIVE = _words("who what which")
_NUMBERS = _words("one two three four five six seven eight nine ten eleven twelve")
# Verbs of advice and invitation; the verb of the request itself is passed as `verbs`.
VERBS = _words("""
    ask answer bring buy call check choose clean collect come compare contact cook cut do draw enjoy find finish follow
    gather get give go hold invite invites join keep know learn leave let like likes listen look make measure meet mix
    move need open plan play practise practice prepare put read remember reply save see send set share show sit start
    stay stop store take talk tell think try use visit wait want wash watch welcome work write
    """)
# Verbs that are never nouns.
_VERBS_ONLY = _words(
    "ask bring buy choose come follow get give go invite join keep know learn let listen make meet see"
)
# What may not follow a word of a class; "" is the end of a clause.
_FORBIDDEN_AFTER = (
    (
        _DETERMINERS,
        _DETERMINERS
        | _PREPOSITIONS
        | _CONJUNCTIONS
        | _AUXILIARIES - {"can"}
        | _VERBS_ONLY
        | {"you", "i", "we", "it", ""},
    ),
    (_PREPOSITIONS, _CONJUNCTIONS | _AUXILIARIES | _PREPOSITIONS | {"i"}),
    (_words("at by during for from into of onto with without"), frozenset({""})),
    (_words("and or but if because"), _words("and or but of") | {""}),
    (frozenset({"to"}), _PREPOSITIONS | _CONJUNCTIONS | {"to", ""}),
)
_LONGEST_RUN = 4
"""Words in a row that are no function words ("get good tools"); a list of nouns has more."""

_FUNCTION_WORDS = _DETERMINERS | _PREPOSITIONS | _CONJUNCTIONS | _AUXILIARIES | _PRONOUNS | {"to", "not", "please"}


def split_sentences(text: str) -> list[str]:
    """The sentences of a text, each with its final mark."""
    return [part for part in re.split(r"(?<=[.!?])\s+", text.strip()) if part]


def split_clauses(sentence: str) -> list[list[str]]:
    """The words of each clause, in lower case; commas, colons and semicolons separate clauses."""
    words = [re.findall(r"[a-zà-ÿ]+(?:['-][a-zà-ÿ]+)*|\d+", part) for part in re.split(r"[,;:]", sentence.lower())]
    return [clause for clause in words if clause]


def has_verb(clause: list[str], verbs: frozenset[str]) -> bool:
    """True if a verb stands where English puts one, and not in a relative clause: first in the clause, or after "to",
    "and", an adverb, a modal or its subject."""
    lead = {"to", "and", "then", "first", "also", "please", "not", "just", "or", *_PRONOUNS, *_AUXILIARIES} - _RELATIVE
    for before, word, place in zip(["", *clause], clause, range(len(clause)), strict=False):
        if word in verbs and (place == 0 or before in lead):
            return True
        # "every nurse is welcome", "the director invites you"
        is_finite = word in _AUXILIARIES or (word.endswith("s") and word.removesuffix("s") in verbs)
        if is_finite and 0 < place < len(clause) - 1 and before not in _RELATIVE:
            return True
    return False


def is_word_order_plausible(clause: list[str]) -> bool:
    """False for a clause with function words where none can be, a list of words, or a word twice in a row."""
    run = 0
    for word, following in zip(clause, [*clause[1:], ""], strict=True):
        if word == following or any(word in first and following in bad for first, bad in _FORBIDDEN_AFTER):
            return False
        run = 0 if word in _FUNCTION_WORDS else run + 1
        if run > _LONGEST_RUN or (len(word) == 1 and word not in "ai" and not word.isdecimal()):
            return False
    return sum(word in _NUMBERS or word.isdecimal() for word in clause) <= 2


def is_well_formed(text: str, verbs: frozenset[str] = VERBS) -> bool:
    """True if each sentence begins with a capital, ends with a full stop or an exclamation mark, has a verb of `verbs`
    or an auxiliary where English puts one, and no clause is a mere list of words."""
    sentences = split_sentences(text)
    if not sentences:
        return False
    for sentence in sentences:
        clauses = split_clauses(sentence)
        if not clauses or not sentence[0].isupper() or sentence[-1] not in ".!":
            return False
        if not all(map(is_word_order_plausible, clauses)) or not any(has_verb(clause, verbs) for clause in clauses):
            return False
    words = [word for sentence in sentences for clause in split_clauses(sentence) for word in clause]
    triples = list(zip(words, words[1:], words[2:], strict=False))
    return len(set(triples)) > len(triples) / 2
