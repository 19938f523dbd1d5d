"""Training steps compared with transformers and litgpt, alternating in one run; MFU; the cost of the document mask.

python -m bench.training [--threads 2] [--shapes C1,C2,toy] [--rounds 7] [--no-compile]

This project's step is the loop's: document mask, AdamW, clipping, bit-reproducible, eager and with `training.compile`.
The peers have the same shape and tokens, plain causal attention, torch's fused AdamW and the same clipping: in float32,
with autocast, and with autocast and torch.compile.
"""

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from typing import Any

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
from stages.training.parameters import Precision, Training, make_optimizer

LEARNING_RATE, DOCUMENT_LENGTH = 1e-3, 100
COMPILED = ExitStack()
"""Keeps models compiled until the end of the benchmark."""


@dataclass(frozen=True)
class Scale:
    """A model and the batch of a step."""

    config: LlamaConfig
    length: int
    batch: int
    peak_target: float | None
    """Target share of the bfloat16 peak."""

    @property
    def tokens(self) -> int:
        return self.length * self.batch

    @property
    def flops(self) -> float:
        """FLOPs of a step's matrix products: 6 per token and parameter of body and head, and attention's two products
        below the diagonal; the embedding is a lookup."""
        size = self.config
        matrices = size.body_parameters + size.vocab_size * size.hidden_size
        return 6.0 * self.tokens * (matrices + size.num_hidden_layers * size.hidden_size * self.length)


SCALES = {
    "C1": Scale(LlamaConfig(4096, 192, 6, 6, 2, 512), 256, 16, 0.30),
    "C2": Scale(LlamaConfig(4096, 384, 8, 6, 2, 1024), 512, 8, 0.40),
    "toy": Scale(LlamaConfig(2048, 96, 4, 4, 2, 256), 128, 8, None),
}


def training(precision: Precision) -> Training:
    """Parameters of the loop; those that do not affect the cost of a step are arbitrary."""
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


def make_random_batch(scale: Scale, mask: bool = True) -> TokenBatch:
    """Random tokens in documents of DOCUMENT_LENGTH tokens on average."""
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(1, scale.config.vocab_size, (scale.batch, scale.length + 1), generator=generator)
    tokens[torch.rand(tokens.shape, generator=generator) < 1 / DOCUMENT_LENGTH] = 0
    inputs = tokens[:, :-1].contiguous()
    return TokenBatch(inputs, tokens[:, 1:].contiguous(), document_starts(inputs, 0) if mask else None)


def ours(scale: Scale, precision: Precision, mask: bool = True, use_compile: bool = False) -> Callable[[], Any]:
    """The loop's step on one batch."""
    model = Llama(scale.config).init_weights(1).train()
    settings, micro_batches = training(precision), [make_random_batch(scale, mask)]
    optimizer = make_optimizer(model, settings)
    COMPILED.enter_context(compiled(model, use_compile))
    torch.use_deterministic_algorithms(False)  # peers run without

    def run_step() -> float:
        torch.use_deterministic_algorithms(use_compile)
        try:
            return step(model, micro_batches, next_token_loss, optimizer, LEARNING_RATE, settings)["loss"]
        finally:
            torch.use_deterministic_algorithms(False)

    return run_step


