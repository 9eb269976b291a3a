"""The file that keeps measurements over an interruption."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from drpass.errors import DrpassError
from drpass.tune.journal import Journal

IDENTITY = {"model": "abc", "threads": 2}


def counted(journal: Journal, name: str, calls: list[str]) -> float:
    def measure() -> float:
        calls.append(name)
        return len(calls) + 0.5

    return journal.once(name, measure)


def test_measurement_is_made_once_and_known_after_resuming(tmp_path: Path) -> None:
    calls: list[str] = []
    first = Journal(tmp_path / "j", IDENTITY, resume=False)
    values = [counted(first, name, calls) for name in ("a", "b", "a")]
    second = Journal(tmp_path / "j", IDENTITY, resume=True)
    assert [counted(second, name, calls) for name in ("a", "b")] == values[:2]
    assert calls == ["a", "b"]
    assert second.reused == 2


def test_without_resume_everything_is_measured_again(tmp_path: Path) -> None:
    calls: list[str] = []
    counted(Journal(tmp_path / "j", IDENTITY, resume=False), "a", calls)
    counted(Journal(tmp_path / "j", IDENTITY, resume=False), "a", calls)
    assert calls == ["a", "a"]


def test_line_cut_off_by_an_interruption_is_measured_again_and_the_rest_is_known(tmp_path: Path) -> None:
    path, calls = tmp_path / "j", list[str]()
    journal = Journal(path, IDENTITY, resume=False)
    for name in ("a", "b"):
        counted(journal, name, calls)
    path.write_bytes(path.read_bytes()[:-9])
    journal = Journal(path, IDENTITY, resume=True)
    for name in ("a", "b", "c"):
        counted(journal, name, calls)
    assert calls == ["a", "b", "b", "c"]
    counted(Journal(path, IDENTITY, resume=True), "c", calls)
    assert calls == ["a", "b", "b", "c"]


def test_value_changed_by_hand_is_measured_again(tmp_path: Path) -> None:
    path, calls = tmp_path / "j", list[str]()
    counted(Journal(path, IDENTITY, resume=False), "a", calls)
    header, line = path.read_text().splitlines()
    path.write_text("\n".join([header, json.dumps({**json.loads(line), "value": [1, 2]})]) + "\n")
    counted(Journal(path, IDENTITY, resume=True), "a", calls)
    assert calls == ["a", "a"]


@pytest.mark.parametrize("content", [b"", b"\x00\xff", b"[1]\n", b'{"format": 99}\n', b"null"])
def test_file_that_is_no_journal_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "j"
    path.write_bytes(content)
    with pytest.raises(DrpassError, match="not a journal"):
        Journal(path, IDENTITY, resume=True)
    assert path.read_bytes() == content


def test_journal_of_another_run_is_refused_with_what_differs(tmp_path: Path) -> None:
    Journal(tmp_path / "j", IDENTITY, resume=False)
    with pytest.raises(DrpassError, match="other threads;"):
        Journal(tmp_path / "j", {**IDENTITY, "threads": 1}, resume=True)


def test_finished_run_leaves_no_file(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", IDENTITY, resume=False)
    journal.remove()
    assert not list(tmp_path.iterdir())
