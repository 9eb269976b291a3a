"""Reads rows.toml: what is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from drpass.errors import DrpassError
from drpass.files import fields_of, read_toml
from drpass.operator.spec import ReuseParameters, check_parameters

Kind = Literal["classes", "pictures", "layer", "film"]
Motion = Literal["pan", "brighten", "still"]

_SELECTION = ("include", "exclude", "op_types")


@dataclass(frozen=True)
class Rewriting:
    """The arguments of drpass.rewrite. ``memo``: MiB in which a session keeps results from call to call; ``plan``: a
    file relative to the repository, in place of all others."""

    parameters: ReuseParameters
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    op_types: tuple[str, ...] = ()
    memo: int = 0
    plan: str = ""

    def describe(self) -> str:
        """``grid L=4 ..., include *conv2*``, or the plan."""
        if self.plan:
            return self.plan
        chosen = [f"{key.replace('_', ' ')} {' '.join(getattr(self, key))}" for key in _SELECTION if getattr(self, key)]
        memo = [f"memo {self.memo} MiB"] if self.memo else []
        return ", ".join([self.parameters.describe(), *memo, *chosen])


@dataclass(frozen=True)
class Row:
    """One row; the fields are the keys that rows.toml explains."""

    name: str
    title: str
    kind: Kind
    model: str
    data: str
    preprocess: str
    goal: float
    max_loss: float
    rewrite: Rewriting
    batch: int = 1
    judge_batch: int = 0
    runs: int = 30
    images: int = 0
    node: str = ""
    side: int = 0
    truth: int = 0
    motion: Motion = "pan"


#: Keys that a kind needs besides those without a default.
_NEEDED: dict[str, tuple[str, ...]] = {
    "classes": (),
    "layer": ("node",),
    "pictures": ("side", "truth"),
    "film": ("side", "truth", "motion"),
}


def load_rows(path: Path, wanted: Sequence[str] = ()) -> list[Row]:
    """All rows of a file, or the wanted ones in the file's order. Raises DrpassError that names the row and key."""
    table = read_toml(path)
    for name in wanted:
        if name not in table:
            raise DrpassError(f"{path} has no row {name!r}; it has {', '.join(table)}")
    rows = []
    for name, values in table.items():
        try:
            rows.append(_row(name, values))
        except DrpassError as error:
            raise DrpassError(f"{path}: row {name!r}: {error}") from error
    return [row for row in rows if not wanted or row.name in wanted]


def _row(name: str, values: Any) -> Row:
    known = fields_of(values, Row, given=("name",))
    for key, value in values.items():
        _check_type(key, value, known[key].type)
    for key, choices in (("kind", Kind), ("motion", Motion)):
        if key in values and values[key] not in get_args(choices):
            raise DrpassError(f"{key} must be one of {', '.join(get_args(choices))}, not {values[key]!r}")
    _require(values, _NEEDED[values["kind"]])
    row = Row(name, **{**values, "rewrite": _rewriting(values["rewrite"])})
    if row.rewrite.memo and row.kind != "film":
        raise DrpassError("rewrite.memo is for films: other rows run on the same inputs again, which it would know")
    if row.judge_batch not in (0, row.batch) and row.rewrite.parameters.scope != "image":
        raise DrpassError("judge_batch must be batch: only with scope image does the result not depend on the batch")
    return row


def _require(values: Mapping[str, Any], keys: Sequence[str]) -> None:
    for key in keys:
        if key not in values:
            raise DrpassError(f"{key} is missing")


#: By annotation: Python types, and words for them.
_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "int": ((int,), "a whole number, 0 or more"),
    "float": ((int, float), "a number, 0 or more"),
    "Rewriting": ((dict,), "a table"),
}


def _check_type(key: str, value: Any, annotation: Any) -> None:
    types, words = _TYPES.get(str(annotation), ((str,), "a text in quotes"))
    fits = isinstance(value, types) and not isinstance(value, bool)
    if not fits or (isinstance(value, (int, float)) and not value >= 0):
        raise DrpassError(f"{key} must be {words}, not {value!r}")


def _rewriting(values: Mapping[str, Any]) -> Rewriting:
    types = {entry.name: type(entry.default) for entry in fields(ReuseParameters)}
    selection: dict[str, Any] = {}
    parameters: dict[str, Any] = {}
    for key, value in values.items():
        if key in _SELECTION:
            if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
                raise DrpassError(f"rewrite.{key} must be a list of texts, not {value!r}")
            selection[key] = tuple(value)
        elif key in ("memo", "plan"):
            _check_type(f"rewrite.{key}", value, "int" if key == "memo" else "str")
            selection[key] = value
        elif key not in types:
            raise DrpassError(
                f"unknown key rewrite.{key}; the keys are {', '.join([*types, *_SELECTION, 'memo', 'plan'])}"
            )
        else:
            wanted = (int, float) if types[key] is float else (types[key],)
            if isinstance(value, bool) or not isinstance(value, wanted):
                raise DrpassError(f"rewrite.{key} can't be {value!r}")
            parameters[key] = value
    if "plan" in selection and len(values) > 1:
        raise DrpassError("rewrite.plan says everything: leave out the other keys of rewrite")
    return Rewriting(check_parameters(ReuseParameters(**parameters)), **selection)
