"""What every phase of tuning works with: model, data, budget, clock and journal, and measurements of whole models."""

from __future__ import annotations

import functools
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from drpass.benchmark import Ratio, bench
from drpass.data import Batch, Data
from drpass.energy import joules_per_call
from drpass.execution import open_session, run
from drpass.passes import Assignment
from drpass.tune.budget import Budget
from drpass.tune.journal import Journal
from drpass.tune.judgement import Judgement, judge
from drpass.tune.metric import Metric
from drpass.tune.report import Speed
from drpass.tune.subject import Subject
from drpass.tune.sweep import describe, predicted_speed

#: Pairs of calls of two models that are compared, as far as time allows: these seconds, or this share of what the user
#: gives if that is more.
_PAIRS, _FEWEST_PAIRS, _PAIR_SECONDS, _PAIR_SHARE = 40, 9, 8.0, 0.02


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
    calibration: Data
    budget: Budget
    metric: Metric | None
    clock: Clock
    journal: Journal
    say: Callable[[str], None]
    #: Milliseconds of a call of the models that were timed, by `describe`.
    _known_ms: dict[str, float] = field(default_factory=dict)

    def speed(self, assignment: Assignment, against: Assignment | None = None, *, again: bool = False) -> Speed:
        """Of the model of an assignment, against that of another (None: against the original). What is known is not
        measured anew, unless ``again``."""
        if self.subject.predicted:
            return predicted_speed(self.subject, assignment, against, self.journal)

        def measure() -> list[list[float]]:
            reference = self.subject.model if against is None else self.subject.rewritten(against)
            rewritten, data = self.subject.rewritten(assignment), timed_data(self.subject)
            runs = self._pairs(self._expected_ms(against))
            report = bench(reference, rewritten, data, threads=(self.subject.threads,), runs=runs)
            return [report.timings[0].original_ms, report.timings[0].rewritten_ms]

        name = f"pairs {describe(assignment)} against {'the original' if against is None else describe(against)}"
        before, after = self.journal.once(f"{name}, again" if again else name, measure)
        speed = speed_of(before, after)
        self._known_ms[describe(assignment)] = speed.rewritten_ms
        return speed

    def _expected_ms(self, assignment: Assignment | None) -> float:
        """Of a call; of a model that was not timed it is what the original takes."""
        name = "" if assignment is None else describe(assignment)
        return self._known_ms.get(name, self.subject.call_ms)

    def _pairs(self, call_ms: float) -> int:
        """As many as there is time for, of two calls each."""
        seconds = max(_PAIR_SECONDS, _PAIR_SHARE * self.clock.seconds)
        return min(_PAIRS, max(_FEWEST_PAIRS, int(1000 * seconds / (2 * call_ms))))

    def joules(self, assignment: Assignment) -> tuple[float, float] | None:
        """Of a call of the original and of the model of an assignment, where the machine measures them."""
        subject = self.subject
        if subject.predicted:
            return None
        models = subject.model, subject.rewritten(assignment)
        sessions = [open_session(model, threads=subject.threads) for model in models]
        before, after = (joules_per_call(functools.partial(run, session, subject.feeds[0])) for session in sessions)
        return None if before is None or after is None else (before, after)

    def judge(self, assignment: Assignment) -> bool:
        """Whether the model of an assignment keeps the budget on the calibration part, with a margin for other data."""

        def measure() -> bool:
            return judgement(self, self.budget.stricter(), assignment, self.calibration).kept

        return self.journal.once(f"kept {describe(assignment)}", measure)


def judgement(bench: Workbench, budget: Budget, assignment: Assignment, data: Data) -> Judgement:
    """Of the model of an assignment on some data."""
    subject = bench.subject
    return judge(
        budget, subject.model, subject.rewritten(assignment), data, metric=bench.metric, threads=subject.threads
    )


def speed_of(before: list[float], after: list[float]) -> Speed:
    """From milliseconds of pairs of calls."""
    ratios = [left / right for left, right in zip(before, after)]
    first, median, third = statistics.quantiles(ratios, n=4, method="inclusive")
    times = statistics.median(before), statistics.median(after)
    return Speed(*times, Ratio(median, first, third), median_at_least(ratios), len(ratios))


def median_at_least(values: Sequence[float]) -> float:
    """Lower end of the one-sided 95 % interval of the median, whatever the distribution: by the sign test, an order
    statistic. The least value where there are too few (under 5) to say so much."""
    ordered, n = sorted(values), len(values)
    tail, index = 0.0, 0
    while tail + math.comb(n, index) / 2**n <= 0.05:
        tail += math.comb(n, index) / 2**n
        index += 1
    return ordered[max(index - 1, 0)]


def timed_data(subject: Subject) -> Data:
    """The inputs that are timed, as data."""
    batches = [Batch(feeds, None, [f"call {index}"] * subject.batch) for index, feeds in enumerate(subject.feeds)]
    return Data(len(batches) * subject.batch, "inputs of the calibration part", False, lambda: iter(batches))
