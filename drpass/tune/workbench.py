"""What every phase of tuning works with: model, times, data, budget, clock and journal."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from drpass.data import Data
from drpass.passes import Assignment
from drpass.tune.budget import Budget
from drpass.tune.journal import Journal, describe
from drpass.tune.judgement import Judgement, judge
from drpass.tune.metric import Metric
from drpass.tune.subject import Subject
from drpass.tune.times import Times
from drpass.validation import Reference


@dataclass
class Clock:
    """The time that the user gives. ``cut_short``: something was left out because too much of it was spent."""

    seconds: float
    begin: float = field(default_factory=time.monotonic)
    cut_short: bool = False

    @property
    def spent(self) -> float:
        return time.monotonic() - self.begin

    def within(self, share: float) -> bool:
        """Whether less than this share of the time is spent; ask only before something that is left out if not."""
        left = self.spent < share * self.seconds
        self.cut_short = self.cut_short or not left
        return left


@dataclass
class Workbench:
    """``say`` prints one line for the user who waits."""

    subject: Subject
    #: The original, run once on the data of all judgements.
    reference: Reference
    times: Times
    calibration: Data
    budget: Budget
    metric: Metric | None
    clock: Clock
    journal: Journal
    say: Callable[[str], None]

    def judge(self, assignment: Assignment) -> bool:
        """Whether the model of an assignment keeps the budget on the calibration part, with a margin for other data."""

        def measure() -> bool:
            return judgement(self, self.budget.stricter(), assignment, self.calibration).kept

        return self.journal.once(f"kept {describe(assignment)}", measure)


def judgement(bench: Workbench, budget: Budget, assignment: Assignment, data: Data) -> Judgement:
    """Of the model of an assignment on some data."""
    rewritten, threads = bench.subject.rewritten(assignment), bench.subject.threads
    return judge(budget, bench.reference, rewritten, data, metric=bench.metric, threads=threads)
