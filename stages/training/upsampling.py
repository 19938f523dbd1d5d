"""A limit on up-sampling: how many epochs of a bucket training may use to give it its share of the mix (3.1.2)."""

from collections.abc import Mapping

from stages.interface import StageError


def limit_epochs(
    shares: Mapping[str, float], counts: Mapping[str, int], tokens: float, max_epochs: float
) -> dict[str, float]:
    """The shares of a run of `tokens` tokens, adjusted so that no bucket is used for more than `max_epochs` epochs.

    What a bucket lacks, the others supply in proportion. counts: tokens of each bucket. Raises StageError if all of
    them together have too few.
    """
    limits = {bucket: max_epochs * counts[bucket] / tokens for bucket, share in shares.items() if share > 0}
    if sum(limits.values()) < 1:
        available = sum(counts[bucket] for bucket in limits)
        raise StageError(
            f"pretraining.shared.epochs: {max_epochs:g} passes over {available:,} tokens are fewer than the "
            f"{tokens:,.0f} to train on; take in more sources, allow more passes, or lower herd.flagship_flops"
        )
    capped: set[str] = set()
    while True:
        free = 1 - sum(limits[bucket] for bucket in capped)
        scale = free / sum(share for bucket, share in shares.items() if bucket not in capped) if free > 0 else 0.0
        exceeded = {bucket for bucket in limits if bucket not in capped and shares[bucket] * scale > limits[bucket]}
        if not exceeded:
            return {bucket: limits[bucket] if bucket in capped else share * scale for bucket, share in shares.items()}
        capped |= exceeded
