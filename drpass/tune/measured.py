"""Times of this machine: ONNX Runtime's profile for layers, alternating calls for whole models."""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Mapping, Sequence

from drpass.benchmark import Ratio, bench
from drpass.data import Batch, Data
from drpass.energy import joules_per_call
from drpass.execution import open_session, run
from drpass.operator.spec import ReuseParameters
from drpass.passes import Assignment, NodeKey
from drpass.profile import kernel_times, time_of
from drpass.tune.journal import Journal, describe
from drpass.tune.report import Speed
from drpass.tune.subject import Subject

#: Pairs of calls of two models that are compared, as far as time allows: these seconds, or this share of what the user
#: gives if that is more.
_PAIRS, _FEWEST_PAIRS, _PAIR_SECONDS, _PAIR_SHARE = 40, 9, 8.0, 0.02


class MeasuredTimes:
    """`Times` by measurement. ``seconds``: what the user gives for the whole run."""

    predicted_for = ""
    notes: tuple[str, ...] = ()

    def __init__(self, subject: Subject, journal: Journal, seconds: float) -> None:
        self._subject, self._journal = subject, journal
        self._pair_seconds = max(_PAIR_SECONDS, _PAIR_SHARE * seconds)
        #: Milliseconds of a call of the models that were timed, by `describe`.
        self._known_ms: dict[str, float] = {}

    @property
    def beginning(self) -> str:
        return f"timing exact operators in the network ({self.call_ms:.1f} ms a call, about)"

    @property
    def call_ms(self) -> float:
        return self._subject.call_ms

    def reasons_against_exact(self) -> Mapping[NodeKey, str]:
        return {}

    def of_original(self) -> dict[NodeKey, float | None]:
        subject = self._subject
        original = self._journal.once(
            "times of the original", lambda: kernel_times(subject.model, subject.calls, subject.threads)
        )
        return {key: time_of(original, kernels) for key, kernels in subject.kernels.items()}

    def of_replaced(self, assignment: Assignment, when: str = "") -> dict[NodeKey, float]:
        subject = self._subject

        def measure() -> dict[str, float]:
            return kernel_times(subject.rewritten(assignment), subject.calls, subject.threads)

        times = self._journal.once(f"{when}times {describe(assignment)}", measure)
        replaced = [key for key, choice in assignment.items() if isinstance(choice, ReuseParameters) and not key[0]]
        return {key: times[key[1]] for key in replaced if key[1] in times}

    def speed(self, assignment: Assignment, against: Assignment | None = None, *, again: bool = False) -> Speed:
        subject = self._subject

        def measure() -> list[list[float]]:
            reference = subject.model if against is None else subject.rewritten(against)
            runs = self._pairs(self._expected_ms(against))
            report = bench(
                reference, subject.rewritten(assignment), timed_data(subject), threads=(subject.threads,), runs=runs
            )
            return [report.timings[0].original_ms, report.timings[0].rewritten_ms]

        name = f"pairs {describe(assignment)} against {'the original' if against is None else describe(against)}"
        before, after = self._journal.once(f"{name}, again" if again else name, measure)
        speed = speed_of(before, after)
        self._known_ms[describe(assignment)] = speed.rewritten_ms
        return speed

    def joules(self, assignment: Assignment) -> tuple[float, float] | None:
        subject = self._subject
        models = subject.model, subject.rewritten(assignment)
        sessions = [open_session(model, threads=subject.threads) for model in models]
        before, after = (joules_per_call(functools.partial(run, session, subject.feeds[0])) for session in sessions)
        return None if before is None or after is None else (before, after)

    def _expected_ms(self, assignment: Assignment | None) -> float:
        """Of a call; of a model that was not timed it is what the original takes."""
        name = "" if assignment is None else describe(assignment)
        return self._known_ms.get(name, self.call_ms)

    def _pairs(self, call_ms: float) -> int:
        """As many as there is time for, of two calls each."""
        return min(_PAIRS, max(_FEWEST_PAIRS, int(1000 * self._pair_seconds / (2 * call_ms))))


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
