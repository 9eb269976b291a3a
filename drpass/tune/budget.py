"""What the user allows to be lost."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from drpass.errors import DrpassError

#: A clause in the user's words, its field, and the least and most that its limit can be.
_CLAUSES = {
    "top1-loss": ("max_top1_loss", 0.0, 1.0),
    "agreement": ("min_agreement", 0.0, 1.0),
    "sqnr": ("min_sqnr", -math.inf, math.inf),
    "psnr": ("min_psnr", -math.inf, math.inf),
    "max-rel": ("max_rel", 0.0, math.inf),
    "metric-loss": ("max_metric_loss", 0.0, math.inf),
}


@dataclass(frozen=True)
class Budget:
    """Limits that must all be kept; None: not asked for.

    ``max_top1_loss``: top-1 accuracy of the original minus that of the rewritten model, a share (labels are needed).
    ``min_agreement``: share of samples with the same first class. ``min_sqnr``, ``min_psnr`` (dB) and ``max_rel``
    (max |d| / max |r|): of every output; ``max_rel`` 0 allows exact operators only, with their float rounding.
    ``max_metric_loss``: score of the original minus that of the rewritten model. ``peak``: of the signal, for PSNR, in
    the unit of the outputs (None: the range of the original's output).
    """

    max_top1_loss: float | None = None
    min_agreement: float | None = None
    min_sqnr: float | None = None
    min_psnr: float | None = None
    max_rel: float | None = None
    max_metric_loss: float | None = None
    peak: float | None = None

    @classmethod
    def parse(cls, texts: Sequence[str], peak: float | None = None) -> Budget:
        """From clauses such as ``top1-loss=0.001``, ``sqnr=35`` or ``exact``. Raises DrpassError that lists them."""
        limits: dict[str, float] = {}
        for text in texts:
            field, limit = _clause(text)
            if field in limits:
                raise DrpassError(f"the budget has two limits of one kind; the second is {text!r}")
            limits[field] = limit
        if not limits:
            raise DrpassError(f"the budget is empty; {_ways()}")
        if peak is not None and "min_psnr" not in limits:
            raise DrpassError("a peak is for psnr only; add psnr=DB to the budget, or leave it out")
        if peak is not None and not 0 < peak < math.inf:
            raise DrpassError(f"the peak must be a number above 0, not {peak:g}")
        return cls(**limits, peak=peak)

    @classmethod
    def default(cls, classifier: bool) -> Budget:
        """Where the user gives none; see `gives_scores`."""
        return cls(min_agreement=0.995) if classifier else cls(min_sqnr=35.0)

    def describe(self) -> str:
        """In words; another budget gives other words."""
        return ", ".join(self._words())

    def _words(self) -> Iterator[str]:
        if self.max_top1_loss is not None:
            yield f"top-1 loss of at most {100 * self.max_top1_loss:.12g} points"
        if self.min_agreement is not None:
            yield f"top-1 agreement of at least {100 * self.min_agreement:.12g} %"
        if self.min_sqnr is not None:
            yield f"SQNR of at least {self.min_sqnr:.12g} dB"
        if self.min_psnr is not None:
            peak = "" if self.peak is None else f" (peak {self.peak:.12g})"
            yield f"PSNR of at least {self.min_psnr:.12g} dB{peak}"
        if self.max_rel == 0:
            yield "no error but float rounding"
        elif self.max_rel is not None:
            yield f"largest error of at most {self.max_rel:.12g} of the largest value"
        if self.max_metric_loss is not None:
            yield f"loss of the metric of at most {self.max_metric_loss:.12g}"

    def stricter(self) -> Budget:
        """What to ask of other data of the same kind, so that this one is kept: half of every loss (3 dB)."""

        def half(limit: float | None) -> float | None:
            return None if limit is None else limit / 2

        def above(limit: float | None) -> float | None:
            return None if limit is None else limit + 3

        return Budget(
            max_top1_loss=half(self.max_top1_loss),
            min_agreement=None if self.min_agreement is None else (1 + self.min_agreement) / 2,
            min_sqnr=above(self.min_sqnr),
            min_psnr=above(self.min_psnr),
            max_rel=half(self.max_rel),
            max_metric_loss=half(self.max_metric_loss),
            peak=self.peak,
        )


def _clause(text: str) -> tuple[str, float]:
    """Field and limit of one clause."""
    if text.strip() == "exact":
        return "max_rel", 0.0
    name, _, number = (part.strip() for part in text.partition("="))
    if name not in _CLAUSES:
        raise DrpassError(f"there is no budget {text!r}; {_ways()}")
    field, least, most = _CLAUSES[name]
    try:
        limit = float(number)
    except ValueError as error:
        raise DrpassError(f"the budget {text!r} needs a number, as in {name}=0.5") from error
    if not math.isfinite(limit) or not least <= limit <= most:
        range_ = "a share between 0 and 1 (0.001 for 0.1 %)" if most == 1 else "0 or more" if least == 0 else "finite"
        raise DrpassError(f"the limit of {name} must be {range_}, not {number}")
    return field, limit


def _ways() -> str:
    return f"give one or more of {', '.join(f'{name}=X' for name in _CLAUSES)} or exact"
