"""A pseudo-random permutation of any length in constant memory: sample k of trillions is found without a list."""

MASK = (1 << 64) - 1
ROUNDS = 4


def permute(index: int, length: int, key: int) -> int:
    """The position of `index` in the permutation of range(length) that `key` selects.

    A Feistel network over the next even number of bits; a value outside the range is permuted again (cycle walking), so
    that the result is a permutation of the range.
    """
    half = max(1, (max(1, length - 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    while True:
        left, right = index >> half, index & mask
        for number in range(ROUNDS):
            left, right = right, left ^ (hash64(right ^ hash64(key + number)) & mask)
        index = left << half | right
        if index < length:
            return index


def hash64(value: int) -> int:
    """The 64-bit finaliser of splitmix64: every input bit affects every output bit."""
    value = (value + 0x9E3779B97F4A7C15) & MASK
    value = ((value ^ value >> 30) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ value >> 27) * 0x94D049BB133111EB) & MASK
    return value ^ value >> 31
