"""Personal data masked: e-mail, phone, card and bank account numbers, public IP addresses (paper 3.1.1, PII)."""

import ipaddress
import re
from collections.abc import Callable
from typing import NamedTuple


class Masked(NamedTuple):
    """The text with masks in place of what was found, and the number found of each kind."""

    text: str
    found: dict[str, int]


def mask(text: str) -> Masked:
    """Masks all kinds; a mask never crosses a line end, so the numbering of lines stays."""
    found: dict[str, int] = {}
    for kind, needs, pattern, valid in KINDS:
        if not any(hint in text for hint in needs):
            continue

        def replace(match: re.Match[str], kind: str = kind, valid: Callable[[str], bool] = valid) -> str:
            if not valid(match[0]):
                return match[0]
            found[kind] = found.get(kind, 0) + 1
            return f"[{kind}]"

        text = pattern.sub(replace, text)
    return Masked(text, found)


def luhn(number: str) -> bool:
    """Whether 13 to 19 digits carry a right check digit (ISO/IEC 7812) and are not all the same."""
    digits = [int(character) for character in number if character.isdigit()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return 13 <= len(digits) <= 19 and len(set(digits)) > 1 and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def iban(number: str) -> bool:
    """Whether the check digits of an international bank account number are right (ISO 13616)."""
    compact = number.replace(" ", "")
    if not 15 <= len(compact) <= 34:
        return False
    return int("".join(str(int(character, 36)) for character in compact[4:] + compact[:4])) % 97 == 1


def _address(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).is_global
    except ValueError:
        return False


def _phone(text: str) -> bool:
    digits = sum(character.isdigit() for character in text)
    return 8 <= digits <= 15 if text[0] == "+" else 7 <= digits <= 15


def _always(text: str) -> bool:
    return True


DIGITS = tuple("0123456789")
KINDS: tuple[tuple[str, tuple[str, ...], re.Pattern[str], Callable[[str], bool]], ...] = (
    ("EMAIL", ("@",), re.compile(r"(?<![\w.+-])[\w][\w.+-]{0,63}@(?:[\w-]{1,63}\.){1,4}[A-Za-z]{2,18}\b"), _always),
    ("IBAN", DIGITS, re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b"), iban),
    ("CARD", DIGITS, re.compile(r"(?<![\d.,-])[3-6]\d{3}([ -]?)\d{4}\1\d{4}\1\d{1,7}(?![\d.,-]\d)(?!\d)"), luhn),
    ("PHONE", ("+",), re.compile(r"(?<![\w+])\+\d{1,3}(?:[ .-]?\(\d{1,4}\))?(?:[ .-]?\d{2,4}){2,5}(?!\d)"), _phone),
    ("PHONE", ("(", "-"), re.compile(r"(?<![\w.-])(?:\(\d{3}\) ?|\d{3}-)\d{3}-\d{4}(?![\w-])"), _phone),
    (
        "PHONE",
        DIGITS,
        re.compile(r"(?<=[Tt]el[.:] |TEL[.:] |one[.:] |fon[.:] |[Ff]ax[.:] )[(\d][\d ()/.-]{5,18}\d"),
        _phone,
    ),
    ("IP", (".",), re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.]\d|\d)"), _address),
    ("IP", (":",), re.compile(r"(?<![\w:])(?:[0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}(?![\w:])"), _address),
)
"""(kind, texts of which one must occur, pattern, check); tried in this order."""
