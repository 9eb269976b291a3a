"""What tuning found: every layer with all that was tried, and the whole model's time and quality."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from drpass.benchmark import Machine, Ratio
from drpass.operator.spec import ReuseParameters
from drpass.passes import NodeKey


@dataclass(frozen=True)
class Trial:
    """One setting of one layer.

    ``milliseconds``: of one call inside the rewritten network, None where it was not timed; ``error``: relative rms
    error of the layer's result on the original's activations; ``effect``: expected share of that in the relative rms
    error of the model's outputs; ``remaining_ratios``: r_c of every sub-vector group, empty where nothing clusters.
    """

    parameters: ReuseParameters
    milliseconds: float | None
    error: float
    effect: float
    remaining_ratios: tuple[float, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "parameters": self.parameters.attributes(),
            "setting": self.parameters.describe(),
            "ms": self.milliseconds,
            "error": self.error,
            "effect": self.effect,
            "remaining_ratios": list(self.remaining_ratios),
        }


@dataclass(frozen=True)
class LayerReport:
    """One Conv, Gemm, MatMul or LRN: its time as it was (None: ONNX Runtime's profile does not name it), the settings
    that were tried, which was chosen (None: kept as it is), and why."""

    key: NodeKey
    op_type: str
    dense_milliseconds: float | None
    trials: tuple[Trial, ...]
    chosen: ReuseParameters | None
    reason: str

    @property
    def trial(self) -> Trial | None:
        """That of the chosen setting."""
        return next((trial for trial in self.trials if trial.parameters == self.chosen), None)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "graph": self.key[0],
            "node": self.key[1],
            "op_type": self.op_type,
            "dense_ms": self.dense_milliseconds,
            "chosen": self.chosen.describe() if self.chosen else None,
            "reason": self.reason,
            "trials": [trial.to_dict() for trial in self.trials],
        }


@dataclass(frozen=True)
class Speed:
    """Medians of one call in milliseconds, and the ratio of pairs of calls (above 1: the rewritten model is faster)."""

    original_ms: float
    rewritten_ms: float
    ratio: Ratio
    pairs: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        quartiles = [self.ratio.first, self.ratio.third]
        return {
            "original_ms": self.original_ms,
            "rewritten_ms": self.rewritten_ms,
            "ratio": self.ratio.median,
            "ratio_quartiles": quartiles,
            "pairs": self.pairs,
        }
