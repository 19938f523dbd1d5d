"""A limit on up-sampling: how often training may go through a bucket to give it its share of the mix (3.1.2)."""

from collections.abc import Mapping

from stages.interface import StageError


def limit_epochs(
    shares: Mapping[str, float], counts: Mapping[str, int], tokens: float, most: float
) -> dict[str, float]:
    """The shares of a run of so many tokens, none of which takes more than `most` passes over its bucket.

    What a bucket cannot give the others give in proportion. counts: tokens of each bucket. Raises StageError where all
    of them together are too few.
    """
    most_of = {bucket: most * counts[bucket] / tokens for bucket, share in shares.items() if share > 0}
    if sum(most_of.values()) < 1:
        raise StageError(
            f"pretraining.shared.epochs: {most:g} passes over {sum(counts[b] for b in most_of):,} tokens are fewer "
            f"than the {tokens:,.0f} to train on; take in more sources, allow more passes, or lower herd.flagship_flops"
        )
    capped: set[str] = set()
    while True:
        free = 1 - sum(most_of[bucket] for bucket in capped)
        scale = free / sum(share for bucket, share in shares.items() if bucket not in capped) if free > 0 else 0.0
        more = {bucket for bucket in most_of if bucket not in capped and shares[bucket] * scale > most_of[bucket]}
        if not more:
            return {bucket: most_of[bucket] if bucket in capped else share * scale for bucket, share in shares.items()}
        capped |= more
