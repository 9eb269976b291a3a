"""What a validation found, and whether it is good enough."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from drpass.errors import DrpassError
from drpass.validation.classes import Classification
from drpass.validation.errors import ErrorFigures


@dataclass(frozen=True)
class Thresholds:
    """Limits of every output; None: not checked. Units as in ErrorFigures; agreement and accuracy are shares, 0..1."""

    max_abs: float | None = None
    max_rel: float | None = None
    min_sqnr: float | None = None
    min_psnr: float | None = None
    min_top1_agreement: float | None = None
    max_accuracy_loss: float | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and math.isnan(value):
                raise DrpassError(f"{field.name} must be a number")
        for name in ("min_top1_agreement", "max_accuracy_loss"):
            value = getattr(self, name)
            if value is not None and not -1.0 <= value <= 1.0:
                raise DrpassError(f"{name} is a share between 0 and 1 (0.98 for 98 %), not {value:g}")


@dataclass(frozen=True)
class OutputResult:
    """One output: its errors, and what they mean for classes if it has the shape [N, classes]."""

    name: str
    errors: ErrorFigures
    classes: Classification | None


@dataclass(frozen=True)
class LayerResult:
    """The errors of the value that a DeepReuseGemm node gives, with all layers before it rewritten too."""

    node: str
    value: str
    errors: ErrorFigures


@dataclass(frozen=True)
class ValidationReport:
    """``data``: words that say what was run; ``samples``: how many; ``failures``: a line for each limit passed."""

    data: str
    samples: int
    outputs: list[OutputResult]
    layers: list[LayerResult]
    failures: list[str]

    @property
    def passed(self) -> bool:
        """Whether no limit was passed and no value was finite in one model only."""
        return not self.failures

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "data": self.data,
            "samples": self.samples,
            "passed": self.passed,
            "failures": self.failures,
            "outputs": [
                {
                    "name": output.name,
                    **output.errors.to_dict(),
                    **(output.classes.to_dict() if output.classes else {"agreement": None, "accuracy": None}),
                }
                for output in self.outputs
            ],
            "layers": [{"node": layer.node, "value": layer.value, **layer.errors.to_dict()} for layer in self.layers],
        }


def find_failures(outputs: list[OutputResult], limits: Thresholds) -> list[str]:
    """A line for each limit passed by an output. Raises DrpassError if a limit has nothing that it applies to."""
    if limits.min_top1_agreement is not None and not any(output.classes for output in outputs):
        raise DrpassError("a limit on the top-1 agreement needs an output of shape [N, classes], and there is none")
    if limits.max_accuracy_loss is not None and not any(
        output.classes and output.classes.accuracy for output in outputs
    ):
        raise DrpassError("a limit on the accuracy loss needs labels and an output of shape [N, classes]")
    return [failure for output in outputs for failure in _failures(output, limits)]


def _failures(output: OutputResult, limits: Thresholds) -> Iterator[str]:
    errors = output.errors
    if errors.non_finite:
        yield f"{output.name}: {errors.non_finite} values are NaN or infinite in one model only"
    most = [("max_abs", errors.max_abs, limits.max_abs), ("max_rel", errors.max_rel, limits.max_rel)]
    least = [("sqnr", errors.sqnr_db, limits.min_sqnr), ("psnr", errors.psnr_db, limits.min_psnr)]
    if output.classes:
        least.append(("top1_agreement", output.classes.agreement.top1, limits.min_top1_agreement))
        if output.classes.accuracy:
            most.append(("accuracy_loss", output.classes.accuracy.loss, limits.max_accuracy_loss))
    for name, value, limit in most:
        if limit is not None and value > limit:
            yield f"{output.name}: {name} is {_number(value)}, above the limit {limit:g}"
    for name, share, limit in least:
        if limit is not None and (share is None or share < limit):
            yield f"{output.name}: {name} is {_number(share)}, below the limit {limit:g}"


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4g}"
