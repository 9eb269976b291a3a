"""Output files that appear only when they are complete; TOML files as tables."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from drpass.errors import DrpassError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found,unused-ignore]

Value = TypeVar("Value")


def _same_file(left: Path, right: Path) -> bool:
    with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: links in a circle
        return left.resolve() == right.resolve() or os.path.samefile(left, right)
    return False


def refuse_same_file(output: Path, inputs: list[Path], overwrite: bool) -> None:
    """Raise DrpassError if ``output`` is one of ``inputs`` (links followed) and the user did not ask for it."""
    if not overwrite and any(_same_file(output, source) for source in inputs):
        raise DrpassError(f"{output} is the input itself; choose another output or pass --overwrite")


def refuse_taken_file(output: Path, others: list[Path]) -> None:
    """Raise DrpassError if ``output`` is one of ``others``, which the same command reads or writes (links followed)."""
    if any(_same_file(output, other) for other in others):
        raise DrpassError(f"{output} is read or written by the same command already; choose another file")


def require_writable(path: Path) -> None:
    """Raise DrpassError where `atomic_output` could not write: before long work, or before another file is written."""
    try:
        if path.exists() and not path.is_file():
            raise DrpassError(f"can't write {path}: it is {'a folder' if path.is_dir() else 'no regular file'}")
        if not path.parent.is_dir():
            raise DrpassError(f"can't write {path}: there is no folder {path.parent}")
    except OSError as error:
        raise DrpassError(f"can't write {path}: {error.strerror}") from error


@contextlib.contextmanager
def atomic_output(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` on success, remove it on any failure.

    Raises DrpassError, with the operating system's reason, if the file can't be written, and for what is no file, such
    as /dev/null: renaming would put a file in its place.
    """
    require_writable(path)
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


def read_tables(
    path: Path, read: Callable[[str, Any], Value], what: str = "row", wanted: Collection[str] = ()
) -> dict[str, Value]:
    """The tables of a TOML file by name, as ``read(name, table)`` makes them, or the ``wanted`` ones; all are read.

    Raises DrpassError that says in which table (``what`` it is) the fault is, and for a name that is not there.
    """
    tables = read_toml(path)
    for name in wanted:
        if name not in tables:
            raise DrpassError(f"{path} has no {what} {name!r}; it has {', '.join(tables)}")
    found = {}
    for name, table in tables.items():
        try:
            found[name] = read(name, table)
        except DrpassError as error:
            raise DrpassError(f"{path}: {what} {name!r}: {error}") from error
    return {name: value for name, value in found.items() if name in wanted or not wanted}


def values_of(
    table: Any, made: type[Any], given: Collection[str] = (), positive: Collection[str] = ()
) -> dict[str, Any]:
    """The arguments of a dataclass that a table of a TOML file gives, once it names each of its fields (but those
    ``given``) at most once, has all that have no default, and gives each a value of its type: text, numbers from 0 on
    (those of the fields ``positive``: above 0), texts of a Literal, and lists of texts, which become tuples. A table or
    list for a field of any other type is handed on as it is.

    Raises DrpassError that names the key.
    """
    if not isinstance(table, dict):
        raise DrpassError("must be a table")
    known = {entry.name: entry for entry in fields(made) if entry.name not in given}
    for key in table:
        if key not in known:
            raise DrpassError(f"unknown key {key!r}; the keys are {', '.join(known)}")
    for key, entry in known.items():
        if key not in table and entry.default is MISSING and entry.default_factory is MISSING:
            raise DrpassError(f"{key} is missing")
    types = get_type_hints(made)
    return {key: _value(key, value, types[key], key in positive) for key, value in table.items()}


def _value(key: str, value: Any, annotation: Any, positive: bool) -> Any:
    kind = next((part for part in _parts(annotation) if part is not type(None)), annotation)
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise DrpassError(f"{key} must be one of {', '.join(get_args(kind))}, not {value!r}")
        return value
    if kind == tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
            raise DrpassError(f"{key} must be a list of texts, not {value!r}")
        return tuple(value)
    types, words = _KINDS.get(kind, ((list,), "a list") if get_origin(kind) is tuple else ((dict,), "a table"))
    fits = isinstance(value, types) and not isinstance(value, bool)
    if kind in (int, float):
        words += ", above 0" if positive else ", 0 or more"
        fits = fits and (value > 0 if positive else value >= 0)
    if not fits:
        raise DrpassError(f"{key} must be {words}, not {value!r}")
    return value


#: Python types of values in TOML, and words for them.
_KINDS: dict[Any, tuple[tuple[type, ...], str]] = {
    str: ((str,), "a text in quotes"),
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
}


def _parts(annotation: Any) -> tuple[Any, ...]:
    """The members of a union such as ``int | None``; none of anything else."""
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else ()
