"""The limits of params.yaml."""

from stages.curation.filters.dirty_words import DirtyWords
from stages.curation.heuristics import Heuristics
from tests.curation.samples import section

LIMITS: Heuristics = Heuristics.model_validate(section("heuristics"))

DIRTY = DirtyWords(frozenset({"smut", "filth"}), ("dirty phrase",))
