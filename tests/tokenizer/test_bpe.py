import random
import re

import pytest
from tokenizers import Tokenizer

from stages.tokenizer import bpe
from tests.fixtures import VOCAB_SIZE, World


@pytest.fixture
def tokenizer(world: World) -> Tokenizer:
    return bpe.load(world.tokenizer)


def pieces(tokenizer: Tokenizer, text: str) -> list[str]:
    return [tokenizer.decode([token]) for token in tokenizer.encode(text, add_special_tokens=False).ids]


@pytest.mark.parametrize("text", ["1234567", "12+345=357", "the year 2024", "3.14159"])
def test_each_digit_is_a_token(tokenizer: Tokenizer, text: str) -> None:
    digits = [piece.strip() for piece in pieces(tokenizer, text) if re.search(r"\d", piece)]
    assert digits == re.findall(r"\d", text)


def test_no_token_of_the_vocabulary_joins_digits(tokenizer: Tokenizer) -> None:
    joined = [text for text in tokenizer.get_vocab() if sum(character.isdigit() for character in text) > 1]
    assert joined == []


def test_any_text_is_decoded_to_itself(tokenizer: Tokenizer) -> None:
    generator = random.Random(1)
    ranges = [
        (0, 0x80),
        (0, 0x250),
        (0x370, 0x1100),
        (0x3000, 0xD800),
        (0x1F300, 0x1FAFF),
        (0, 0xD800),
        (0xE000, 0x110000),
    ]
    texts = [
        "",
        " ",
        "\n\n",
        "\t x  y ",
        "\r\n",
        "don't",
        "été",
        "e\u0301",
        "\x00",
        "👨‍👩‍👧",
        "<|eot_id|>",
        "<|begin_of_text|>\n\n",
    ]
    for _ in range(400):
        low, high = generator.choice(ranges)
        texts.append("".join(chr(generator.randrange(low, high)) for _ in range(generator.randrange(1, 30))))
    for text in texts:
        tokens = tokenizer.encode(text, add_special_tokens=False).ids
        assert tokenizer.decode(tokens, skip_special_tokens=False) == text
        assert tokenizer.decode(tokens, skip_special_tokens=True) == text
        assert all(token < VOCAB_SIZE - len(bpe.SPECIAL_TOKENS) for token in tokens)


def test_the_vocabulary_has_vocab_size_tokens_with_the_special_ones_last(tokenizer: Tokenizer) -> None:
    assert tokenizer.get_vocab_size() == VOCAB_SIZE
    first = VOCAB_SIZE - len(bpe.SPECIAL_TOKENS)
    assert [tokenizer.token_to_id(token) for token in bpe.SPECIAL_TOKENS] == list(range(first, VOCAB_SIZE))


def test_training_again_gives_the_same_file(tmp_path, world: World) -> None:  # type: ignore[no-untyped-def]
    texts = [f"the cat {number} sat on the mat" for number in range(200)]
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        bpe.save(bpe.train(texts, 290), tmp_path / name)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
