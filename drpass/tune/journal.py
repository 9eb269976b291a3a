"""What was measured, in a file that survives an interruption: a JSON document a line, the first says what it is of."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from drpass.errors import DrpassError
from drpass.operator.spec import ReuseParameters
from drpass.passes import EXACT, Assignment

Value = TypeVar("Value")

FORMAT = 1


class Journal:
    """Remembers results by name. Without a path: in memory only.

    ``identity`` says what the results depend on (model, data, threads, ...); a file of another can't be resumed.
    """

    def __init__(self, path: Path | None, identity: Mapping[str, Any], *, resume: bool) -> None:
        self._path = path
        self._known: dict[str, Any] = {}
        self.reused = 0
        if path is None:
            return
        header = {"format": FORMAT, **identity}
        if resume and path.exists():
            self._read(path, header)
        else:
            self._write([header], "w")

    def once(self, name: str, measure: Callable[[], Value]) -> Value:
        """The result of that name; measured, and written down, if it is not known. It must be a JSON value."""
        if name in self._known:
            self.reused += 1
            known: Value = self._known[name]
            return known
        value = self._known[name] = measure()
        if self._path is not None:
            self._write([_entry(name, value)], "a")
        return value

    def remove(self) -> None:
        """Once the work is done nothing is left of it."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _read(self, path: Path, header: Mapping[str, Any]) -> None:
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise DrpassError(f"can't read {path}: {error.strerror}") from error
        lines = text.splitlines()
        found = _parsed(lines[0]) if lines else None
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise DrpassError(f"{path} is not a journal of a tuning run; remove it, or leave --resume out")
        different = [name for name in header if found.get(name) != json.loads(json.dumps(header[name]))]
        if different:
            raise DrpassError(
                f"{path} is of a run with other {', '.join(different)}; leave --resume out to begin anew, or repeat "
                f"that run's options"
            )
        # A line that was not finished, or changed by hand, is measured again; the next must not be appended to it.
        entries = [entry for line in lines[1:] if _is_intact(entry := _parsed(line))]
        self._known = {entry["name"]: entry["value"] for entry in entries}
        self._write([header, *entries], "w")

    def _write(self, entries: Sequence[Mapping[str, Any]], mode: str) -> None:
        assert self._path is not None
        try:
            with self._path.open(mode, encoding="utf-8") as file:
                file.writelines(json.dumps(entry) + "\n" for entry in entries)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise DrpassError(f"can't write {self._path}: {error.strerror}") from error


def describe(assignment: Assignment) -> str:
    """A short name of an assignment, for results about it: its clustered settings in words, and a digest of all."""
    settings = {choice for choice in assignment.values() if isinstance(choice, ReuseParameters) and choice != EXACT}
    words = ", ".join(sorted(setting.describe() for setting in settings)) or "exact"
    whole = "\n".join(f"{key}: {choice}" for key, choice in sorted(assignment.items()))
    return f"{words} {hashlib.sha256(whole.encode()).hexdigest()[:12]}"


def _entry(name: str, value: Any) -> dict[str, Any]:
    return {"name": name, "value": value, "check": zlib.crc32(json.dumps([name, value]).encode())}


def _is_intact(entry: Any) -> bool:
    return (
        isinstance(entry, dict) and {"name", "value"} <= entry.keys() and entry == _entry(entry["name"], entry["value"])
    )


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None
