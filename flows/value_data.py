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

if TYPE_CHECKING:  # imports torch, which needs the number of threads first
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
    metrics = value_documents(project.ROOT, options.path, options.member, options.field, options.share)
    print("\n".join(format_metrics(metrics)))


class TerminalContext(NullContext):
    """Shows progress and notes in the terminal."""

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


def value_documents(root: Path, path: Path, member: str, field: str, share: float) -> Metrics:
    """The metrics of `stages.pretraining.data_value`, and the numbers of documents used and skipped."""
    for path_of_input in INPUTS.values():
        if not (root / path_of_input).exists():
            raise StageError(f"{path_of_input} does not exist; run `dvc repro fit`")
    parameters = Parameters(root)
    os.environ["OMP_NUM_THREADS"] = str(parameters.cluster.num_threads)
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
    held_out, documents, num_skipped = held_out_documents(shards), [], 0
    for text in read_documents(path, field):
        document = np.array(
            [chat.begin_of_text, *chat.encode_text(text), chat.end_of_text], dtype=shards.index["dtype"]
        )
        if document.tobytes() in held_out:
            num_skipped += 1
        else:
            documents.append(document)
    if not documents:
        raise StageError(f"{path}: no document is left to value ({num_skipped} are held out)")
    plan, new_tokens = load_member(root / INPUTS["herd"], member), np.concatenate(documents)
    tokens = plan["tokens"] * config.pretraining.annealing
    plan_annealing(new_tokens, config, tokens, valuation)
    start, scratch = load_or_train_half(root, config, shards, plan, member, valuation)
    run_scratch = scratch / hashlib.sha256(new_tokens.tobytes() + str(share).encode()).hexdigest()[:16]
    metrics = measure_value(new_tokens, start, shards, config, tokens, valuation, TerminalContext(run_scratch))
    shutil.rmtree(run_scratch, ignore_errors=True)
    return metrics | {"documents": len(documents), "held_out_documents": num_skipped, "member": member, "share": share}


def load_or_train_half(
    root: Path, config: Any, shards: "TokenShards", plan: Mapping[str, Any], member: str, valuation: "Valuation"
) -> tuple["AnnealingStart", Path]:
    """The half-trained model, trained unless it is stored for these parameters, tokens and code; and its directory."""
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
    model, rate = scratch / "model", scratch / "rate.json"
    if not is_complete_json(rate):
        start = train_half(config, shards, plan, valuation.trained, TerminalContext(scratch))
        save_model(start.model, model, inputs["tokenizer"], config.pretraining.length)
        save_optimizer_state(start.optimizer_state, model)
        artifact.write_json(rate, start.learning_rate)
        shutil.rmtree(scratch / "half-trained", ignore_errors=True)
    return AnnealingStart(load_model(model), load_optimizer_state(model) or {}, json.loads(rate.read_text())), scratch


def is_complete_json(path: Path) -> bool:
    """Whether a file exists and was not cut off."""
    try:
        json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return False
    return True


def format_metrics(metrics: Metrics) -> Iterator[str]:
    """The metrics as a table."""
    yield (
        f"{metrics['documents']:,} documents, {metrics['new_tokens']:,} tokens "
        f"({metrics['held_out_documents']} held-out documents skipped)"
    )
    yield (
        f"half-trained {metrics['member']} annealed on {metrics['tokens']:,} tokens, "
        f"{100 * metrics['share']:.0f}% of them new: {metrics['new_epochs']:.1f} epochs"
    )
    yield "gain in held-out loss, nats per token (above 0: the new data help), 95% over windows:"
    kinds = ("loss_without", "loss_with", "gain")
    yield f"  {'':14} {'without':>8} {'with':>8} {'gain':>8}"
    yield _format_gain("default mix", *(metrics[kind] for kind in kinds))
    for bucket in metrics["gain_by_bucket"]:
        yield _format_gain(bucket, *(metrics[f"{kind}_by_bucket"][bucket] for kind in kinds))


def _format_gain(
    name: str, without: Mapping[str, float], with_new: Mapping[str, float], gain: Mapping[str, float]
) -> str:
    verdict = "helps" if gain["low"] > 0 else "harms" if gain["high"] < 0 else "inconclusive"
    return (
        f"  {name:14} {without['value']:8.4f} {with_new['value']:8.4f} {gain['value']:+8.4f} "
        f"({gain['low']:+.4f} to {gain['high']:+.4f}) {verdict}"
    )


if __name__ == "__main__":
    command.execute(sys.modules[__name__])
