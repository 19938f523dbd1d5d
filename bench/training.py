"""Training steps beside transformers and litgpt, in turns in one run; the share of the machine's peak; the mask's cost.

python -m bench.training [--threads 2] [--shapes C1,C2,toy] [--rounds 7] [--no-compile]

Ours is the loop's own step: document mask, AdamW, clipping, bit-reproducible, eager and with `training.compile`. The
peers get the same shape and tokens, plain causal attention, torch's fused AdamW and the same clipping: as they come in
float32, with autocast, and with autocast and torch.compile.
"""

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench import PEERS
from bench.timing import ratio, table, turns
from flows import project
from stages.model.llama import Llama, LlamaConfig, document_starts
from stages.training.compiled import compiled
from stages.training.language_modelling import next_token_loss
from stages.training.loader import TokenBatch
from stages.training.loop import step
from stages.training.parameters import Training, make_optimizer

RATE, DOCUMENT = 1e-3, 100
Precision = Literal["fp32", "bf16"]
KEPT = ExitStack()
"""What is compiled would be dropped with the end of its training."""


@dataclass(frozen=True)
class Scale:
    """What is trained at once."""

    config: LlamaConfig
    length: int
    batch: int
    peak_bar: float | None
    """Share of the bfloat16 peak that is aimed at."""

    @property
    def tokens(self) -> int:
        return self.length * self.batch

    @property
    def flops(self) -> float:
        """Of a step's matrix products: 6 a parameter of the body's and the head's matrices and a token, and attention's
        scores and mixtures below the diagonal. The embedding is looked up and counts nothing."""
        size = self.config
        matrices = size.body_parameters + size.vocab_size * size.hidden_size
        return 6.0 * self.tokens * (matrices + size.num_hidden_layers * size.hidden_size * self.length)


SCALES = {
    "C1": Scale(LlamaConfig(4096, 192, 6, 6, 2, 512), 256, 16, 0.30),
    "C2": Scale(LlamaConfig(4096, 384, 8, 6, 2, 1024), 512, 8, 0.40),
    "toy": Scale(LlamaConfig(2048, 96, 4, 4, 2, 256), 128, 8, None),
}


def training(precision: Precision) -> Training:
    """Settings of the loop; the rates and decays do not change the work."""
    return Training(
        beta1=0.9,
        beta2=0.95,
        eps=1e-8,
        weight_decay=0.1,
        clip=1.0,
        precision=precision,
        compile=False,
        micro_tokens=8192,
        checkpoint_seconds=20,
        keep_checkpoints=1,
        spike_window=0,
        spike_deviations=10,
        spike_steps=0,
    )


def batch(scale: Scale, mask: bool = True) -> TokenBatch:
    """Random tokens in documents of DOCUMENT tokens on average."""
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(1, scale.config.vocab_size, (scale.batch, scale.length + 1), generator=generator)
    tokens[torch.rand(tokens.shape, generator=generator) < 1 / DOCUMENT] = 0
    inputs = tokens[:, :-1].contiguous()
    return TokenBatch(inputs, tokens[:, 1:].contiguous(), document_starts(inputs, 0) if mask else None)


def ours(scale: Scale, precision: Precision, mask: bool = True, compile_it: bool = False) -> Callable[[], Any]:
    """The loop's step on one batch."""
    model = Llama(scale.config).init_weights(1).train()
    settings, given = training(precision), [batch(scale, mask)]
    optimizer = make_optimizer(model, settings)
    KEPT.enter_context(compiled(model, compile_it))
    torch.use_deterministic_algorithms(False)  # peers run without

    def one() -> float:
        torch.use_deterministic_algorithms(compile_it)
        try:
            return step(model, given, next_token_loss, optimizer, RATE, settings)["loss"]
        finally:
            torch.use_deterministic_algorithms(False)

    return one


