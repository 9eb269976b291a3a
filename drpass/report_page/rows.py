"""What the page shows of every layer, and of the way from the original's time to that of the rewritten model."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: Bars of the histogram of r_c, over 0 to 1.
BINS = 20
#: Layers that have a bar of their own in the waterfall; more would not be read.
LARGEST_STEPS = 24


@dataclass(frozen=True)
class Ratios:
    """r_c over the sub-vector groups of one setting. ``counts``: groups in each of `BINS` equal parts of 0 to 1;
    ``chosen``: it is the setting that was chosen, not one that was only tried."""

    setting: str
    chosen: bool
    median: float
    counts: tuple[int, ...]

    @classmethod
    def of(cls, trial: Mapping[str, Any], chosen: bool) -> Ratios:
        """Those of a trial that clusters."""
        values = _clustered(trial)
        counts = [0] * BINS
        for value in values:
            counts[min(max(int(value * BINS), 0), BINS - 1)] += 1
        return cls(trial["setting"], chosen, statistics.median(values), tuple(counts))


@dataclass(frozen=True)
class Row:
    """One layer. Times in milliseconds, None where not known; ``error``: of the chosen setting; ``chosen``: its place
    in ``trials``; ``ratios``: of the chosen setting, or of the fastest that clusters where the chosen one does not."""

    graph: str
    node: str
    op_type: str
    setting: str | None
    reason: str
    dense_ms: float | None
    chosen_ms: float | None
    error: float | None
    trials: tuple[Mapping[str, Any], ...]
    chosen: int | None
    ratios: Ratios | None

    @property
    def label(self) -> str:
        """The node, behind the name of its graph if that is not the main one."""
        return f"{self.graph} › {self.node}" if self.graph else self.node

    @property
    def saved_ms(self) -> float | None:
        """Negative where the chosen setting takes longer."""
        if self.dense_ms is None or self.chosen_ms is None:
            return None
        return self.dense_ms - self.chosen_ms

    @classmethod
    def of(cls, layer: Mapping[str, Any]) -> Row:
        """From one layer of a tuning report."""
        trials, setting = layer["trials"], layer["chosen"]
        places = (place for place, trial in enumerate(trials) if setting and trial["setting"] == setting)
        chosen = next(places, None)
        trial = trials[chosen] if chosen is not None else {}
        return cls(
            graph=layer["graph"],
            node=layer["node"],
            op_type=layer["op_type"],
            setting=setting,
            reason=layer["reason"],
            dense_ms=finite(layer["dense_ms"]),
            chosen_ms=finite(trial.get("ms")),
            error=finite(trial.get("error")),
            trials=tuple(trials),
            chosen=chosen,
            ratios=_ratios(trials, trial),
        )

    def to_dict(self) -> dict[str, Any]:
        """What the plots of this layer need."""
        ratios = self.ratios
        return {
            "name": self.label,
            "reason": self.reason,
            "setting": self.setting,
            "dense": self.dense_ms,
            "chosen": self.chosen,
            "trials": [_point(trial) for trial in self.trials],
            "ratios": ratios
            and {
                "setting": ratios.setting,
                "chosen": ratios.chosen,
                "median": ratios.median,
                "counts": list(ratios.counts),
            },
        }


def finite(value: float | None) -> float | None:
    """None for what JSON and a plot have no place for."""
    return value if value is not None and math.isfinite(value) else None


def waterfall(rows: Sequence[Row], speed: Mapping[str, Any] | None) -> dict[str, Any]:
    """Times in milliseconds from ``start`` (original) to ``end`` (rewritten) by ``steps`` of time saved, largest first.

    What no layer explains (nodes that were absorbed, changes of layout, noise) is the last step, so that start minus
    all steps is end. Without a measured speed start is the sum of the layers' times, and all is explained.
    """
    saved = {place: row.saved_ms for place, row in enumerate(rows) if row.saved_ms is not None}
    total = math.fsum(value for value in saved.values() if value)
    if speed is None:
        start = math.fsum(row.dense_ms or 0.0 for row in rows)
        end = start - total
    else:
        start, end = speed["original_ms"], speed["rewritten_ms"]
    by_size = sorted(saved, key=lambda place: -abs(saved[place] or 0.0))
    shown, rest = by_size[:LARGEST_STEPS], by_size[LARGEST_STEPS:]
    shown.sort(key=lambda place: -(saved[place] or 0.0))
    steps = [{"name": rows[place].label, "layer": place, "saved": saved[place]} for place in shown]
    if rest:
        others = math.fsum(saved[place] or 0.0 for place in rest)
        steps.append({"name": f"{len(rest)} other layers", "layer": None, "saved": others})
    if speed is not None:
        steps.append({"name": "everything else", "layer": None, "saved": start - end - total})
    return {"start": start, "end": end, "measured": speed is not None, "steps": steps}


def _point(trial: Mapping[str, Any]) -> dict[str, Any]:
    values = _clustered(trial)
    return {
        "setting": trial["setting"],
        "ms": finite(trial["ms"]),
        "error": finite(trial["error"]),
        "effect": finite(trial["effect"]),
        "ratio": statistics.median(values) if values else None,
    }


def _ratios(trials: Sequence[Mapping[str, Any]], chosen: Mapping[str, Any]) -> Ratios | None:
    if chosen and _clustered(chosen):
        return Ratios.of(chosen, chosen=True)
    clustered = [trial for trial in trials if _clustered(trial)]
    if not clustered:
        return None
    return Ratios.of(min(clustered, key=_time_and_error), chosen=False)


def _time_and_error(trial: Mapping[str, Any]) -> tuple[float, float]:
    """Settings that were not timed come last, the most exact of them first."""
    ms, error = finite(trial["ms"]), finite(trial["error"])
    return math.inf if ms is None else ms, math.inf if error is None else error


def _clustered(trial: Mapping[str, Any]) -> list[float]:
    return [value for value in trial["remaining_ratios"] if math.isfinite(value)]
