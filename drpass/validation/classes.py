"""What the errors mean for a classifier: do both models give the same classes, and how many are right."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from drpass.errors import DrpassError
from drpass.ranking import Classes, top_classes
from drpass.tensors import Array


@dataclass(frozen=True)
class Agreement:
    """``top1``: share of samples with the same first class. ``top5``: share where the original's first class is
    among the rewritten model's first five (None with five classes or fewer)."""

    samples: int
    top1: float
    top5: float | None


@dataclass(frozen=True)
class Accuracy:
    """Top-1 accuracy (shares, 0..1) of both models on the same n labelled samples.

    ``interval``: 95 % interval of the difference (rewritten - original) for paired samples, by Bonett and Price
    (Adjusted Wald intervals for the difference of two proportions, 2012). ``lost``/``gained``: samples that only the
    original/only the rewritten model has right; ``p_value``: exact McNemar test that both are equally likely.
    """

    n: int
    original: float
    rewritten: float
    lost: int
    gained: int
    interval: tuple[float, float]
    p_value: float

    @property
    def loss(self) -> float:
        """Original minus rewritten."""
        return (self.lost - self.gained) / self.n


@dataclass(frozen=True)
class Classification:
    """Figures of one classifier output."""

    agreement: Agreement
    accuracy: Accuracy | None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass
class ClassMeter:
    """Counts agreement and hits batch by batch."""

    name: str
    _samples: int = 0
    _same: int = 0
    _among_five: int = 0
    _classes: int = 0
    _labelled: int = 0
    _table: Classes = field(default_factory=lambda: np.zeros((2, 2), np.int64))

    def add(self, reference: Array, value: Array, labels: Classes | None) -> None:
        """Take in the scores of one batch. Raises DrpassError if the labels are not classes of this output."""
        first, five = top_classes(reference, 1)[:, 0], top_classes(value, 5)
        self._classes = reference.shape[1]
        self._samples += len(first)
        # Two rows without an order (NaN) do not agree.
        valid = first >= 0
        self._same += int((valid & (first == five[:, 0])).sum())
        self._among_five += int((valid & (first[:, None] == five).any(axis=1)).sum())
        if labels is None:
            return
        if len(labels) != len(first) or labels.min() < 0 or labels.max() >= self._classes:
            raise DrpassError(
                f"the labels (up to {labels.max()}) are not those of {self.name!r}, which has {self._classes} classes; "
                f"pass --labels none, or other data"
            )
        self._labelled += len(labels)
        np.add.at(self._table, ((first == labels).astype(int), (five[:, 0] == labels).astype(int)), 1)

    def figures(self) -> Classification:
        """The figures over everything that was taken in."""
        n = max(self._samples, 1)
        top5 = self._among_five / n if self._classes > 5 else None
        agreement = Agreement(self._samples, self._same / n, top5)
        accuracy = _accuracy(self._table) if self._labelled else None
        return Classification(agreement, accuracy)


def _accuracy(table: Classes) -> Accuracy:
    """From counts [original right][rewritten right]."""
    n, lost, gained = int(table.sum()), int(table[1, 0]), int(table[0, 1])
    both = int(table[1, 1])
    return Accuracy(
        n=n,
        original=(both + lost) / n,
        rewritten=(both + gained) / n,
        lost=lost,
        gained=gained,
        interval=_bonett_price(n, lost, gained),
        p_value=_mcnemar(lost, gained),
    )


def _bonett_price(n: int, lost: int, gained: int) -> tuple[float, float]:
    p_lost, p_gained = (lost + 1) / (n + 2), (gained + 1) / (n + 2)
    difference = p_gained - p_lost
    half = 1.959964 * math.sqrt((p_lost + p_gained - difference**2) / (n + 2))
    return max(-1.0, difference - half), min(1.0, difference + half)


def _mcnemar(lost: int, gained: int) -> float:
    """Two-sided binomial probability of a split at least as uneven as this one, if both are equally likely."""
    discordant = lost + gained
    tail = sum(math.comb(discordant, count) for count in range(min(lost, gained) + 1))
    return float(min(1.0, 2 * tail / 2**discordant))
