"""Where the times of a tuning run are from: clocks on this machine, or the cost model of a device that is not here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from drpass.passes import Assignment, NodeKey
from drpass.tune.report import Speed


class Times(Protocol):
    """Of the subject of a run, as it will be used. All in milliseconds of a call; what is known is not found anew."""

    @property
    def predicted_for(self) -> str:
        """The name of the device that all times are predictions for; empty where they are measured."""

    @property
    def beginning(self) -> str:
        """What to tell the user who begins to wait."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What the report must say of these times."""

    @property
    def call_ms(self) -> float:
        """Of the original, about."""

    def reasons_against_exact(self) -> Mapping[NodeKey, str]:
        """The candidates that are kept without a trial of the exact operator, and why."""

    def of_original(self) -> dict[NodeKey, float | None]:
        """Of every candidate in the original; None where its time is not known."""

    def of_replaced(self, assignment: Assignment, when: str = "") -> dict[NodeKey, float]:
        """Of what the model of an assignment replaces, as far as it is known. With another word for ``when`` it is
        measured again: a machine may have become slower or faster since."""

    def speed(self, assignment: Assignment, against: Assignment | None = None, *, again: bool = False) -> Speed:
        """Of the whole model of an assignment, against that of another (None: against the original). What is known is
        not measured anew, unless ``again``."""

    def joules(self, assignment: Assignment) -> tuple[float, float] | None:
        """Of a call of the original and of the model of an assignment; None where nothing measures them."""
