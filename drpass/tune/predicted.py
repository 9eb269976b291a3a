"""Times of a GPU that is not there, by the cost model (docs/cuda.md).

What r_c a setting has is measured on the CPU: clusters are the same on both. Only convolutions and matrix products are
predicted; whatever else the model does is left out on both sides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from drpass.benchmark import Ratio
from drpass.operator.spec import LRN, ReuseParameters
from drpass.passes import EXACT, Assignment, NodeKey
from drpass.roofline import Device, best_rival, milliseconds, reuse_kernels
from drpass.roofline.model import layers_of
from drpass.tune.journal import Journal
from drpass.tune.report import Speed
from drpass.tune.shadow import layer_errors
from drpass.tune.subject import Subject


class PredictedTimes:
    """`Times` of a device, for inputs of the shapes that the subject has.

    The original runs the best dense convolution of those that the cost model knows, in TF32 where the device has it, as
    ONNX Runtime does unless it is told not to.
    """

    def __init__(self, subject: Subject, journal: Journal, device: Device) -> None:
        self._subject, self._journal, self._device = subject, journal, device
        self._layers = layers_of(subject.model, {name: array.shape for name, array in subject.feeds[0].items()})
        self._original = {key: best_rival(layer, device, "tf32") for key, layer in self._layers.items()}

    @property
    def predicted_for(self) -> str:
        return self._device.name

    @property
    def beginning(self) -> str:
        return (
            f"times are predicted for {self._device.name} by the cost model (docs/cuda.md), none was measured: of "
            f"convolutions and matrix products only, against a perfect dense convolution"
        )

    @property
    def notes(self) -> tuple[str, ...]:
        return (self.beginning,)

    @property
    def call_ms(self) -> float:
        return sum(self._original.values())

    def reasons_against_exact(self) -> Mapping[NodeKey, str]:
        """No trial is needed of what gains nothing as predicted, and of what is not predicted none tells anything."""
        reasons = {}
        unknown = f"its time on {self._device.name} is not predicted"
        for verdict in self._subject.verdicts:
            before = self._original.get(verdict.key)
            if verdict.op_type == LRN or before is None:
                reasons[verdict.key] = unknown
            elif (after := self._of(verdict.key, EXACT)) >= before:
                reasons[verdict.key] = (
                    f"exact would take {after:.3f} ms, a perfect dense convolution {before:.3f}, as predicted"
                )
        return reasons

    def of_original(self) -> dict[NodeKey, float | None]:
        return {key: self._original.get(key) for key in self._subject.kernels}

    def of_replaced(self, assignment: Assignment, when: str = "") -> dict[NodeKey, float]:
        replaced = {key: choice for key, choice in assignment.items() if isinstance(choice, ReuseParameters)}
        clustered = {key: choice for key, choice in replaced.items() if choice != EXACT}
        errors = layer_errors(self._subject, clustered, self._journal) if clustered else {}
        return {
            key: self._of(key, choice, errors[key].remaining_ratios if key in errors else ())
            for key, choice in replaced.items()
            if key in self._layers
        }

    def speed(self, assignment: Assignment, against: Assignment | None = None, *, again: bool = False) -> Speed:
        before, after = (
            sum({**self._original, **self.of_replaced(choices)}.values()) for choices in (against or {}, assignment)
        )
        ratio = before / after if after else 1.0
        return Speed(before, after, Ratio(ratio, ratio, ratio), ratio, 0)

    def joules(self, assignment: Assignment) -> tuple[float, float] | None:
        return None

    def _of(self, key: NodeKey, setting: ReuseParameters, ratios: Sequence[float] = ()) -> float:
        """Milliseconds of a layer at a setting, with these r_c of its sub-vector groups if it clusters."""
        kernels = reuse_kernels(self._layers[key], setting, ratios or (1.0,))
        return milliseconds(kernels, self._device)
