"""Options of the first quality classifier: would an encyclopaedia refer to this page (paper 3.1.1)?"""

from typing import Annotated, Literal

from pydantic import Field

from stages.interface import Section
from stages.tasks import REGISTRY, source_name


class Quality(Section):
    """Model-based quality filtering (3.1.1)."""

    positive: list[str]
    """Sources of positive examples, besides generated tasks with `is_quality_positive` (assumption: weak labels)."""

    negative: list[str]
    """Sources of negative examples (assumption)."""

    threshold: Annotated[float, Field(ge=0, le=1)]
    """Documents with a lower score are dropped (assumption; the paper gives none)."""

    buckets: list[Literal["general", "math", "code", "multilingual"]]
    """Buckets that the threshold applies to; code and mathematics have their own classifiers (assumption)."""

    lowest: Annotated[float, Field(ge=0, lt=1)]
    """Multilingual documents below this percentile of their language are dropped (assumption; paper 3.1.1 ranks
    multilingual documents by quality and gives no share)."""

    def sources_by_label(self) -> dict[str, list[str]]:
        """positive, negative -> sources."""
        generated = [source_name(name) for name, task in REGISTRY.items() if task.INFO.is_quality_positive]
        return {"positive": [*self.positive, *generated], "negative": self.negative}
