"""Times of layers on a GPU that is not there, by the cost model (docs/cuda.md), in place of measured ones.

What r_c a setting has is measured on the CPU: clusters are the same on both. Only convolutions and matrix products are
predicted; whatever else the model does is left out on both sides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx

from drpass.benchmark import Ratio
from drpass.operator.spec import ReuseParameters
from drpass.passes import Assignment, NodeKey
from drpass.roofline import Device, best_rival, milliseconds, reuse_kernels
from drpass.roofline.model import layers_of
from drpass.tensors import Feeds
from drpass.tune.report import Speed

#: r_c of every sub-vector group, by layer.
Ratios = Mapping[NodeKey, Sequence[float]]


class PredictedTimes:
    """Of the layers of a model on a device, for inputs of the shapes of ``feeds``.

    The original runs the best dense convolution of those that the cost model knows, in TF32 where the device has it, as
    ONNX Runtime does unless it is told not to.
    """

    def __init__(self, model: onnx.ModelProto, feeds: Feeds, device: Device) -> None:
        self.device = device
        self._layers = layers_of(model, {name: array.shape for name, array in feeds.items()})
        self.original = {key: best_rival(layer, device, "tf32") for key, layer in self._layers.items()}

    @property
    def words(self) -> str:
        """For reports: that nothing was measured, and what is left out."""
        return (
            f"times are predicted for {self.device.name} by the cost model (docs/cuda.md), none was measured: of "
            f"convolutions and matrix products only, against a perfect dense convolution"
        )

    def of(self, key: NodeKey, setting: ReuseParameters, ratios: Sequence[float] = ()) -> float:
        """Milliseconds of a layer at a setting, with these r_c if it clusters."""
        kernels = reuse_kernels(self._layers[key], setting, ratios or (1.0,))
        return milliseconds(kernels, self.device)

    def replaced(self, assignment: Assignment, ratios: Ratios) -> dict[NodeKey, float]:
        """Milliseconds of the layers that are replaced; those whose sizes are not known are left out."""
        return {
            key: self.of(key, choice, ratios.get(key, ()))
            for key, choice in assignment.items()
            if isinstance(choice, ReuseParameters) and key in self._layers
        }

    def speed(self, rewritten: Mapping[NodeKey, float], reference: Mapping[NodeKey, float]) -> Speed:
        """Of a model against another, from the times of what is replaced in each."""
        before, after = (sum({**self.original, **replaced}.values()) for replaced in (reference, rewritten))
        ratio = before / after if after else 1.0
        return Speed(before, after, Ratio(ratio, ratio, ratio), ratio, 0)
