"""Decoding compared with transformers, alternating in one run: shape C1, greedy, the same weights and prompts.

python -m bench.generation [--threads 2] [--rounds 5] [--batch 64] [--new 64]
"""

import argparse
import warnings
from collections.abc import Iterator
from statistics import median
from typing import Any

import torch

from bench.timing import ratio, table, turns
from bench.training import SCALES, transformers_llama
from flows import project
from stages.model.generate import SamplingParams, generate
from stages.model.llama import Llama

PROMPT = 32
"""Tokens of each prompt."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.generation", description=__doc__.split("\n\n")[0])
    parser.add_argument("--threads", type=int, default=2, help="of torch")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each, in turns")
    parser.add_argument("--batch", type=int, default=64, help="prompts")
    parser.add_argument("--new", type=int, default=64, help="tokens each is continued with")
    arguments = parser.parse_args()
    project.restart_with_environment()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(arguments.threads)
    table([row for dtype in (torch.float32, torch.bfloat16) for row in speed(dtype, arguments)])


def speed(dtype: torch.dtype, arguments: argparse.Namespace) -> Iterator[tuple[str, str, str, str]]:
    """Compares the two with weights of `dtype`."""
    scale = SCALES["C1"]
    ours, (theirs, _) = Llama(scale.config).init_weights(1).eval().to(dtype), transformers_llama(scale)
    theirs.eval().to(dtype)
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(0, scale.config.vocab_size, (arguments.batch, PROMPT), generator=generator)
    generating: Any = theirs.generate
    prompts, mask = tokens.tolist(), torch.ones_like(tokens)

    def generate_ours() -> list[list[int]]:
        return generate(ours, prompts, SamplingParams(max_new_tokens=arguments.new))

    def generate_theirs() -> list[list[int]]:
        output = generating(
            tokens,
            attention_mask=mask,
            max_new_tokens=arguments.new,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )
        completions: list[list[int]] = output[:, PROMPT:].tolist()
        return completions

    seconds, results = turns({"ours": generate_ours, "transformers": generate_theirs}, arguments.rounds)
    pairs = list(zip(results["ours"][-1], results["transformers"][-1], strict=True))
    # Random weights give near ties: if rounding decides one, the rest of that completion differs.
    same = sum(own == other for own, other in pairs) / len(pairs)
    num_tokens = arguments.batch * arguments.new
    rates = {name: f"{num_tokens / median(values):,.0f}" for name, values in seconds.items()}
    what = f"C1: batch {arguments.batch}, {arguments.new} new tokens, {str(dtype).removeprefix('torch.')}, tokens/s"
    yield what, rates["ours"], rates["transformers"], f"{ratio(seconds, 'ours', 'transformers'):.2f} (1.3)"
    yield "  identical completions", f"{same:.0%}", "", ""


if __name__ == "__main__":
    main()
