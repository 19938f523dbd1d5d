"""Value a small data set by annealing (3.1.3): anneal a half-trained model with it and without it.

PATH is a file or a directory of documents: text, JSON lines, Parquet or WARC. Prints the gain in held-out loss, over
all and by bucket, with its 95% interval. Documents of the held-out set are skipped. The half-trained model is kept for
the next data set.

Examples:
    herd value-data recipes.jsonl --member small --field text
"""

import argparse
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from flows import command, project
from flows.arguments import between
from flows.execution import artifact
from flows.parameters import Parameters, config_keys, result_parameters
from stages.interface import Metrics, StageError
from stages.training.null_context import NullContext

if TYPE_CHECKING:  # torch comes after the number of threads is set
    from stages.pretraining.data_value import AnnealingStart, Valuation
    from stages.training.loader import TokenShards

INPUTS = {"tokens": "data/tokens", "tokenizer": "models/tokenizer", "herd": "data/herd.json"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, help="file or directory of .txt, .md, .jsonl(.gz), .parquet, .warc(.gz)")
    parser.add_argument("--member", default="small", help="whose half-trained model is annealed (default: small)")
    parser.add_argument("--field", default="text", help="where the text is in JSON lines and Parquet (default: text)")
    parser.add_argument(
        "--share", type=between(1e-6, 1 - 1e-6), default=0.3, help="share of the new data (default, paper 3.1.3: 0.3)"
    )


def main(options: argparse.Namespace) -> None:
    project.restart_with_environment()
    for line in told(valued(project.ROOT, options.path, options.member, options.field, options.share)):
        print(line)


class Terminal(NullContext):
    """The context of a command: a bar, and what is noted, on the screen."""

    def __init__(self, scratch: Path) -> None:
        super().__init__(scratch)
        self._bar: tqdm | None = None

    def progress(self, name: str, done: float, total: float) -> None:
        if self._bar is None:
            self._bar = tqdm(desc=name, total=total, unit_scale=True, dynamic_ncols=True)
        self._bar.update(done - self._bar.n)
        if done >= total:
            self._bar.close()
            self._bar = None

    def note(self, text: str) -> None:
        tqdm.write(text, file=sys.stderr)


def valued(root: Path, path: Path, member: str, field: str, share: float) -> Metrics:
    """The metrics of `stages.pretraining.data_value`, and documents taken and left out."""
    for place in INPUTS.values():
        if not (root / place).exists():
            raise StageError(f"{place} does not exist; run `dvc repro fit`")
    parameters = Parameters(root)
    os.environ["OMP_NUM_THREADS"] = str(parameters.cluster.threads or len(os.sched_getaffinity(0)))
    import numpy as np

    from stages.pretraining import initial
    from stages.pretraining.data_value import Valuation, held_out_documents, measure_value, plan_annealing
    from stages.pretraining.document_reader import read_documents
    from stages.pretraining.phase import load_member
    from stages.tokenizer import bpe
    from stages.tokenizer.chat import ChatFormat
    from stages.training.loader import TokenShards

    if member not in json.loads((root / INPUTS["herd"]).read_text())["members"]:
        raise StageError(f"--member {member}: data/herd.json has no such member")
    config, valuation = parameters.load_config(initial.Config), Valuation(share=share)
    shards = TokenShards(root / INPUTS["tokens"])
    chat = ChatFormat(bpe.load(root / INPUTS["tokenizer"]))
    known, documents, left_out = held_out_documents(shards), [], 0
    for text in read_documents(path, field):
        document = np.array(
            [chat.begin_of_text, *chat.encode_text(text), chat.end_of_text], dtype=shards.index["dtype"]
        )
        if document.tobytes() in known:
            left_out += 1
        else:
            documents.append(document)
    if not documents:
        raise StageError(f"{path}: no document is left to value ({left_out} are held out)")
    plan, new = load_member(root / INPUTS["herd"], member), np.concatenate(documents)
    tokens = plan["tokens"] * config.pretraining.annealing
    plan_annealing(new, config, tokens, valuation)
    start, scratch = started(root, config, shards, plan, member, valuation)
    own = scratch / hashlib.sha256(new.tobytes() + str(share).encode()).hexdigest()[:16]
    metrics = measure_value(new, start, shards, config, tokens, valuation, Terminal(own))
    shutil.rmtree(own, ignore_errors=True)
    return metrics | {"documents": len(documents), "held_out_documents": left_out, "member": member, "share": share}


def started(
    root: Path, config: Any, shards: "TokenShards", plan: Mapping[str, Any], member: str, valuation: "Valuation"
) -> tuple["AnnealingStart", Path]:
    """The half-trained model, trained unless it lies there for the same parameters, tokens and code; and where."""
    from stages.model.files import load_model, save_model
    from stages.pretraining.data_value import AnnealingStart, train_half
    from stages.training.optimizer import load_optimizer_state, save_optimizer_state

    values = Parameters(root).select(config_keys(type(config))) | {"trained": valuation.trained}
    inputs = {name: root / place for name, place in INPUTS.items()}
    scratch = (
        project.STATE
        / "value"
        / artifact.fingerprint("pretraining.value", {"member": member}, result_parameters(type(config), values), inputs)
    )
    kept, rate = scratch / "model", scratch / "rate.json"
    if not (rate.exists() and whole(rate)):
        start = train_half(config, shards, plan, valuation, Terminal(scratch))
        save_model(start.model, kept, inputs["tokenizer"], config.pretraining.length)
        save_optimizer_state(start.optimizer_state, kept)
        artifact.write_json(rate, start.learning_rate)
        shutil.rmtree(scratch / "half-trained", ignore_errors=True)
    return AnnealingStart(load_model(kept), load_optimizer_state(kept) or {}, json.loads(rate.read_text())), scratch


def whole(path: Path) -> bool:
    """Whether a file is JSON to its end."""
    try:
        json.loads(path.read_text())
    except ValueError:
        return False
    return True


def told(metrics: Metrics) -> Iterator[str]:
    """The metrics as lines of text."""
    yield (
        f"{metrics['documents']:,} documents, {metrics['new_tokens']:,} tokens "
        f"({metrics['held_out_documents']} held-out documents left out)"
    )
    yield (
        f"half-trained {metrics['member']} annealed on {metrics['tokens']:,} tokens, "
        f"{100 * metrics['share']:.0f}% of them new: gone through {metrics['new_epochs']:.1f} times"
    )
    yield "gain in held-out loss, nats per token (above 0: the new data help), 95% over windows:"
    kinds = ("loss_without", "loss_with", "gain")
    yield f"  {'':14} {'without':>8} {'with':>8} {'gain':>8}"
    yield _line("default mix", *(metrics[kind] for kind in kinds))
    for bucket in metrics["gain_by_bucket"]:
        yield _line(bucket, *(metrics[f"{kind}_by_bucket"][bucket] for kind in kinds))


def _line(name: str, without: Mapping[str, float], having: Mapping[str, float], gain: Mapping[str, float]) -> str:
    verdict = "helps" if gain["low"] > 0 else "harms" if gain["high"] < 0 else "not told apart"
    return (
        f"  {name:14} {without['value']:8.4f} {having['value']:8.4f} {gain['value']:+8.4f} "
        f"({gain['low']:+.4f} to {gain['high']:+.4f}) {verdict}"
    )


if __name__ == "__main__":
    command.execute(sys.modules[__name__])
