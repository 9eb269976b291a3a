"""Whether a rewritten model keeps a budget on some data."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from drpass.data import Batch, Data
from drpass.data.dataset import Labels
from drpass.errors import DrpassError
from drpass.execution import Model, open_session, run
from drpass.inference import joined
from drpass.ranking import are_scores
from drpass.tensors import Array, Feeds, output_specs
from drpass.tune.budget import Budget
from drpass.tune.metric import Metric
from drpass.tune.rounding import Rounding
from drpass.validation import OutputResult, Reference, ValidationReport, validate
from drpass.validation.classes import ClassMeter

#: Shares are fractions of counts: a difference below this is of their binary form only.
_SLIVER = 1e-12
#: Standard normal quantile of a 95 % interval.
_Z = 1.959964


@dataclass(frozen=True)
class Finding:
    """One limit of a budget on some data.

    ``value``: found, of the worst output; ``interval``: 95 %, where one is known; ``n``: samples. ``value``, ``limit``
    and ``interval`` are shares where ``unit`` is "points" or "%". ``certain``: all of the interval says what ``kept``
    says.
    """

    what: str
    value: float
    limit: float
    interval: tuple[float, float] | None
    kept: bool
    n: int
    unit: str
    certain: bool = True

    def describe(self) -> str:
        """``top-1 loss +0.10 points [-0.21, +0.41], limit 0.10, n 1000: kept``."""
        number, limit = self._number(self.value), self._number(self.limit).removeprefix("+")
        unit = f" {self.unit}" if self.unit else ""
        around = f" [{', '.join(map(self._number, self.interval))}]" if self.interval else ""
        return f"{self.what} {number}{unit}{around}, limit {limit}, n {self.n}: {'kept' if self.kept else 'broken'}"

    def _number(self, value: float) -> str:
        if self.unit == "points":
            return f"{100 * value:+.2f}"
        return f"{100 * value:.2f}" if self.unit == "%" else f"{value:.1f}" if self.unit == "dB" else f"{value:.3g}"

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "text": self.describe()}


@dataclass(frozen=True)
class Judgement:
    """``output_error``: the largest relative rms error of an output; ``data``: in words, ``n`` samples."""

    findings: tuple[Finding, ...]
    kept: bool
    data: str
    n: int
    output_error: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "findings": [finding.to_dict() for finding in self.findings]}


def judge(
    budget: Budget,
    original: Model | Reference,
    rewritten: Model,
    data: Data,
    *,
    metric: Metric | None = None,
    threads: int | None = None,
) -> Judgement:
    """Run both models on all of the data. A limit is kept if what was found is within it; intervals are shown.

    The original does not run on inputs whose outputs a Reference has kept. Raises DrpassError if a limit can't be
    applied, or what `validate` and the metric raise.
    """
    if budget.max_metric_loss is not None and metric is None:
        raise DrpassError("a limit on the loss of a metric needs a metric")
    reference = original if isinstance(original, Reference) else Reference(original, threads)
    kept_outputs = _Outputs() if budget.max_metric_loss is not None else None
    rounding = Rounding(reference.model, threads) if budget.max_rel == 0 else None
    observers = [observer.add for observer in (kept_outputs, rounding) if observer is not None]

    def observe(batch: Batch, before: Feeds, after: Feeds) -> None:
        for add in observers:
            add(batch, before, after)

    report = validate(reference, rewritten, data, threads=threads, peak=budget.peak, observe=observe)
    if rounding is not None:
        budget = replace(budget, max_rel=rounding.limit)
    findings = [*_of_classes(budget, report), *_of_errors(budget, report)]
    if metric is not None and budget.max_metric_loss is not None and kept_outputs is not None:
        loss = kept_outputs.loss(metric)
        findings.append(_finding("loss of the metric", loss, budget.max_metric_loss, report.samples))
    error = max((output.errors.rms_rel for output in report.outputs), default=0.0)
    kept = all(finding.kept for finding in findings)
    return Judgement(tuple(findings), kept, report.data, report.samples, error)


def check(budget: Budget, original: Model, data: Data) -> None:
    """Raise DrpassError, before anything long runs, if a limit can't be applied or the labels are not the model's."""
    if budget.max_top1_loss is not None and not data.has_labels:
        raise DrpassError(f"a limit on the top-1 loss needs labels, but the data is {data.describe()}; use agreement=X")
    by_class = budget.max_top1_loss is not None or budget.min_agreement is not None
    if not by_class and not data.has_labels:
        return
    batch, outputs = _first_outputs(original, data)
    scores = {name: array for name, array in outputs.items() if are_scores(array, batch.samples)}
    if by_class and not scores:
        shapes = ", ".join(f"{name!r} {list(array.shape)}" for name, array in outputs.items())
        raise DrpassError(
            f"a limit on the first class needs scores [samples, classes], but the outputs are {shapes}; use sqnr=X"
        )
    for name, array in scores.items():
        ClassMeter(name).add(array, array, batch.labels)


def gives_scores(original: Model, data: Data) -> bool:
    """Whether an output of the model is class scores, as its first run on the data tells."""
    batch, outputs = _first_outputs(original, data)
    return any(are_scores(array, batch.samples) for array in outputs.values())


def _first_outputs(original: Model, data: Data) -> tuple[Batch, Feeds]:
    session = open_session(original)
    batch = next(data.batches())
    names = [spec.name for spec in output_specs(session)]
    return batch, dict(zip(names, run(session, batch.feeds)))


def _of_classes(budget: Budget, report: ValidationReport) -> Iterator[Finding]:
    results = [(output, output.classes) for output in report.outputs if output.classes]
    if budget.max_top1_loss is not None:
        accuracies = [(output, classes.accuracy) for output, classes in results if classes.accuracy]
        if not accuracies:
            raise DrpassError("a limit on the top-1 loss needs labels and an output of scores [samples, classes]")
        output, accuracy = max(accuracies, key=lambda entry: entry[1].loss)
        # That of rewritten - original, turned round.
        interval = -accuracy.interval[1], -accuracy.interval[0]
        what = _named("top-1 loss", output, report)
        yield _finding(what, accuracy.loss, budget.max_top1_loss, accuracy.n, unit="points", interval=interval)
    if budget.min_agreement is not None:
        if not results:
            raise DrpassError("a limit on the top-1 agreement needs an output of scores [samples, classes]")
        output, classes = min(results, key=lambda entry: entry[1].agreement.top1)
        share, n = classes.agreement.top1, classes.agreement.samples
        what = _named("top-1 agreement", output, report)
        yield _finding(what, share, budget.min_agreement, n, least=True, unit="%", interval=wilson(share, n))


def _of_errors(budget: Budget, report: ValidationReport) -> Iterator[Finding]:
    n = report.samples
    if budget.min_sqnr is not None:
        output = min(report.outputs, key=lambda output: output.errors.sqnr_db)
        value = output.errors.sqnr_db
        yield _finding(_named("SQNR", output, report), value, budget.min_sqnr, n, least=True, unit="dB")
    if budget.min_psnr is not None:
        output = min(report.outputs, key=_psnr)
        yield _finding(_named("PSNR", output, report), _psnr(output), budget.min_psnr, n, least=True, unit="dB")
    if budget.max_rel is not None:
        output = max(report.outputs, key=lambda output: output.errors.max_rel)
        what = _named("largest error relative to the largest value", output, report)
        yield _finding(what, output.errors.max_rel, budget.max_rel, n)


def _psnr(output: OutputResult) -> float:
    """An output that never changes has no peak: it is right or wrong."""
    errors = output.errors
    if errors.psnr_db is not None:
        return errors.psnr_db
    return math.inf if errors.max_abs == 0 else -math.inf


def _named(what: str, output: OutputResult, report: ValidationReport) -> str:
    return what if len(report.outputs) == 1 else f"{what} of {output.name!r}"


def _finding(
    what: str,
    value: float,
    limit: float,
    n: int,
    *,
    least: bool = False,
    unit: str = "",
    interval: tuple[float, float] | None = None,
) -> Finding:
    """``least``: the limit is the least that the value may be, else the most."""

    def keeps(found: float) -> bool:
        return found >= limit - _SLIVER if least else found <= limit + _SLIVER

    certain = all(keeps(end) == keeps(value) for end in interval or ())
    return Finding(what, value, limit, interval, keeps(value), n, unit, certain)


def wilson(share: float, n: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson, Probable inference, 1927)."""
    centre = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    return max(0.0, centre - half), min(1.0, centre + half)


@dataclass
class _Outputs:
    """Outputs of both models, kept batch by batch for a metric."""

    _original: dict[str, list[Array]] = field(default_factory=dict)
    _rewritten: dict[str, list[Array]] = field(default_factory=dict)
    _labels: list[Labels] = field(default_factory=list)

    def add(self, batch: Batch, original: Feeds, rewritten: Feeds) -> None:
        for parts, outputs in ((self._original, original), (self._rewritten, rewritten)):
            for name, array in outputs.items():
                parts.setdefault(name, []).append(array)
        if batch.labels is not None:
            self._labels.append(batch.labels)

    def loss(self, metric: Metric) -> float:
        """Score of the original minus that of the rewritten model."""
        labels = np.concatenate(self._labels) if self._labels else None
        original, rewritten = (
            # What a reference has kept is not the metric's to write to.
            metric.score({name: np.require(joined(name, a), requirements="W") for name, a in parts.items()}, labels)
            for parts in (self._original, self._rewritten)
        )
        return original - rewritten
