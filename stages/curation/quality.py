"""Would an encyclopaedia refer to this page (paper 3.1.1)? Weak labels by source for the first quality classifier."""

from typing import Annotated

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

    buckets: list[str]
    """Buckets in which the threshold holds: code and mathematics have their own measure (assumption)."""
