"""Artifacts: the outputs of a stage, published atomically and with a manifest."""

import hashlib
import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
SCHEMA = 1


def digest(path: Path) -> str:
    """sha256 of a file; of an artifact directory: of its manifest, which holds the sha256 of every file; of another
    directory (metrics, curves): of its files' names and contents."""
    if path.is_dir():
        if not (path / MANIFEST).exists():
            files = {
                file.relative_to(path).as_posix(): digest(file) for file in sorted(path.rglob("*")) if file.is_file()
            }
            return hashlib.sha256(canonical_json(files).encode()).hexdigest()
        path = path / MANIFEST
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(directory: Path, stage: str, parameters: Mapping[str, Any], metrics: Mapping[str, Any]) -> None:
    """Writes the manifest: schema, stage, resolved parameters and their hash, metrics, size and sha256 of each file."""
    files = {
        path.relative_to(directory).as_posix(): {"bytes": path.stat().st_size, "sha256": digest(path)}
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }
    manifest = {
        "schema": SCHEMA,
        "stage": stage,
        "parameters": parameters,
        "parameters_sha256": hashlib.sha256(canonical_json(parameters).encode()).hexdigest(),
        "metrics": metrics,
        "files": files,
    }
    write_json(directory / MANIFEST, manifest)


def publish(partial: Path, final: Path) -> None:
    """Moves a complete artifact to its final path."""
    if final.is_dir():
        shutil.rmtree(final)
    final.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(partial, final)


def canonical_json(value: Any) -> str:
    """JSON text that is equal for equal values."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def write_json(path: Path, value: Any) -> None:
    """Sorted, indented JSON with a final newline; raises ValueError for NaN, which JSON does not have."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def code_hash() -> str:
    """A hash of the sources of all imported modules under stages/."""
    sources = {
        name: digest(Path(module.__file__))
        for name, module in sorted(sys.modules.items())
        if name.partition(".")[0] == "stages" and module.__file__
    }
    return hashlib.sha256(canonical_json(sources).encode()).hexdigest()


def fingerprint(stage: str, item: Mapping[str, str], parameters: Mapping[str, Any], inputs: Mapping[str, Path]) -> str:
    """A hash of all that decides a stage's outputs: `flows.parameters.result_parameters`, inputs, and imported code.
    It names the directory of partial state, so a run never resumes from the state of a different run."""
    parts = {
        "stage": stage,
        "item": dict(item),
        "parameters": parameters,
        "inputs": {name: digest(path) for name, path in inputs.items()},
        "code": code_hash(),
    }
    return hashlib.sha256(canonical_json(parts).encode()).hexdigest()[:24]
