"""Output files that appear only when they are complete; TOML files as tables."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

from drpass.errors import DrpassError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found,unused-ignore]


def _same_file(left: Path, right: Path) -> bool:
    with contextlib.suppress(OSError):
        return left.resolve() == right.resolve() or os.path.samefile(left, right)
    return False


def refuse_same_file(output: Path, inputs: list[Path], overwrite: bool) -> None:
    """Raise DrpassError if ``output`` is one of ``inputs`` (links followed) and the user did not ask for it."""
    if not overwrite and any(_same_file(output, source) for source in inputs):
        raise DrpassError(f"{output} is the input itself; choose another output or pass --overwrite")


@contextlib.contextmanager
def atomic_output(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` on success, remove it on any failure.

    Raises DrpassError, with the operating system's reason, if the file can't be written.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise DrpassError(f"can't write {path}: {error.strerror}") from error
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files private; give the result the permissions of any other new file.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except OSError as error:
        raise DrpassError(f"can't write {path}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def read_toml(path: Path) -> dict[str, Any]:
    """The table of a TOML file. Raises DrpassError if it can't be read or is not TOML."""
    try:
        table: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DrpassError(f"can't read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # not UTF-8, not TOML, or nested without end
        raise DrpassError(f"{path} is not a TOML file: {error}") from error
    return table


def fields_of(values: Any, made: type[Any], given: Collection[str] = ()) -> dict[str, Field[Any]]:
    """The fields of a dataclass by name, but those ``given``, once ``values`` is seen to be a table that names each at
    most and has all that have no default. Types are not looked at. Raises DrpassError that names the key."""
    if not isinstance(values, dict):
        raise DrpassError("must be a table")
    known = {entry.name: entry for entry in fields(made) if entry.name not in given}
    for key in values:
        if key not in known:
            raise DrpassError(f"unknown key {key!r}; the keys are {', '.join(known)}")
    for key, entry in known.items():
        if key not in values and entry.default is MISSING:
            raise DrpassError(f"{key} is missing")
    return known
