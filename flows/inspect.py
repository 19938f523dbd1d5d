"""Prints what a model saw at one step of its initial pretraining: each sample's bucket, window and text.

    python -m flows.inspect pretrain@flagship --step 100 [--samples 4]

Which sample that is follows from the seed and the step alone, so nothing has to be trained to look.
"""

import argparse
import sys
from collections.abc import Iterator

from flows.parameters import Parameters
from flows.project import ROOT
from stages.interface import StageError


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m flows.inspect", description=__doc__.split("\n")[0])
    parser.add_argument("stage", metavar="pretrain@MEMBER", help="whose pretraining")
    parser.add_argument("--step", type=int, required=True, help="step, counted from 0")
    parser.add_argument("--samples", type=int, default=4, help="samples of the step to print (default: 4)")
    arguments = parser.parse_args()
    try:
        for line in seen(arguments.stage, arguments.step, arguments.samples):
            print(line)
    except StageError as error:
        sys.exit(f"inspect: {error}")


def seen(stage: str, step: int, samples: int) -> Iterator[str]:
    """A line of facts and the text of each of the step's first samples; raises StageError where there is none."""
    kind, _, member = stage.partition("@")
    if kind != "pretrain" or member not in ("small", "medium", "flagship"):
        raise StageError(f"{stage}: choose pretrain@small, pretrain@medium or pretrain@flagship")
    for path in ("data/tokens", "data/herd.json", "models/tokenizer"):
        if not (ROOT / path).exists():
            raise StageError(f"{path} does not exist; run `dvc repro fit`")
    from stages.pretraining import initial
    from stages.pretraining.phase import member_of
    from stages.tokenizer import bpe
    from stages.training.loader import TokenShards

    config = Parameters(ROOT).read(initial.Config)
    tokenizer = bpe.load(ROOT / "models" / "tokenizer")
    tokens = member_of(ROOT / "data" / "herd.json", member)["tokens"] * config.pretraining.initial
    batches = initial.ramp_batches(config, TokenShards(ROOT / "data" / "tokens"), tokens)
    try:
        part, place = batches.locate(step)
    except IndexError:
        last = sum(batches.steps) - 1
        raise StageError(f"--step {step}: {stage} has the steps 0 to {last}") from None
    first = place * part.size
    yield f"step {step} of {sum(batches.steps)}: {part.size} samples of {part.mixture.length} tokens"
    for sample in range(first, first + min(samples, part.size)):
        bucket, window = part.mixture.locate(sample)
        yield f"\n--- sample {sample}: {bucket}, window {window} of {part.mixture.windows[bucket]}"
        yield tokenizer.decode(part.mixture.window(sample)[:-1].tolist(), skip_special_tokens=False)


if __name__ == "__main__":
    main()
