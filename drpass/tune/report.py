"""What tuning found: every layer with all that was tried, and the whole model's time and quality."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from drpass.benchmark import Machine, Ratio
from drpass.model_size import Growth
from drpass.operator.spec import ReuseParameters
from drpass.passes import NodeKey
from drpass.tune.judgement import Judgement


@dataclass(frozen=True)
class Trial:
    """One setting of one layer.

    ``milliseconds``: of one call inside the rewritten network, None where it was not timed; ``error``: relative rms
    error of the layer's result on the original's activations; ``effect``: expected share of that in the relative rms
    error of the model's outputs; ``remaining_ratios``: r_c of every sub-vector group, empty where nothing clusters;
    ``largest_ratio``: of any group in any scope instance that was clustered.
    """

    parameters: ReuseParameters
    milliseconds: float | None
    error: float
    effect: float
    remaining_ratios: tuple[float, ...] = ()
    largest_ratio: float = 0.0

    @property
    def clustered(self) -> bool:
        """Whether the guard let any group be clustered."""
        return min(self.remaining_ratios, default=1.0) < 1.0

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
    """Medians of one call in milliseconds, and the ratio of pairs of calls (above 1: the rewritten model is faster).

    ``at_least``: lower end of the one-sided 95 % interval of the median ratio (`median_at_least`); ``pairs``: 0 where
    all of it is predicted.
    """

    original_ms: float
    rewritten_ms: float
    ratio: Ratio
    at_least: float
    pairs: int

    def describe(self) -> str:
        """``2.50x as fast [2.44, 2.61]``."""
        return f"{self.ratio.median:.2f}x as fast [{self.ratio.first:.2f}, {self.ratio.third:.2f}]"

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        quartiles = [self.ratio.first, self.ratio.third]
        return {
            "original_ms": self.original_ms,
            "rewritten_ms": self.rewritten_ms,
            "ratio": self.ratio.median,
            "ratio_quartiles": quartiles,
            "ratio_at_least": self.at_least,
            "pairs": self.pairs,
        }


@dataclass(frozen=True)
class TuningReport:
    """A whole run. ``created``: local time; ``stopped_early``: the time given was spent before all was tried;
    ``calibration``, ``held_out``: verdicts on both parts of the data; ``about_data``: in words, with fingerprint."""

    model: str
    created: str
    seconds: float
    stopped_early: bool
    machine: Machine
    threads: int
    batch: int
    about_data: dict[str, Any]
    budget: str
    speed: Speed | None
    calibration: Judgement | None
    held_out: Judgement | None
    verdict: str
    notes: tuple[str, ...]
    layers: tuple[LayerReport, ...]
    #: Of a call of the original and of the result; None where the machine does not measure them.
    joules: tuple[float, float] | None = None
    #: The device that all times are predictions for; empty where they were measured.
    predicted_for: str = ""
    #: Of the model that is written; None before it is.
    growth: Growth | None = None

    def to_dict(self) -> dict[str, Any]:
        """For JSON and the page."""
        from drpass import __version__

        return {
            "model": self.model,
            "created": self.created,
            "drpass": __version__,
            "seconds": self.seconds,
            "stopped_early": self.stopped_early,
            "machine": asdict(self.machine),
            "threads": self.threads,
            "batch": self.batch,
            "data": self.about_data,
            "budget": self.budget,
            "speed": self.speed.to_dict() if self.speed else None,
            "joules": list(self.joules) if self.joules else None,
            "predicted_for": self.predicted_for,
            "constants": self.growth.to_dict() if self.growth else None,
            "judgements": {
                "calibration": self.calibration.to_dict() if self.calibration else None,
                "held_out": self.held_out.to_dict() if self.held_out else None,
            },
            "verdict": self.verdict,
            "notes": list(self.notes),
            "layers": [layer.to_dict() for layer in self.layers],
        }
