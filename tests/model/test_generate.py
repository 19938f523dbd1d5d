import random
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import transformers
from transformers.generation.logits_process import TemperatureLogitsWarper, TopPLogitsWarper

from stages.interface import StageError
from stages.model.files import save_model
from stages.model.generate import SamplingParams, filter_top_p, generate, sample_tokens, stream, uniform_numbers
from stages.model.llama import KVCache, Llama
from tests.fixtures import VOCAB_SIZE, World, shape, sharp

PLAIN = VOCAB_SIZE - 8


def some_prompts(lengths: Sequence[int]) -> list[list[int]]:
    generator = random.Random(1)
    return [[generator.randrange(PLAIN) for _ in range(length)] for length in lengths]


@torch.no_grad()
def without_cache(model: Llama, prompt: list[int], new: int, stop: Sequence[int]) -> list[int]:
    tokens = list(prompt)
    for _ in range(new):
        drawn = int(model(torch.tensor([tokens]))[0, -1].argmax())
        if drawn in stop:
            break
        tokens.append(drawn)
    return tokens[len(prompt) :]


def test_greedy_with_cache_is_greedy_without_and_that_of_transformers(world: World, tmp_path: Path) -> None:
    model = sharp(Llama(shape(tie_word_embeddings=False)).init_weights(1))
    prompts = some_prompts([1, 7, 30, 90, 7])
    found = generate(model, prompts, SamplingParams(24))
    assert found == [without_cache(model, prompt, 24, ()) for prompt in prompts]
    assert all(len(answer) == 24 for answer in found)
    save_model(model, tmp_path, world.tokenizer, 128)
    theirs = transformers.LlamaForCausalLM.from_pretrained(tmp_path)
    for prompt, answer in zip(prompts, found, strict=True):
        tokens = torch.tensor([prompt])
        given = theirs.generate(
            tokens,
            attention_mask=torch.ones_like(tokens),
            max_new_tokens=24,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )
        assert given[0, len(prompt) :].tolist() == answer


def test_a_padded_batch_gives_the_completions_of_single_prompts() -> None:
    model = sharp(Llama(shape(tie_word_embeddings=False)).init_weights(2))
    prompts = some_prompts([70, 3, 12, 65, 1, 40])
    stop = range(0, PLAIN, 9)  # rows end at different steps and leave the batch
    together = generate(model, prompts, SamplingParams(30, stop))
    assert together == [generate(model, [prompt], SamplingParams(30, stop))[0] for prompt in prompts]
    assert together == generate(model, prompts, SamplingParams(30, stop), batch_size=2)
    assert together == [without_cache(model, prompt, 30, stop) for prompt in prompts]
    assert len({len(answer) for answer in together}) > 2 and not any(set(stop) & set(answer) for answer in together)


def test_a_completion_ends_with_the_stop_sequence() -> None:
    model = sharp(Llama(shape(tie_word_embeddings=False)).init_weights(2))
    prompts = some_prompts([70, 3, 12, 65, 1, 40])
    whole = generate(model, prompts, SamplingParams(30))
    ending = whole[0][8:10]
    prompts[1] += ending  # of the prompt it does not count
    whole = generate(model, prompts, SamplingParams(30))
    found = generate(model, prompts, SamplingParams(30, stop_sequence=ending))
    for all_of_it, answer in zip(whole, found, strict=True):
        ends = [place for place in range(2, 31) if all_of_it[place - 2 : place] == ending]
        assert answer == all_of_it[: ends[0] if ends else 30]
    assert 2 <= len(found[0]) <= 10


def test_the_cache_is_smaller_by_heads_over_key_value_heads() -> None:
    sizes = {}
    for key_value_heads in (1, 2, 4):
        cache = KVCache(3, 50, shape(num_key_value_heads=key_value_heads), torch.float32)
        sizes[key_value_heads] = cache.keys.nbytes + cache.values.nbytes
    assert sizes[4] == 3 * 50 * 2 * 32 * 4  # batch x positions x (keys, values) x width x bytes
    assert sizes[4] / sizes[1] == 4 and sizes[4] / sizes[2] == 2


