"""Reads rows.toml: what is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from drpass.errors import DrpassError
from drpass.files import read_tables, values_of
from drpass.operator.spec import ReuseParameters, check_parameters

Kind = Literal["classes", "pictures", "layer", "film"]
Motion = Literal["pan", "brighten", "still"]

_SELECTION = ("include", "exclude", "op_types")


@dataclass(frozen=True)
class Rewriting:
    """The arguments of drpass.rewrite. ``memo``: MiB in which a session keeps results from call to call."""

    parameters: ReuseParameters
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    op_types: tuple[str, ...] = ()
    memo: int = 0

    def describe(self) -> str:
        """``grid L=4 ..., include *conv2*``"""
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
    return list(read_tables(path, _row, wanted=wanted).values())


def _row(name: str, table: Any) -> Row:
    values = values_of(table, Row, given=("name",))
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


def _rewriting(table: Mapping[str, Any]) -> Rewriting:
    """Keys of two dataclasses in one table."""
    names, others = ([entry.name for entry in fields(made)] for made in (ReuseParameters, Rewriting))
    others.remove("parameters")
    for key in table:
        if key not in (*names, *others):
            raise DrpassError(f"unknown key rewrite.{key}; the keys are {', '.join((*names, *others))}")
    try:
        parameters = values_of({key: value for key, value in table.items() if key in names}, ReuseParameters)
        rest = {key: value for key, value in table.items() if key in others}
        selection = values_of(rest, Rewriting, given=("parameters",))
        return Rewriting(check_parameters(ReuseParameters(**parameters)), **selection)
    except DrpassError as error:
        raise DrpassError(f"rewrite: {error}") from error
