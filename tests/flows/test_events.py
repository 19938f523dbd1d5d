"""What the event log records."""

import subprocess
from pathlib import Path

import pytest

from flows.tracking import events
from flows.tracking.events import EventLog, log_path
from stages.interface import StageError


def test_a_full_disk_is_said_by_the_log_too(tmp_path: Path) -> None:
    log_path(tmp_path, "mini").symlink_to("/dev/full")
    with pytest.raises(StageError, match=r"mini\.jsonl: the disk is full; free some space and run again"):
        EventLog(tmp_path, "mini").write("note", text="a")


def test_recorded_results_do_not_make_a_commit_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "ROOT", tmp_path)
    assert events.git_commit() is None
    (tmp_path / "ablations/results").mkdir(parents=True)
    for name in ("code.py", "ablations/results/a.json"):
        (tmp_path / name).write_text("1")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "a"]):
        subprocess.run([*git, *words], cwd=tmp_path, check=True)
    commit = events.git_commit()
    (tmp_path / "ablations/results/a.json").write_text("2")
    assert commit is not None and len(commit) == 40 and events.git_commit() == commit
    (tmp_path / "code.py").write_text("2")
    assert events.git_commit() == f"{commit}-dirty"
