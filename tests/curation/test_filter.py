"""Filters drop what they should, for the reason they say, and leave good text alone."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import xxhash

from stages.curation import blocklist, documents, filter, heuristics, pii, url
from stages.curation.blocklist import Blocklist
from stages.curation.filter import Config, Filter
from stages.curation.heuristics import Heuristics, duplicate_share, top_share
from stages.interface import StageError
from tests.curation.samples import PROSE, contents, document, fresh, section, store
from tests.recorder import Recorder

RULES = Filter.model_validate(section("filter"))
LIMITS: Heuristics = RULES.heuristics
CODE = "\n".join(f"def function_{n}(value):\n    return value * {n} + len(str(value))\n" for n in range(12))


@pytest.fixture
def blocked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A block list of two domains in place of the large one."""
    path = tmp_path / "domains.npy"
    np.save(
        path, np.sort(np.array([xxhash.xxh64_intdigest(name) for name in (b"bad.example", b"worse.org")], np.uint64))
    )
    monkeypatch.setattr(blocklist, "prepare", lambda: path)
    return path


def test_block_list_covers_subdomains_and_nothing_else(blocked: Path) -> None:
    hosts = Blocklist(blocked, ["extra.net"])
    assert all(host in hosts for host in ("bad.example", "a.b.bad.example", "WORSE.org", "www.extra.net"))
    assert not any(host in hosts for host in ("example", "notbad.example", "org", "bad.example.com", "", "localhost"))


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
    assert pii.mask(text).text == masked


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
    assert pii.mask(text) == (text, {})


@pytest.mark.parametrize(
    ("address", "normal"),
    [
        ("HTTP://www.Example.org:80/a/index.html#top", "example.org/a"),
        ("https://example.org/a/", "example.org/a"),
        ("https://example.org/a?b=2&utm_source=x&a=1&fbclid=3", "example.org/a?a=1&b=2"),
        ("https://example.org/%7Ejane/caf%c3%a9", "example.org/~jane/caf%C3%A9"),
        ("https://example.org:8080/a;jsessionid=12", "example.org:8080/a"),
        ("http://[broken/a", "http://[broken/a"),
    ],
)
def test_urls_have_one_form(address: str, normal: str) -> None:
    assert url.normalise(address) == normal
    assert url.normalise(normal if "//" in normal else f"https://{normal}") == normal


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("https://example.org/a", None),
        ("ftp://example.org/a", "malformed"),
        ("https://[1/", "malformed"),
        ("https://a.b/" + "x" * 99, "long"),
    ],
)
def test_addresses_refused(address: str, reason: str | None) -> None:
    assert url.refuse(address, 80) == reason


def test_repetition_measures_on_a_worked_example() -> None:
    # Words of one letter: a b c a b c a b c d. The 3-gram abc covers 9 of 10 letters, 6 of them for a second time.
    ids = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 3], np.uint64)
    sizes = np.ones(10, np.int64)
    assert top_share(ids, sizes, 3) == pytest.approx(0.9)
    assert duplicate_share(ids, sizes, 3) == pytest.approx(0.6)
    assert duplicate_share(ids, sizes, 11) == top_share(ids, sizes, 11) == 0
    assert duplicate_share(np.arange(10, dtype=np.uint64), sizes, 2) == 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (PROSE, None),
        ("Too short to say much.", "too few words"),
        (f"{PROSE}\n" * 3, "repeated lines"),
        (" ".join(["cheap watches online now"] * 30), "one 2-gram too often"),
        (PROSE.replace(" the ", " the # "), "symbols"),
        ("\n".join(sentence + "..." for sentence in PROSE.split(". ")), "ellipsis lines"),
        (" ".join("abcdefghijklmnopqrst" for _ in range(30)), "word length"),
    ],
)
def test_heuristics_name_the_rule(text: str, reason: str | None) -> None:
    assert heuristics.judge(document(text), LIMITS) == reason


def test_exercises_maths_and_code_survive_their_own_rules() -> None:
    questions = "\n".join(
        f"Q: What is {word} in French? A: mot{n} Q: Translate {word} to German. A: Wort{n}"
        for n, word in enumerate(("river", "table", "house", "green", "seven", "horse", "bread", "cloud"))
    )
    sums = "\n".join(f"{a} + {b} = {a + b}. {a + b} - {a} = {b}." for a in range(6) for b in range(4))
    assert heuristics.judge(document(questions), LIMITS) is None
    assert heuristics.judge(document(sums), LIMITS) is None
    assert heuristics.judge(document(CODE, media="code", code=[[0, CODE.count("\n")]]), LIMITS) is None
    minified = document("x=" + "1," * 2000 + "0\n" + CODE, media="code")
    assert heuristics.judge(minified, LIMITS) == "long line of code"


def test_stage_accounts_for_every_document(tmp_path: Path, blocked: Path) -> None:
    contact = f"{PROSE} Mail a@b.example, c@d.example, e@f.example, or g@h.example."
    rows = [
        document(PROSE, "https://good.example/1"),
        document(f"Ask me@home.example about it. {PROSE}", "https://good.example/2"),
        document(PROSE, "https://www.bad.example/3"),
        document(PROSE, "gopher://good.example/4"),
        document(contact, "https://good.example/5"),
        document("Nothing.", "https://good.example/6"),
    ]
    source = store(tmp_path / "in", rows, shards=2)
    metrics = filter.run(
        Config(RULES), {"documents": source}, {"documents": fresh(tmp_path / "out")}, Recorder(tmp_path)
    )
    assert [(row["step"], row["reason"], row["documents"]) for row in metrics["funnel"]] == [
        ("url", "malformed", 1),
        ("blocklist", "domain", 1),
        ("pii", "density", 1),
        ("heuristics", "too few words", 1),
    ]
    assert (metrics["documents_in"], metrics["documents_out"], metrics["masked"]) == (6, 2, {"EMAIL": 1})
    kept = documents.read_all(tmp_path / "out")
    assert [row["text"] for row in kept] == [PROSE, f"Ask [EMAIL] about it. {PROSE}"]
    removed = pq.read_table(tmp_path / "out" / "removed.parquet").to_pylist()
    assert {row["url"] for row in removed} == {row["url"] for row in rows[2:]}

    whole = store(tmp_path / "whole", rows)
    again = filter.run(
        Config(RULES), {"documents": whole}, {"documents": fresh(tmp_path / "again")}, Recorder(tmp_path)
    )
    assert again == metrics
    assert contents(tmp_path / "again")["removed.parquet"] == contents(tmp_path / "out")["removed.parquet"]


def test_nothing_left_says_which_section_to_loosen(tmp_path: Path, blocked: Path) -> None:
    source = store(tmp_path / "in", [document("Nothing.")])
    with pytest.raises(StageError, match=r"loosen curation\.filter"):
        filter.run(Config(RULES), {"documents": source}, {"documents": fresh(tmp_path / "out")}, Recorder(tmp_path))