def peer(
    model: nn.Module, logits: Callable[[nn.Module, Tensor], Tensor], scale: Scale, autocast: bool, compiled: bool
) -> Callable[[], float]:
    """One step of a model as its documentation would train it."""
    assert sum(p.numel() for p in model.parameters()) == scale.config.parameters
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    given = batch(scale)
    called: Any = torch.compile(model) if compiled else model

    def one() -> float:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            scores = logits(called, given.tokens)
        loss = F.cross_entropy(scores.flatten(0, 1).float(), given.targets.flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    return one


def transformers_llama(scale: Scale) -> tuple[nn.Module, Callable[[nn.Module, Tensor], Tensor]]:
    import transformers

    values: dict[str, Any] = {
        name: value for name, value in scale.config.to_json().items() if not name.startswith("rope")
    }
    rope = {"rope_type": "default", "rope_theta": scale.config.rope_theta}
    config = transformers.LlamaConfig(**values, rope_parameters=rope, max_position_embeddings=scale.length)
    model = transformers.LlamaForCausalLM(config)
    model.load_state_dict(Llama(scale.config).init_weights(1).state_dict())
    return model.train(), lambda called, tokens: called(tokens, use_cache=False).logits


def litgpt_gpt(scale: Scale) -> tuple[nn.Module, Callable[[nn.Module, Tensor], Tensor]]:
    if str(PEERS) not in sys.path:
        sys.path.append(str(PEERS))  # last: torch and what else both need is the project's
    import litgpt

    size = scale.config
    config = litgpt.Config(
        n_embd=size.hidden_size,
        n_layer=size.num_hidden_layers,
        n_head=size.num_attention_heads,
        n_query_groups=size.num_key_value_heads,
        intermediate_size=size.intermediate_size,
        block_size=scale.length,
        padded_vocab_size=size.vocab_size,
        vocab_size=size.vocab_size,
        norm_class_name="RMSNorm",
        mlp_class_name="LLaMAMLP",
        bias=False,
        rotary_percentage=1.0,
        parallel_residual=False,
        rope_base=int(size.rope_theta),
        norm_eps=size.rms_norm_eps,
    )
    model = litgpt.GPT(config)
    model.apply(model._init_weights)
    return model.train(), lambda called, tokens: called(tokens)


MODELS = {"transformers": transformers_llama, "litgpt": litgpt_gpt}
WAYS = {"float32": (False, False), "autocast": (True, False), "autocast + compile": (True, True)}
BARS = {"float32": " (3)", "autocast + compile": " (1.5)"}


def product(dtype: torch.dtype) -> Callable[[], float]:
    """FLOP/s of a product of square matrices, the best of several."""
    a, b = torch.randn(2048, 2048, dtype=dtype), torch.randn(2048, 2048, dtype=dtype)

    def one() -> float:
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            a @ b
            seconds.append(time.perf_counter() - start)
        return 2 * 2048**3 / min(seconds)

    return one


def speed(name: str, rounds: int, compile_too: bool) -> Iterator[tuple[str, str, str, str]]:
    """Ours in both precisions beside every peer in every way."""
    scale = SCALES[name]
    calls: dict[str, Callable[[], Any]] = {precision: ours(scale, precision) for precision in ("fp32", "bf16")}
    calls |= {f"{precision} unmasked": ours(scale, precision, mask=False) for precision in ("fp32", "bf16")}
    if compile_too:
        calls["bf16 compiled"] = ours(scale, "bf16", compile_it=True)
    calls["product"] = product(torch.bfloat16)
    missing = []
    for kind, make in MODELS.items():
        try:
            for way, (autocast, compile_it) in WAYS.items():
                if compile_too or not compile_it:
                    calls[f"{kind} {way}"] = peer(*make(scale), scale, autocast, compile_it)
        except ModuleNotFoundError:
            missing.append(kind)
    seconds, results = turns(calls, rounds)
    # The same weights on the same tokens: but for the mask the first loss is the same.
    assert abs(results["fp32 unmasked"][0] - results["transformers float32"][0]) < 1e-3
    medians = {key: median(values) for key, values in seconds.items()}
    best = min((key for key in calls if key in ("fp32", "bf16", "bf16 compiled")), key=medians.__getitem__)

    def rate(key: str) -> str:
        return f"{scale.tokens / medians[key]:,.0f}"

    for kind in missing:
        yield f"{name}: {kind}", "", "not installed", "make peers"
    for key in [key for key in calls if key.split()[0] in MODELS]:
        kind, way = key.split(" ", 1)
        # Against the peer's own type of products, and against the one that is the fastest here.
        for mine in sorted({"fp32" if way == "float32" else "bf16", best}):
            bar = BARS.get(way, "") if mine == best else ""
            yield f"{name}: {kind} {way}, ours {mine}", rate(mine), rate(key), f"{ratio(seconds, mine, key):.2f}{bar}"
    top = max(results["product"])
    reached = scale.flops / medians[best] / top
    bar = f"({scale.peak_bar:.0%})" if scale.peak_bar else ""
    yield f"{name}: share of the bfloat16 peak, ours {best}", f"{reached:.0%}", f"{top / 1e9:,.0f} GFLOP/s", bar
    for mine in ("fp32", "bf16"):
        cost = 1 - ratio(seconds, mine, f"{mine} unmasked")
        yield (f"{name}: cost of the document mask, {mine}", rate(mine), rate(f"{mine} unmasked"), f"{cost:.1%} (5%)")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.training", description=__doc__.split("\n\n")[0])
    parser.add_argument("--threads", type=int, default=2, help="of torch")
    parser.add_argument("--shapes", default="C1,C2,toy", help="some of C1, C2, toy")
    parser.add_argument("--rounds", type=int, default=7, help="steps of each, in turns")
    parser.add_argument("--no-compile", action="store_true", help="leave out torch.compile, which takes minutes")
    arguments = parser.parse_args()
    project.restart_with_environment()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(arguments.threads)
    with KEPT:
        rows = [
            row
            for name in arguments.shapes.split(",")
            for row in speed(name, arguments.rounds, not arguments.no_compile)
        ]
    table(rows)


if __name__ == "__main__":
    main()
