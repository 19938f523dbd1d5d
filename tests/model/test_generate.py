import random
from collections.abc import Sequence
from pathlib import Path

import torch
import transformers

from stages.model.files import save_model
from stages.model.generate import decode, draw, generate
from stages.model.llama import Cache, Llama
from tests.fixtures import VOCAB_SIZE, World, shape, sharp

PLAIN = VOCAB_SIZE - 8


def some_prompts(lengths: Sequence[int]) -> list[list[int]]:
    generator = random.Random(1)
    return [[generator.randrange(PLAIN) for _ in range(length)] for length in lengths]


@torch.no_grad()
def without_cache(model: Llama, prompt: list[int], new: int, stop: set[int]) -> list[int]:
    tokens = list(prompt)
    for _ in range(new):
        drawn = int(model(torch.tensor([tokens]))[0, -1].argmax())
        if drawn in stop:
            break
        tokens.append(drawn)
    return tokens[len(prompt) :]


def test_greedy_with_cache_is_greedy_without_and_that_of_transformers(world: World, tmp_path: Path) -> None:
    model = sharp(Llama(shape(tie_word_embeddings=False)).initialise(1))
    prompts = some_prompts([1, 7, 30, 90, 7])
    found = generate(model, prompts, max_new_tokens=24, stop=())
    assert found == [without_cache(model, prompt, 24, set()) for prompt in prompts]
    assert all(len(answer) == 24 for answer in found)
    save_model(model, tmp_path, world.tokenizer, 128)
    theirs = transformers.LlamaForCausalLM.from_pretrained(tmp_path)
    for prompt, answer in zip(prompts, found, strict=True):
        tokens = torch.tensor([prompt])
        given = theirs.generate(tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=24, do_sample=False,
                                eos_token_id=None, pad_token_id=0)  # fmt: skip
        assert given[0, len(prompt) :].tolist() == answer


def test_a_ragged_batch_answers_as_each_prompt_alone() -> None:
    model = sharp(Llama(shape(tie_word_embeddings=False)).initialise(2))
    prompts = some_prompts([70, 3, 12, 65, 1, 40])
    stop = set(range(0, PLAIN, 9))  # rows end at different steps and leave the batch
    together = generate(model, prompts, max_new_tokens=30, stop=stop)
    assert together == [generate(model, [prompt], max_new_tokens=30, stop=stop)[0] for prompt in prompts]
    assert together == generate(model, prompts, max_new_tokens=30, stop=stop, batch_size=2)
    assert together == [without_cache(model, prompt, 30, stop) for prompt in prompts]
    assert len({len(answer) for answer in together}) > 2 and not any(stop & set(answer) for answer in together)


def test_an_answer_is_complete_once_it_ends_with_the_sequence_asked_for() -> None:
    model = sharp(Llama(shape(tie_word_embeddings=False)).initialise(2))
    prompts = some_prompts([70, 3, 12, 65, 1, 40])
    whole = generate(model, prompts, max_new_tokens=30, stop=())
    ending = whole[0][8:10]
    prompts[1] += ending  # of the prompt it does not count
    whole = generate(model, prompts, max_new_tokens=30, stop=())
    found = generate(model, prompts, max_new_tokens=30, stop=(), ending=ending)
    for all_of_it, answer in zip(whole, found, strict=True):
        ends = [place for place in range(2, 31) if all_of_it[place - 2 : place] == ending]
        assert answer == all_of_it[: ends[0] if ends else 30]
    assert 2 <= len(found[0]) <= 10


def test_the_cache_is_smaller_by_heads_over_key_value_heads() -> None:
    sizes = {}
    for key_value_heads in (1, 2, 4):
        cache = Cache(3, 50, shape(num_key_value_heads=key_value_heads), torch.float32)
        sizes[key_value_heads] = cache.keys.nbytes + cache.values.nbytes
    assert sizes[4] == 3 * 50 * 2 * 32 * 4  # batch x positions x (keys, values) x width x bytes
    assert sizes[4] / sizes[1] == 4 and sizes[4] / sizes[2] == 2


def test_top_p_draws_from_the_smallest_set_that_reaches_it_and_from_all_of_it() -> None:
    probabilities = torch.tensor([0.05, 0.40, 0.10, 0.30, 0.15])
    logits = probabilities.log().expand(4000, 5)
    generator = torch.Generator().manual_seed(3)

    def shares(temperature: float, top_p: float) -> torch.Tensor:
        return draw(logits, temperature, top_p, generator).bincount(minlength=5) / 4000

    nucleus = shares(1.0, 0.75)  # 0.40, 0.30, 0.15: the first two reach 0.70 only
    assert nucleus[[0, 2]].sum() == 0
    assert torch.allclose(nucleus[[1, 3, 4]], torch.tensor([0.40, 0.30, 0.15]) / 0.85, atol=0.03)
    assert shares(1.0, 0.01).tolist() == [0, 1, 0, 0, 0]
    assert torch.allclose(shares(1.0, 1.0), probabilities, atol=0.03)
    squared = probabilities**2 / (probabilities**2).sum()
    assert torch.allclose(shares(0.5, 1.0), squared, atol=0.03)
    assert shares(0.0, 1.0).tolist() == [0, 1, 0, 0, 0]


def test_a_seed_decides_what_is_drawn() -> None:
    model = Llama(shape()).initialise(4).eval()
    prompts = some_prompts([5] * 6)
    torch.manual_seed(0)
    first = generate(model, prompts, max_new_tokens=10, stop=(), temperature=1.0, seed=1)
    torch.manual_seed(1)
    assert first == generate(model, prompts, max_new_tokens=10, stop=(), temperature=1.0, seed=1)
    assert first != generate(model, prompts, max_new_tokens=10, stop=(), temperature=1.0, seed=2)
    same = generate(model, [prompts[0]] * 2, max_new_tokens=10, stop=(), temperature=1.0, seed=1)
    assert same[0] != same[1]


def test_tokens_stream_as_they_are_drawn() -> None:
    model = sharp(Llama(shape()).initialise(5))
    prompts = some_prompts([4, 9])
    stream = decode(model, prompts, 8, set(), 0.0, 1.0, torch.Generator())
    rows = list(stream)
    assert [row for row, _ in rows] == [0, 1] * 8
    answers = generate(model, prompts, max_new_tokens=8, stop=())
    assert [[token for row, token in rows if row == number] for number in (0, 1)] == answers
