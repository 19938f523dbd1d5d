"""Personal data in text."""

import pytest

from stages.curation import personal_data


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Write to jane.doe+x@mail.example.org today.", "Write to [EMAIL] today."),
        ("Call +49 30 1234 5678 or (212) 555-0123.", "Call [PHONE] or [PHONE]."),
        ("Tel: 030 123 45 67, Telefon: 00800 400 200 00", "Tel: [PHONE], Telefon: [PHONE]"),
        ("Pay with 4111 1111 1111 1111 now", "Pay with [CARD] now"),
        ("to DE89 3704 0044 0532 0130 00 please", "to [IBAN] please"),
        ("from 8.8.8.8 it came", "from [IP] it came"),
        ("2001:4860:4860:0000:0000:0000:0000:8888", "[IP]"),
    ],
)
def test_personal_data_is_masked(text: str, masked: str) -> None:
    assert personal_data.mask(text).text == masked


@pytest.mark.parametrize(
    "text",
    [
        "not a card: 4111 1111 1111 1112",
        "no account: DE89 3704 0044 0532 0130 01",
        "local 127.0.0.1 and 192.168.1.1, version 1.2.3",
        "3 + 4 - 2 = 5, 9 - 2 = 7, 100-200-300",
        "pi = 3.14159265358979323846264338327950288",
        "@decorator\ndef f(a, b): return a @ b",
        "from 1914 to 1918, in 2020-2021, page 12-345",
    ],
)
def test_what_only_looks_like_it_stays(text: str) -> None:
    assert personal_data.mask(text) == (text, {})
