import time

import pytest

from stages.tasks.sandbox import run_programs

GOOD = "def f(x): return x + 3"
TEST = ["f(4)"]


@pytest.mark.parametrize(
    ("program", "error"),
    [
        ("while True: pass", "timeout"),
        ("def f(x):\n while True: pass", "timeout"),
        ("try:\n while True: pass\nexcept:\n while True: pass", "timeout"),
        ("def f(x): return 9 ** 9 ** 9 ** 9", "timeout"),
        ("x = 'a' * 10 ** 10", "memory"),
        ("x = []\nwhile True: x.append('a' * 10 ** 6)", "memory"),
        ("import os", "forbidden"),
        ("from sys import exit", "forbidden"),
        ("__import__('os')", "forbidden"),
        ("().__class__.__base__.__subclasses__()", "forbidden"),
        ("g = (g.gi_frame for _ in [1])", "forbidden"),
        ("'{0.__class__}'.format(1)", "forbidden"),
        ("class A: pass", "forbidden"),
        ("match 1:\n case int(__class__=c): pass", "forbidden"),
        ("def __eq__(a, b): return True", "forbidden"),
        ("exit()", "exception"),
        ("raise SystemExit", "exception"),
        ("open('/etc/passwd')", "exception"),
        ("eval('1')", "exception"),
        ("getattr(1, 'real')", "exception"),
        ("1 / 0", "exception"),
        ("def f(x) return x", "syntax"),
        ("(" * 5000, "syntax"),
        ("\0", "syntax"),
        ("\ud800", "syntax"),
    ],
)
def test_a_bad_program_fails_alone(program: str, error: str) -> None:
    before, bad, after = run_programs([GOOD, program, GOOD], [TEST] * 3)
    assert before.values == after.values == ("7",)
    assert before.error is after.error is None
    assert (bad.error, bad.values) == (error, (None,))
    assert bad.stderr


def test_outcomes_tell_what_happened() -> None:
    program = "print('start')\ndef f(x):\n    if x > 5: raise ValueError('too big')\n    return x"
    (result,) = run_programs([program], [["f(1)", "f(9)", "f('a') == 3", "g(1)"]])
    assert result.values == ("1", None, None, None)
    assert result.error is None
    assert result.stdout == "start\n"
    assert result.stderr == "ValueError: too big"


def test_a_program_cannot_rebind_what_its_tests_use() -> None:
    for shadow in ("def len(x): return 7", "len = lambda *a: 7", "for len in [lambda x: 7]: pass"):
        (result,) = run_programs(
            [f"{shadow}\ndef f(x):\n global str\n str = len\n return x"], [["f(1)", "len('a')", "str(2)"]]
        )
        assert result.values == ("1", "1", "'2'")


SWALLOWED = {
    "except": "def f(x):\n try:\n  while True: pass\n except:\n  return x + 3",
    "finally": "def f(x):\n try:\n  while True: pass\n finally:\n  return x + 3",
    "finally with a loop": "def f(x):\n try:\n  while True: pass\n finally:\n  while True: pass",
    "break in finally": "def f(x):\n while True:\n  try:\n   while True: pass\n  finally:\n   break\n return x + 3",
    "nested": "def f(x):\n try:\n  try:\n   while True: pass\n  finally: sum([1])\n except: return x + 3",
    "generator": "def g():\n try: yield 1\n finally:\n  while True: pass\ndef f(x):\n for _ in g(): break\n return 7",
    "raised anew": "def f(x):\n try:\n  while True: pass\n except:\n  raise ValueError",
    "before the definition": "try:\n while True: pass\nexcept: pass\ndef f(x): return x + 3",
    "one operation": "def f(x):\n try: return 9 ** 9 ** 9\n except: return x + 3",
    "long range": "def f(x):\n try: sum(range(10 ** 12))\n except: pass\n return x + 3",
    "huge range": "def f(x):\n try: range(10 ** 30)\n except: pass\n return x + 3",
    "squares": "def f(x):\n y = 3\n try:\n  while True: y *= y\n except: return x + 3",
}


@pytest.mark.parametrize("program", SWALLOWED.values(), ids=SWALLOWED)
def test_an_endless_program_fails_whatever_it_catches(program: str) -> None:
    bad, after = run_programs([program, GOOD], [TEST] * 2)
    assert (bad.error, bad.values) == ("timeout", (None,))
    assert after.values == ("7",)


def test_metered_operators_compute_what_python_does() -> None:
    expressions = [
        "2 ** 10",
        "2 ** -1",
        "2.5 ** 2",
        "pow(3, 4, 5)",
        "'ab' * 3",
        "3 * [1]",
        "1 << 70",
        "[*range(5, 0, -2)]",
    ]
    program = "def f(v):\n w = v\n w *= 2\n n = 3\n n **= 2\n n <<= 1\n return v, n"
    (result,) = run_programs([program], [[*expressions, "f([1])"]])
    assert result.values == (*(repr(eval(expression)) for expression in expressions), "([1, 1], 18)")


def test_output_is_cut_and_programs_do_not_see_each_other() -> None:
    flood, probe = run_programs(["while len('a') == 1:\n print('x' * 1000)", "leak = f"], [["1"], ["1"]])
    assert flood.error == "timeout"
    assert len(flood.stdout) == 2_000
    assert probe.stderr == "NameError: name 'f' is not defined"


def test_sets_have_the_same_order_in_every_child() -> None:
    program = "print(list({'cat', 'dog', 'bird', 'cow', 'wolf'}))"
    assert len({run_programs([program], [[]])[0].stdout for _ in range(3)}) == 1


def test_the_child_can_open_nothing_even_if_it_escapes() -> None:
    import subprocess
    import sys

    from stages.tasks import sandbox

    script = (
        f"import runpy, io, sys; child = runpy.run_path({str(sandbox._CHILD)!r}); import socket\n"
        "sys.stdin = io.TextIOWrapper(io.BytesIO(b'')); child['main']()\n"
        "for attempt in (lambda: open('/etc/hostname'), socket.socket):\n"
        "    try: attempt(); print('opened')\n"
        "    except OSError as error: print(error.errno)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["24", "24"]  # EMFILE


def test_two_thousand_programs_take_seconds() -> None:
    started = time.process_time(), time.monotonic()
    results = run_programs([f"def f(x): return x + {i}" for i in range(2000)], [["f(1)"] * 5 for i in range(2000)])
    assert [result.values for result in results] == [(str(i + 1),) * 5 for i in range(2000)]
    assert time.monotonic() - started[1] < 10


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="1 programs but 0"):
        run_programs([GOOD], [])
    assert run_programs([], []) == []


def test_names_that_are_not_ascii_do_not_take_the_child_down() -> None:
    # Python normalises such names with a module it loads on first use, when no file may be opened any more.
    results = run_programs(["def f(ß): return ß", "def f(x): return x"], [["f(1)"]] * 2)
    assert [result.values for result in results] == [("1",), ("1",)]