def peer(
    model: nn.Module, logits: Callable[[nn.Module, Tensor], Tensor], scale: Scale, autocast: bool, compiled: bool
) -> Callable[[], float]:
    """A training step of a peer's model, as its documentation describes it."""
    assert sum(p.numel() for p in model.parameters()) == scale.config.parameters
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    batch = make_random_batch(scale)
    forward: Any = torch.compile(model) if compiled else model

    def run_step() -> float:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            output = logits(forward, batch.tokens)
        loss = F.cross_entropy(output.flatten(0, 1).float(), batch.targets.flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    return run_step


def transformers_llama(scale: Scale) -> tuple[nn.Module, Callable[[nn.Module, Tensor], Tensor]]:
    import transformers

    values: dict[str, Any] = {
        name: value for name, value in scale.config.to_json().items() if not name.startswith("rope")
    }
    rope = {"rope_type": "default", "rope_theta": scale.config.rope_theta}
    config = transformers.LlamaConfig(**values, rope_parameters=rope, max_position_embeddings=scale.length)
    model = transformers.LlamaForCausalLM(config)
    model.load_state_dict(Llama(scale.config).init_weights(1).state_dict())
    return model.train(), lambda forward, tokens: forward(tokens, use_cache=False).logits


def litgpt_gpt(scale: Scale) -> tuple[nn.Module, Callable[[nn.Module, Tensor], Tensor]]:
    if str(PEERS) not in sys.path:
        sys.path.append(str(PEERS))  # last, so that shared packages such as torch are the project's
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
    return model.train(), lambda forward, tokens: forward(tokens)


PEER_MODELS = {"transformers": transformers_llama, "litgpt": litgpt_gpt}
PEER_MODES = {"float32": (False, False), "autocast": (True, False), "autocast + compile": (True, True)}
TARGETS = {"float32": " (3)", "autocast + compile": " (1.5)"}


def matrix_product(dtype: torch.dtype) -> Callable[[], float]:
    """Measures the FLOP/s of a product of square matrices, the best of several."""
    a, b = torch.randn(2048, 2048, dtype=dtype), torch.randn(2048, 2048, dtype=dtype)

    def measure() -> float:
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            a @ b
            seconds.append(time.perf_counter() - start)
        return 2 * 2048**3 / min(seconds)

    return measure


def speed(name: str, rounds: int, compile_too: bool) -> Iterator[tuple[str, str, str, str]]:
    """Compares this project in both precisions with every peer in every mode."""
    scale = SCALES[name]
    calls: dict[str, Callable[[], Any]] = {precision: ours(scale, precision) for precision in ("fp32", "bf16")}
    calls |= {f"{precision} unmasked": ours(scale, precision, mask=False) for precision in ("fp32", "bf16")}
    if compile_too:
        calls["bf16 compiled"] = ours(scale, "bf16", use_compile=True)
    calls["product"] = matrix_product(torch.bfloat16)
    missing = []
    for kind, make in PEER_MODELS.items():
        try:
            for mode, (autocast, use_compile) in PEER_MODES.items():
                if compile_too or not use_compile:
                    calls[f"{kind} {mode}"] = peer(*make(scale), scale, autocast, use_compile)
        except ModuleNotFoundError:
            missing.append(kind)
    seconds, results = turns(calls, rounds)
    # Same weights and tokens: without the mask the first loss is the same.
    assert abs(results["fp32 unmasked"][0] - results["transformers float32"][0]) < 1e-3
    medians = {key: median(values) for key, values in seconds.items()}
    best = min((key for key in calls if key in ("fp32", "bf16", "bf16 compiled")), key=medians.__getitem__)

    def rate(key: str) -> str:
        return f"{scale.tokens / medians[key]:,.0f}"

    for kind in missing:
        yield f"{name}: {kind}", "", "not installed", "make peers"
    for key in [key for key in calls if key.split()[0] in PEER_MODELS]:
        kind, mode = key.split(" ", 1)
        # Compared with the same precision, and with this project's fastest one.
        for own in sorted({"fp32" if mode == "float32" else "bf16", best}):
            target = TARGETS.get(mode, "") if own == best else ""
            yield f"{name}: {kind} {mode}, ours {own}", rate(own), rate(key), f"{ratio(seconds, own, key):.2f}{target}"
    peak = max(results["product"])
    utilisation = scale.flops / medians[best] / peak
    target = f"({scale.peak_target:.0%})" if scale.peak_target else ""
    yield f"{name}: share of the bfloat16 peak, ours {best}", f"{utilisation:.0%}", f"{peak / 1e9:,.0f} GFLOP/s", target
    for own in ("fp32", "bf16"):
        cost = 1 - ratio(seconds, own, f"{own} unmasked")
        yield (f"{name}: cost of the document mask, {own}", rate(own), rate(f"{own} unmasked"), f"{cost:.1%} (5%)")


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
    with COMPILED:
        rows = [
            row
            for name in arguments.shapes.split(",")
            for row in speed(name, arguments.rounds, not arguments.no_compile)
        ]
    table(rows)


if __name__ == "__main__":
    main()
