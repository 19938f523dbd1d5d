"""Would an encyclopaedia refer to this page (paper 3.1.1)? Weak labels by source for the first quality classifier."""

from typing import Annotated, Literal

from pydantic import Field

from stages.interface import Section


class Quality(Section):
    """Model-based quality filtering (3.1.1)."""

    positive: list[str]
    """Sources whose pages stand for what an encyclopaedia refers to (assumption: weak labels)."""

    negative: list[str]
    """Sources whose pages stand for random pages (assumption)."""

    threshold: Annotated[float, Field(ge=0, le=1)]
    """Documents with a lower score are dropped (assumption; the paper gives none)."""

    buckets: list[Literal["general", "math", "code", "multilingual"]]
    """Buckets in which the threshold holds: code and mathematics have their own measure (assumption)."""

    lowest: Annotated[float, Field(ge=0, lt=1)]
    """Share of each language's documents, the lowest ranked, of which the multilingual ones are dropped (assumption;
    paper 3.1.1 ranks multilingual documents by quality and gives no share)."""