def test_top_p_keeps_what_transformers_keeps() -> None:
    generator = torch.Generator().manual_seed(3)
    for scale, temperature in ((0.1, 1.0), (1.0, 1.0), (4.0, 0.7), (4.0, 2.0)):
        logits = scale * torch.randn(50, 400, generator=generator)
        probabilities = (logits / temperature).softmax(-1)
        for top_p in (0.01, 0.3, 0.9, 0.999):
            expected = TopPLogitsWarper(top_p)(None, TemperatureLogitsWarper(temperature)(None, logits)).softmax(-1)
            kept = filter_top_p(probabilities, top_p)
            assert torch.equal(kept > 0, expected > 0)
            assert torch.allclose(kept / kept.sum(-1, keepdim=True), expected, rtol=1e-4, atol=1e-7)


def test_samples_follow_the_distribution_within_top_p() -> None:
    probabilities = torch.tensor([0.05, 0.40, 0.0, 0.10, 0.30, 0.15])
    logits = probabilities.log().expand(4000, 6)
    uniform = uniform_numbers(range(4000), 1, seed=3)[:, 0]

    def shares(temperature: float, top_p: float) -> torch.Tensor:
        return sample_tokens(logits, temperature, top_p, uniform).bincount(minlength=6) / 4000

    nucleus = shares(1.0, 0.75)  # 0.40, 0.30, 0.15: the first two reach 0.70 only
    assert nucleus[[0, 2, 3]].sum() == 0
    assert torch.allclose(nucleus[[1, 4, 5]], torch.tensor([0.40, 0.30, 0.15]) / 0.85, atol=0.03)
    assert shares(1.0, 0.01).tolist() == [0, 1, 0, 0, 0, 0]
    assert torch.allclose(shares(1.0, 1.0), probabilities, atol=0.03)
    squared = probabilities**2 / (probabilities**2).sum()
    assert torch.allclose(shares(0.5, 1.0), squared, atol=0.03)
    halves = torch.tensor([0.0, 0.0, 1.0, 0.0, 1.0, 0.0]).log().expand(4, 6)
    edges = torch.tensor([0.0, 0.5 - 1e-9, 0.5, 1 - 1e-9], dtype=torch.float64)
    assert sample_tokens(halves, 1.0, 1.0, edges).tolist() == [2, 2, 4, 4]


def test_samples_depend_on_the_seed_not_on_the_batch() -> None:
    model = sharp(Llama(shape()).init_weights(4), scale=3.0)
    prompts = some_prompts([5, 9, 1, 40, 5, 5])
    stop = range(0, PLAIN, 9)

    def sampled(prompts: list[list[int]], seed: int = 1, batch_size: int = 128) -> list[list[int]]:
        params = SamplingParams(20, stop, temperature=1.0, top_p=0.9, seed=seed)
        return generate(model, prompts, params, batch_size)

    torch.manual_seed(0)
    first = sampled(prompts)
    torch.manual_seed(1)
    assert first == sampled(prompts) and first != sampled(prompts, seed=2)
    for batch_size in (1, 2, 4):
        assert first == sampled(prompts, batch_size=batch_size)
    assert first[:2] == sampled(prompts[:2])  # what follows is nothing to them
    assert len({tuple(answer) for answer in sampled([prompts[0]] * 4)}) > 1


def test_empty_prompts_and_impossible_params_are_refused() -> None:
    model = Llama(shape())
    assert generate(model, [], SamplingParams(3)) == []
    with pytest.raises(StageError, match="prompt 1 has no tokens"):
        generate(model, [[1], []], SamplingParams(3))
    with pytest.raises(StageError, match="top_p 0"):
        generate(model, [[1]], SamplingParams(3, temperature=1.0, top_p=0))


def test_tokens_are_streamed_as_they_are_sampled() -> None:
    model = sharp(Llama(shape()).init_weights(5))
    prompts = some_prompts([4, 9])
    forward, passes = model.model.forward, []
    model.model.forward = lambda *given: passes.append(1) or forward(*given)  # type: ignore[method-assign, func-returns-value]
    tokens = stream(model, prompts, SamplingParams(8, temperature=0.8, seed=3))
    first = [next(tokens), next(tokens)]
    assert len(passes) == 1  # the first tokens are there before the second is computed
    rows = [*first, *tokens]
    assert [row for row, _ in rows] == [0, 1] * 8 and len(passes) == 8
    answers = generate(model, prompts, SamplingParams(8, temperature=0.8, seed=3))
    assert [[token for row, token in rows if row == number] for number in (0, 1)] == answers
