"""The byte-level BPE tokenizer: training, and loading and saving in Hugging Face's format."""

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

BEGIN_OF_TEXT, END_OF_TEXT = "<|begin_of_text|>", "<|end_of_text|>"
START_HEADER, END_HEADER = "<|start_header_id|>", "<|end_header_id|>"
END_OF_MESSAGE, END_OF_TURN = "<|eom_id|>", "<|eot_id|>"
PYTHON_TAG, PAD = "<|python_tag|>", "<|finetune_right_pad_id|>"
SPECIAL_TOKENS = (BEGIN_OF_TEXT, END_OF_TEXT, PAD, START_HEADER, END_HEADER, END_OF_MESSAGE, END_OF_TURN, PYTHON_TAG)
"""The released Llama 3 names; the paper (4.1.1) describes the header and termination tokens without naming them."""

SPLIT_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""tiktoken's cl100k pattern, but with single digits, so that numbers of any length are split alike."""


def train(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Trains a tokenizer of `vocab_size` tokens, the special ones last, on `texts`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT_PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in SPECIAL_TOKENS])
    # For other tools: as in the released models, every text begins with the token that began every document in
    # training. This project encodes with add_special_tokens=False.
    begin = (BEGIN_OF_TEXT, tokenizer.token_to_id(BEGIN_OF_TEXT))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN_OF_TEXT} $A", pair=f"{BEGIN_OF_TEXT} $A {BEGIN_OF_TEXT} $B:1", special_tokens=[begin]
    )
    return _escape_special_tokens(tokenizer)


def save(tokenizer: Tokenizer, directory: Path) -> None:
    """Writes tokenizer.json and the config that transformers reads with it."""
    tokenizer.save(str(directory / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BEGIN_OF_TEXT,
        "eos_token": END_OF_TURN,
        "pad_token": PAD,
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")


def load(directory: Path) -> Tokenizer:
    """Loads a directory's tokenizer; text that looks like a special token is encoded as text."""
    return _escape_special_tokens(Tokenizer.from_file(str(directory / "tokenizer.json")))


def _escape_special_tokens(tokenizer: Tokenizer) -> Tokenizer:
    # Text must not be able to end a turn or begin a document: special tokens are inserted by id. The file does not
    # store this setting.
    tokenizer.encode_special_tokens = True
    return tokenizer
