"""Masks personal data: e-mail, phone, card and bank account numbers, public IP addresses (paper 3.1.1, PII)."""

import ipaddress
import re
from collections.abc import Callable
from typing import NamedTuple


class Masked(NamedTuple):
    """The masked text, and the number of pieces found by kind."""

    text: str
    found: dict[str, int]


def mask(text: str) -> Masked:
    """Masks all kinds. A mask never crosses a line end, so line numbers stay valid."""
    found: dict[str, int] = {}
    for kind, hints, pattern, is_valid in KINDS:
        if not any(hint in text for hint in hints):
            continue

        def replace(match: re.Match[str], kind: str = kind, is_valid: Callable[[str], bool] = is_valid) -> str:
            if not is_valid(match[0]):
                return match[0]
            found[kind] = found.get(kind, 0) + 1
            return f"[{kind}]"

        text = pattern.sub(replace, text)
    return Masked(text, found)


def is_card(number: str) -> bool:
    """Whether the text has 13 to 19 digits, not all the same, with a valid check digit (ISO/IEC 7812, Luhn)."""
    digits = [int(character) for character in number if character.isdigit()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return 13 <= len(digits) <= 19 and len(set(digits)) > 1 and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def is_iban(number: str) -> bool:
    """Whether the check digits of an international bank account number are valid (ISO 13616)."""
    compact = number.replace(" ", "")
    if not 15 <= len(compact) <= 34:
        return False
    return int("".join(str(int(character, 36)) for character in compact[4:] + compact[:4])) % 97 == 1


def _is_public_ip(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).is_global
    except ValueError:
        return False


def _is_phone(text: str) -> bool:
    digits = sum(character.isdigit() for character in text)
    return 8 <= digits <= 15 if text[0] == "+" else 7 <= digits <= 15


def _accept(text: str) -> bool:
    return True


DIGITS = tuple("0123456789")
KINDS: tuple[tuple[str, tuple[str, ...], re.Pattern[str], Callable[[str], bool]], ...] = (
    ("EMAIL", ("@",), re.compile(r"(?<![\w.+-])[\w][\w.+-]{0,63}@(?:[\w-]{1,63}\.){1,4}[A-Za-z]{2,18}\b"), _accept),
    ("IBAN", DIGITS, re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b"), is_iban),
    ("CARD", DIGITS, re.compile(r"(?<![\d.,-])[3-6]\d{3}([ -]?)\d{4}\1\d{4}\1\d{1,7}(?![\d.,-]\d)(?!\d)"), is_card),
    ("PHONE", ("+",), re.compile(r"(?<![\w+])\+\d{1,3}(?:[ .-]?\(\d{1,4}\))?(?:[ .-]?\d{2,4}){2,5}(?!\d)"), _is_phone),
    ("PHONE", ("(", "-"), re.compile(r"(?<![\w.-])(?:\(\d{3}\) ?|\d{3}-)\d{3}-\d{4}(?![\w-])"), _is_phone),
    (
        "PHONE",
        DIGITS,
        re.compile(r"(?<=[Tt]el[.:] |TEL[.:] |one[.:] |fon[.:] |[Ff]ax[.:] )[(\d][\d ()/.-]{5,18}\d"),
        _is_phone,
    ),
    ("IP", (".",), re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.]\d|\d)"), _is_public_ip),
    ("IP", (":",), re.compile(r"(?<![\w:])(?:[0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}(?![\w:])"), _is_public_ip),
)
"""(kind, texts of which one must occur, pattern, check), applied in this order."""
